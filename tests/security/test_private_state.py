"""What a job leaves on disk is its user's alone, and nothing that others put in its way is followed (S2, S11)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streamlet.checkpoint.lock import JobLock
from streamlet.errors import CheckpointDamagedError, StateDirectoryError
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from streamlet.state.backends.rocksdb_database import RocksBase
from streamlet.state.snapshot import FileRef
from tests.recovery.running_jobs import PROJECT
from tests.unit.cli_kit import environment
from tests.unit.state_kit import FolderFiles


def test_everything_of_a_job_is_for_its_user_only_whatever_the_umask(tmp_path: Path) -> None:
    """A whole run, killed with its working folders in place."""
    variables = {"COUNT": "20000", "RATE": "1000000", "KEYS": "5000", "STREAMLET_FAULT": "after_marker@3"}
    subprocess.run(
        [sys.executable, "-m", "streamlet", "run", str(PROJECT / "tests/recovery/counting.py"), "--state-dir", "state"],
        cwd=tmp_path,
        env=environment() | variables,
        umask=0,
        capture_output=True,
        timeout=60,
        check=False,
    )
    job = tmp_path / "state" / "counting"
    found = [job.parent, job, *job.rglob("*")]
    assert any(path.name == "committed" for path in found) and any("work" in path.parts for path in found)
    for path in found:
        parts = path.relative_to(job.parent).parts
        made_by_rocksdb = ("work" in parts or "scratch" in parts) and len(parts) > 4
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not made_by_rocksdb:  # those lie in a folder that nobody else may enter
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "job").mkdir(mode=0o700)
    (tmp_path / "job" / "lock").symlink_to(precious)
    with pytest.raises(StateDirectoryError, match="job/lock cannot be locked: Too many levels of symbolic links"):
        JobLock(tmp_path / "job", local_ports()).acquire()
    assert precious.read_text() == "precious"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "instance.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LocalDisk().write(tmp_path / "instance.new", (b"x",))
    assert not (tmp_path / "elsewhere").exists()


def test_a_job_folder_that_others_may_write_to_is_closed(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job").chmod(0o777)
    lock = JobLock(tmp_path / "job", local_ports())
    lock.acquire()
    lock.release()
    assert stat.S_IMODE((tmp_path / "job").stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else")
def test_a_job_folder_that_somebody_else_has_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job").mkdir()
    os.chown(tmp_path / "job", 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StateDirectoryError, match="belongs to user 12345"):
        JobLock(tmp_path / "job", local_ports()).acquire()


@pytest.mark.parametrize("role", ["../CURRENT", "/etc/passwd", "", ".", "LOG", "IDENTITY", "1.sst/../../x", "a.sst"])
def test_a_checkpoint_cannot_place_a_file_outside_of_the_working_folder(tmp_path: Path, role: str) -> None:
    files = FolderFiles(tmp_path)
    made = tmp_path / "made"
    made.write_bytes(b"x")
    ref = files.keep(made, role, suffix=".sst")
    with pytest.raises(CheckpointDamagedError, match="which no RocksDB has once"):
        RocksBase.link(files, [ref], tmp_path / "work" / "s", 1 << 20)


def test_two_files_of_one_name_never_write_into_each_other(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    refs: list[FileRef] = []
    for content in (b"first", b"second"):
        made = tmp_path / content.decode()
        made.write_bytes(content)
        refs.append(files.keep(made, "000001.sst", suffix=".sst"))
    with pytest.raises(CheckpointDamagedError, match="which no RocksDB has once"):
        RocksBase.link(files, refs, tmp_path / "work" / "s", 1 << 20)
    assert files.path(refs[0]).read_bytes() == b"first"


@pytest.mark.parametrize("text", [b"../../x\n", b"/etc/passwd\n", b"MANIFEST-../x\n", b"MANIFEST-000001", b"\n", b""])
def test_a_current_file_that_points_elsewhere_opens_nothing(tmp_path: Path, text: bytes) -> None:
    files = FolderFiles(tmp_path)
    made = tmp_path / "made"
    made.write_bytes(text)
    with pytest.raises((CheckpointDamagedError, StateDirectoryError)):
        RocksBase.link(files, [files.keep(made, "CURRENT", suffix="")], tmp_path / "work" / "s", 1 << 20)
