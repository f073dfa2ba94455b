"""Checkpoints on a real directory: what is decided stays, what is shut out decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import (
    AttemptSupersededError,
    CheckpointDamagedError,
    CheckpointError,
    StateDirectoryError,
)
from streamlet.machine.disk import LocalDisk
from streamlet.state.snapshot import FileRef, LogRef, StoreSnapshot


class Disk:
    """A storage with shorthand for making files and checkpoints."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = CheckpointStorage(root, "job", LocalDisk())
        self.attempt = self.storage.begin_attempt()

    def file(self, content: str, role: str = "log") -> FileRef:
        files = self.storage.attempt.store_files("s", 0)
        path = files.scratch() / "made"
        path.unlink(missing_ok=True)  # a kept file is the same file under a second name
        path.write_text(content)
        return files.keep(path, role, suffix=".log" if role == "log" else ".sst")

    def manifest(
        self, number: int, logs: Sequence[FileRef] = (), base: Sequence[FileRef] = (), **more: Any
    ) -> Manifest:
        named = tuple(LogRef(cut=number, entries=1, file=file) for file in logs)
        store = StoreSnapshot("s", 0, 0, 8, number, 0, tuple(base), named)
        fields: dict[str, Any] = {"kind": "periodic", "parent": number - 1 if number else None, "attempt": self.attempt}
        return Manifest(job="job", checkpoint_id=number, key_groups=8, stores=[store], **fields | more)

    def write(self, number: int, logs: Sequence[FileRef] = (), *, marked: bool = False, **more: Any) -> None:
        self.storage.write_manifest(self.manifest(number, logs, **more))
        if marked:
            self.storage.write_marker(number)

    def ids(self) -> list[tuple[int, bool]]:
        return [(info.id, info.is_marked) for info in self.storage.checkpoints()]

    def kept(self) -> set[str]:
        return {path.name for path in self.storage.files.iterdir()}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_a_new_job_has_no_history_and_begins_at_checkpoint_0(tmp_path: Path) -> None:
    storage = CheckpointStorage(tmp_path / "deep" / "state", "job", LocalDisk())
    assert storage.checkpoints() == [] and not storage.has_history()
    assert not (tmp_path / "deep").exists(), "looking makes nothing"
    assert storage.begin_attempt() == 1
    assert storage.next_checkpoint_id() == 0
    assert not storage.has_history()
    assert storage.folder.stat().st_mode & 0o777 == 0o700


def test_what_was_written_is_found_with_its_marker_and_sizes(disk: Disk) -> None:
    file = disk.file("log 1")
    disk.write(0, kind="initial")
    disk.write(1, [file, file])
    assert disk.ids() == [(0, True), (1, False)]
    disk.storage.write_marker(1)
    info = disk.storage.load(1)
    assert info.is_marked and info.manifest == disk.manifest(1, [file, file])
    assert info.files_bytes == file.size
    assert info.manifest_bytes == (info.path / "manifest").stat().st_size
    assert (info.path / "manifest").stat().st_mode & 0o777 == 0o600
    disk.storage.verify(info.manifest, full=True)


def test_a_start_checkpoint_is_marked_by_the_rename_that_decides_it(disk: Disk) -> None:
    info = disk.storage.write_manifest(disk.manifest(5, kind="start", parent=3))
    assert info.is_marked and disk.ids() == [(5, True)]


def test_attempt_numbers_rise_and_shut_out_the_one_before(disk: Disk) -> None:
    second = CheckpointStorage(disk.root, "job", LocalDisk())
    assert second.begin_attempt() == 2
    for call in (
        lambda: disk.write(1),
        lambda: disk.storage.write_marker(0),
        lambda: disk.storage.reserve(1),
        lambda: disk.storage.release(),
        lambda: disk.storage.clean_orphans(),
        lambda: disk.storage.attempt.store_files("s", 0),
        lambda: disk.storage.attempt.work_folder(),
    ):
        with pytest.raises(AttemptSupersededError, match="taken this job over"):
            call()
    assert second.checkpoints() == []
    assert disk.storage.begin_attempt() == 3, "the same object may begin again"


def test_a_late_thread_of_an_earlier_attempt_of_this_process_decides_nothing(disk: Disk) -> None:
    late = disk.manifest(1)
    disk.storage.begin_attempt()
    with pytest.raises(AttemptSupersededError, match="attempt-1"):
        disk.storage.write_manifest(late)
    assert disk.ids() == []


def test_nothing_is_written_before_an_attempt_has_begun(tmp_path: Path) -> None:
    with pytest.raises(StateDirectoryError, match="attempt has begun"):
        CheckpointStorage(tmp_path, "job", LocalDisk()).write_marker(1)


def test_checkpoint_ids_rise_over_attempts_whatever_was_left(disk: Disk) -> None:
    disk.write(0, kind="initial")
    disk.write(1, marked=True)
    disk.storage.reserve(2)
    disk.storage.reserve(7)
    assert disk.storage.next_checkpoint_id() == 8
    for _ in range(3):  # the attempt that reserved 7 is removed by the next one; its number is not forgotten
        disk.storage = CheckpointStorage(disk.root, "job", LocalDisk())
        disk.storage.begin_attempt()
        assert disk.storage.next_checkpoint_id() == 8


def test_a_checkpoint_id_is_never_written_twice(disk: Disk) -> None:
    disk.write(1)
    with pytest.raises(CheckpointError, match="never repeat"):
        disk.write(1)


def test_a_manifest_never_names_a_file_that_is_not_there(disk: Disk) -> None:
    file = disk.file("log")
    (disk.storage.files / file.name).unlink()
    with pytest.raises(CheckpointDamagedError, match=file.name):
        disk.write(1, [file])
    assert disk.ids() == []


def test_a_job_that_lost_its_checkpoints_still_has_a_history(disk: Disk) -> None:
    import shutil

    disk.write(0, kind="initial")
    shutil.rmtree(disk.storage.folder / "chk-00000000")
    assert disk.storage.checkpoints() == [] and disk.storage.has_history()


def test_work_folders_of_earlier_attempts_go(disk: Disk) -> None:
    (disk.storage.attempt.work_folder() / "db").mkdir()
    disk.storage.begin_attempt()
    assert disk.storage.attempt.work_folder().name == "2"
    assert [path.name for path in disk.storage.attempt.work_folder().parent.iterdir()] == ["2"]


def test_another_jobs_checkpoint_and_a_missing_one_are_refused(disk: Disk) -> None:
    disk.write(1)
    with pytest.raises(CheckpointError, match="there are: 1"):
        disk.storage.load(9)
    other = CheckpointStorage(disk.root, "other", LocalDisk())
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        other.load(disk.root)
    with pytest.raises(CheckpointError, match="checkpoint of job 'job', not of 'other'"):
        other.load(disk.storage.folder / "chk-00000001")


def test_a_checkpoint_of_a_copied_directory_is_adopted_with_its_files(disk: Disk, tmp_path: Path) -> None:
    log, sst = disk.file("log"), disk.file("sst", "000001.sst")
    disk.write(1, [log], base=[sst], marked=True)
    copy = Disk(tmp_path / "copy")
    info = copy.storage.load(disk.storage.folder / "chk-00000001")
    assert info.manifest is not None
    copy.storage.verify(info.manifest, files=info.path.parent / "files", full=True)
    copy.storage.adopt(info.manifest, info.path.parent / "files")
    copy.storage.clean_orphans()
    copy.write(2, [log], base=[sst], kind="start", parent=None)
    assert copy.kept() == {log.name, sst.name}


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [damage_missing, damage_empty, damage_cut, damage_flip, damage_folder]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_listed_with_what_is_wrong(disk: Disk, damage: Any) -> None:
    disk.write(1, marked=True)
    damage(disk.storage.folder / "chk-00000001" / "manifest")
    (info,) = disk.storage.checkpoints()
    assert info.manifest is None and info.is_marked
    assert info.problem is not None and "chk-00000001/manifest" in info.problem
    with pytest.raises(CheckpointDamagedError, match="chk-00000001/manifest"):
        disk.storage.load(1)


def test_swapped_manifests_are_found(disk: Disk) -> None:
    disk.write(1)
    disk.write(2)
    first, second = (disk.storage.folder / name / "manifest" for name in ("chk-00000001", "chk-00000002"))
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    problems = [info.problem for info in disk.storage.checkpoints()]
    assert all(problem is not None and "it is that of checkpoint" in problem for problem in problems)


@pytest.mark.parametrize("content", [b"", b"committed 2\n", b"committed 1"])
def test_a_marker_that_says_something_else_does_not_count(disk: Disk, content: bytes) -> None:
    disk.write(1, marked=True)
    (disk.storage.folder / "chk-00000001" / "committed").write_bytes(content)
    assert disk.ids() == [(1, False)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_is_found_by_the_default_check(disk: Disk, damage: Any) -> None:
    file = disk.file("a log with entries")
    disk.write(1, [file])
    damage(disk.storage.files / file.name)
    with pytest.raises(CheckpointDamagedError, match=file.name):
        disk.storage.verify(disk.manifest(1, [file]))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sst_is_found_by_its_size_or_by_the_full_check(disk: Disk, damage: Any) -> None:
    file = disk.file("sorted", "000001.sst")
    manifest = disk.manifest(1, base=[file])
    damage(disk.storage.files / file.name)
    if damage is damage_flip:
        disk.storage.verify(manifest)
    with pytest.raises(CheckpointDamagedError, match=file.name):
        disk.storage.verify(manifest, full=damage is damage_flip)


def test_a_small_file_of_the_base_is_read_whole_by_the_default_check(disk: Disk) -> None:
    file = disk.file("MANIFEST-000005", "CURRENT")
    manifest = disk.manifest(1, base=[file])
    damage_flip(disk.storage.files / file.name)
    with pytest.raises(CheckpointDamagedError, match="checksum differs"):
        disk.storage.verify(manifest)


def test_release_keeps_the_newest_marked_one_everything_after_it_and_one_marked_more(disk: Disk) -> None:
    for number in range(8):
        disk.write(number, marked=number in (1, 3, 5))
    assert disk.storage.release(retain=1) == [0, 1, 2, 4]
    assert disk.ids() == [(3, True), (5, True), (6, False), (7, False)]
    assert disk.storage.release(retain=1) == []
    assert disk.storage.release(retain=0) == [3]


def test_without_a_marker_nothing_is_released(disk: Disk) -> None:
    for number in range(3):
        disk.write(number)
    assert disk.storage.release(retain=0) == []


def test_a_file_lives_while_a_kept_manifest_names_it(disk: Disk) -> None:
    shared, old, new = disk.file("shared"), disk.file("old"), disk.file("new")
    disk.write(1, [shared, old], marked=True)
    disk.write(2, [shared, new], marked=True)
    assert disk.storage.release(retain=0) == [1]
    assert disk.kept() == {shared.name, new.name}


def test_a_file_made_by_this_attempt_is_spared_until_a_manifest_names_it(disk: Disk) -> None:
    old = disk.file("same content")
    disk.write(1, [old], marked=True)
    again = disk.storage.attempt.store_files("other", 1)
    path = again.scratch() / "made"
    path.write_text("same content")
    assert again.keep(path, "log", suffix=".log") == old
    disk.write(2, marked=True)
    disk.storage.release(retain=0)
    assert disk.kept() == {old.name}, "the other store will name it in checkpoint 3"


def test_naming_a_file_for_one_store_does_not_release_it_for_another(disk: Disk) -> None:
    old = disk.file("same content")
    other = disk.storage.attempt.store_files("other", 1)
    path = other.scratch() / "made"
    path.write_text("same content")
    other.keep(path, "log", suffix=".log")
    disk.write(1, [old], marked=True)
    disk.write(2, marked=True)
    disk.storage.release(retain=0)
    assert disk.kept() == {old.name}, "the other store will name it in checkpoint 3"


def test_protected_files_are_spared(disk: Disk) -> None:
    old = disk.file("old")
    disk.write(1, [old], marked=True)
    disk.write(2, marked=True)
    disk.storage.release(retain=0, protect={old.name})
    assert disk.kept() == {old.name}


def test_an_unreadable_manifest_keeps_every_file_but_not_itself_when_it_is_old(disk: Disk) -> None:
    old, new = disk.file("old"), disk.file("new")
    disk.write(1, [old], marked=True)
    disk.write(2, [new], marked=True)
    disk.write(3, [new])
    damage_flip(disk.storage.folder / "chk-00000003" / "manifest")
    assert disk.storage.release(retain=0) == [1]
    assert disk.kept() == {old.name, new.name}, "checkpoint 3 may name it"
    assert disk.storage.clean_orphans() == 0


def test_orphans_go_at_a_start_and_nothing_else_does(disk: Disk) -> None:
    orphan, used = disk.file("orphan"), disk.file("used")
    disk.write(1, [used], marked=True)
    disk.attempt = disk.storage.begin_attempt()
    assert disk.storage.clean_orphans() == 1
    assert disk.kept() == {used.name}
    assert orphan.name not in disk.kept()


def test_two_folders_of_one_attempt_shut_nobody_out_for_ever(disk: Disk) -> None:
    # One was made by a process that was paused in the middle of its beginning, and then the power was cut.
    number = disk.storage.begin_attempt()
    folder = disk.storage.folder
    twin = folder / f"superseded-{number}"
    twin.mkdir()
    (twin / "floor-00000041").touch()
    (folder / f"attempt-{number}" / "chk-00000042.tmp").mkdir()
    assert disk.storage.begin_attempt() > number
    assert disk.storage.next_checkpoint_id() == 43
    assert not list(folder.glob("superseded-*"))
    assert len(list(folder.glob("attempt-*"))) == 1


def test_a_process_that_wakes_up_inside_release_removes_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlet.checkpoint import storage as module

    old = disk.file("old")
    disk.write(1, [old], marked=True)
    disk.write(2, marked=True)
    attempt = disk.storage.folder / "attempt-1"

    def stopped_here(name: str) -> None:
        if name == "during_release":
            attempt.rename(disk.storage.folder / "superseded-1")

    monkeypatch.setattr(module, "fault_point", stopped_here)
    with pytest.raises(AttemptSupersededError):
        disk.storage.release(retain=0)
    assert disk.kept() == {old.name}
