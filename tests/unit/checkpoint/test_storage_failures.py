"""A disk that fails, and a process that dies, at every step of deciding a checkpoint."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import CheckpointFailedError, CheckpointUndecidedError, DiskFailedError, StateDirectoryError
from streamlet.machine.disk import LocalDisk
from tests.unit.failing_disk import FailingDisk


def manifest(number: int, attempt: int = 1) -> Manifest:
    return Manifest(job="job", checkpoint_id=number, attempt=attempt, kind="periodic", key_groups=8)


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_leaves_the_checkpoint_absent_or_says_undecided(
    tmp_path: Path, code: int, after: bool
) -> None:
    for step in range(1, 100):
        disk = FailingDisk()
        storage = CheckpointStorage(tmp_path / str(step), "job", disk)
        storage.begin_attempt()
        storage.write_manifest(manifest(1))
        disk.fail_at(step, code, after=after)
        try:
            storage.write_manifest(manifest(2))
            outcome = "decided"
        except (CheckpointFailedError, DiskFailedError):
            outcome = "absent"
        except CheckpointUndecidedError:
            outcome = "undecided"
        disk.heal()
        there = [info.id for info in storage.checkpoints() if info.manifest is not None]
        assert there == ([1] if outcome == "absent" else [1, 2]), (step, disk.failed, outcome)
        if disk.failed is None:
            assert step > 8, "fewer calls than expected were counted"
            return
        if outcome == "absent" and code == errno.ENOSPC:
            storage.write_manifest(manifest(3))
        elif outcome == "absent":
            with pytest.raises(DiskFailedError, match="disk has failed before"):
                storage.write_manifest(manifest(3))
    raise AssertionError("the calls never came to an end")


def test_everything_below_is_durable_before_the_rename_and_the_rename_before_the_answer(
    tmp_path: Path,
) -> None:
    disk = FailingDisk()
    storage = CheckpointStorage(tmp_path, "job", disk)
    storage.begin_attempt()
    storage.write_manifest(manifest(1))
    disk.done.clear()
    storage.write_manifest(manifest(2))
    storage.write_marker(2)
    steps = [(step, str(path.relative_to(storage.folder))) for step, path in disk.done]
    assert [f"{step} {path}" for step, path in steps if step in ("fsync", "rename")] == [
        "fsync files",
        "fsync attempt-1/chk-00000002.tmp/manifest",
        "fsync attempt-1/chk-00000002.tmp",
        "rename chk-00000002",
        "fsync .",
        "fsync attempt-1/marker-00000002",
        "rename chk-00000002/committed",
        "fsync chk-00000002",
    ]


def test_after_an_undecided_checkpoint_this_attempt_decides_no_other(tmp_path: Path) -> None:
    disk = FailingDisk()
    storage = CheckpointStorage(tmp_path, "job", disk)
    storage.begin_attempt()
    disk.fail_all(errno.EIO, "fsync", storage.folder)
    with pytest.raises(CheckpointUndecidedError, match="may or may not be durable"):
        storage.write_manifest(manifest(1))
    disk.heal()
    with pytest.raises(DiskFailedError, match="undecided"):
        storage.write_manifest(manifest(2))
    assert storage.begin_attempt() == 2
    assert [info.id for info in storage.checkpoints()] == [1]
    storage.write_manifest(manifest(2, attempt=2))


def test_a_folder_that_a_paused_process_left_under_a_number_already_shut_out_is_shut_out_too(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    for name, reserved in (("superseded-3", 7), ("attempt-3", 9)):
        (folder / name / f"chk-{reserved:08d}.tmp").mkdir(parents=True)
    folder.chmod(0o700)
    storage = CheckpointStorage(tmp_path, "job", LocalDisk())
    assert storage.begin_attempt() == 5
    assert storage.next_checkpoint_id() == 10
    assert not list(storage.folder.glob("superseded-*"))


def test_an_attempt_that_cannot_begin_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a directory")
    with pytest.raises(StateDirectoryError, match="state"):
        CheckpointStorage(tmp_path / "state", "job", LocalDisk()).begin_attempt()


def test_a_marker_that_cannot_be_written_fails_and_is_absent(tmp_path: Path) -> None:
    disk = FailingDisk()
    storage = CheckpointStorage(tmp_path, "job", disk)
    storage.begin_attempt()
    storage.write_manifest(manifest(1))
    for step in (1, 2, 3):
        disk.fail_at(step, errno.ENOSPC)
        with pytest.raises(CheckpointFailedError, match="marker of checkpoint 1"):
            storage.write_marker(1)
        assert not storage.load(1).is_marked
    disk.heal()
    storage.write_marker(1)
    assert storage.load(1).is_marked


SCRIPT = """
import sys
from pathlib import Path
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk

storage = CheckpointStorage(Path(sys.argv[1]), "job", LocalDisk())
attempt = storage.begin_attempt()
number = storage.next_checkpoint_id()
for _ in range(2):
    storage.reserve(number)
    storage.write_manifest(Manifest(job="job", checkpoint_id=number, attempt=attempt, kind="periodic", key_groups=8))
    storage.write_marker(number)
    storage.release(retain=0)
    number += 1
"""

DEATHS = {
    "after_attempt_begun": [],
    "before_manifest": [],
    "after_manifest_written": [],
    "after_manifest_renamed": [(0, False)],
    "after_manifest_durable": [(0, False)],
    "before_marker": [(0, False)],
    "after_marker": [(0, True)],
    "during_release": [(1, True)],
    "before_manifest@2": [(0, True)],
    "before_marker@2": [(0, True), (1, False)],
    "": [(1, True)],
}


@pytest.mark.outside
@pytest.mark.parametrize("point", DEATHS)
def test_killed_at_a_named_point_exactly_what_was_decided_is_there(tmp_path: Path, point: str) -> None:
    environment = {**os.environ, "STREAMLET_FAULT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, check=False)
    assert ended.returncode == (-9 if point else 0)
    storage = CheckpointStorage(tmp_path, "job", LocalDisk())
    before = storage.next_checkpoint_id()
    assert storage.begin_attempt() == 2
    assert [(info.id, info.is_marked) for info in storage.checkpoints()] == DEATHS[point]
    assert storage.next_checkpoint_id() == before
    assert sorted(path.name for path in storage.folder.glob("*-2")) == ["attempt-2"]
    assert not list(storage.folder.glob("superseded-*"))
