"""Files of checkpoints: named by content, kept once, never outside their folder."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import AttemptSupersededError, CheckpointDamagedError, CheckpointFailedError
from streamlet.machine.disk import LocalDisk
from streamlet.ports import Disk
from streamlet.state.snapshot import FileRef
from tests.unit.failing_disk import FailingDisk


def storage_in(root: Path, disk: Disk | None = None) -> CheckpointStorage:
    storage = CheckpointStorage(root, "job", disk or LocalDisk())
    storage.begin_attempt()
    return storage


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    files = storage.attempt.store_files("s", 0)
    first, second = files.scratch() / "a", files.scratch() / "b"
    first.write_bytes(b"content")
    second.write_bytes(b"content")
    one, other = files.keep(first, "log", suffix=".log"), files.keep(second, "000001.sst", suffix=".log")
    assert one.name == other.name == f"{one.checksum}.log"
    assert (one.role, other.role) == ("log", "000001.sst")
    assert one.size == 7
    assert [path.name for path in storage.files.iterdir()] == [one.name]
    assert files.path(one).read_bytes() == b"content"
    assert first.exists()
    assert files.path(one).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_a_link_is_impossible_the_file_is_copied(tmp_path: Path, code: int) -> None:
    disk = FailingDisk()
    files = storage_in(tmp_path, disk).attempt.store_files("s", 0)
    made = tmp_path / "made"
    made.write_bytes(b"content")
    disk.fail_all(code, "link")
    ref = files.keep(made, "log", suffix=".log")
    assert files.path(ref).read_bytes() == b"content"
    assert files.path(ref).stat().st_ino != made.stat().st_ino


def test_a_kept_file_that_was_cut_since_is_healed_by_the_same_content(tmp_path: Path) -> None:
    files = storage_in(tmp_path).attempt.store_files("s", 0)
    made = tmp_path / "made"
    made.write_bytes(b"content")
    ref = files.keep(made, "log", suffix="")
    files.path(ref).unlink()
    files.path(ref).write_bytes(b"con")
    assert files.keep(made, "log", suffix="") == ref
    assert files.path(ref).read_bytes() == b"content"


def test_a_full_disk_is_said_with_the_place(tmp_path: Path) -> None:
    disk = FailingDisk()
    files = storage_in(tmp_path, disk).attempt.store_files("s", 0)
    made = tmp_path / "made"
    made.write_bytes(b"content")
    disk.fail_all(errno.ENOSPC, "fsync")
    with pytest.raises(CheckpointFailedError, match="No space left"):
        files.keep(made, "log", suffix=".log")


def test_an_attempt_that_was_shut_out_can_keep_nothing_from_its_scratch(tmp_path: Path) -> None:
    late = storage_in(tmp_path)
    files = late.attempt.store_files("s", 0)
    made = files.scratch() / "made"
    made.write_bytes(b"content")
    storage_in(tmp_path)
    with pytest.raises(AttemptSupersededError, match="taken this job over"):
        files.keep(made, "log", suffix=".log")
    with pytest.raises(AttemptSupersededError):
        files.scratch()


def test_a_reference_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    files = storage_in(tmp_path).attempt.store_files("s", 0)
    with pytest.raises(CheckpointDamagedError, match="never made"):
        files.path(FileRef(name="../lock", size=1, checksum="", role="log"))


def test_a_suffix_that_is_none_is_refused(tmp_path: Path) -> None:
    files = storage_in(tmp_path).attempt.store_files("s", 0)
    made = tmp_path / "made"
    made.write_bytes(b"content")
    with pytest.raises(ValueError, match="suffix"):
        files.keep(made, "log", suffix="/x")


def test_stores_with_any_name_have_scratch_folders_of_their_own(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    folders = {storage.attempt.store_files(name, 0).scratch() for name in ("a/b", "a", "..", "ü", "a%2Fb", "")}
    assert len(folders) == 6
    assert all(folder.is_dir() and folder.parent.name == "scratch" for folder in folders)
