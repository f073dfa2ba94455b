"""A disk that fails, and a process that dies, at every step of deciding a checkpoint."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import CheckpointFailedError, CheckpointUndecidedError, StateDirectoryError

CALLS = ["open", "write", "fsync", "mkdir", "rename", "link"]


def manifest(number: int, attempt: int = 1) -> Manifest:
    return Manifest(job="job", checkpoint_id=number, attempt=attempt, kind="periodic", key_groups=8)


class FailingCalls:
    """Makes the k-th of the counted system calls fail, before or after it has done its work."""

    def __init__(self, patch: pytest.MonkeyPatch, fail_at: int, code: int, *, after: bool) -> None:
        self.count = 0
        self.failed: str | None = None
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(name, getattr(os, name), fail_at, code, after))

    def _wrapped(self, name: str, call: Callable[..., Any], fail_at: int, code: int, after: bool) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            self.count += 1
            if self.count != fail_at:
                return call(*args, **more)
            self.failed = name
            if after:
                result = call(*args, **more)
                if name == "open":
                    os.close(result)
            raise OSError(code, os.strerror(code))

        return wrapped


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_leaves_the_checkpoint_absent_or_says_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, after: bool
) -> None:
    for step in range(1, 100):
        storage = CheckpointStorage(tmp_path / str(step), "job")
        storage.begin_attempt()
        storage.write_manifest(manifest(1))
        with monkeypatch.context() as patch:
            calls = FailingCalls(patch, step, code, after=after)
            try:
                storage.write_manifest(manifest(2))
                outcome = "decided"
            except CheckpointFailedError:
                outcome = "absent"
            except CheckpointUndecidedError:
                outcome = "undecided"
        there = [info.id for info in storage.checkpoints() if info.manifest is not None]
        assert there == ([1] if outcome == "absent" else [1, 2]), (step, calls.failed, outcome)
        if calls.failed is None:
            assert step > 8, "fewer calls than expected were counted"
            return
        if outcome == "absent" and code == errno.ENOSPC:
            storage.write_manifest(manifest(3))
        elif outcome == "absent":
            with pytest.raises(CheckpointFailedError, match="disk has failed before"):
                storage.write_manifest(manifest(3))
    raise AssertionError("the calls never came to an end")


def test_everything_below_is_durable_before_the_rename_and_the_rename_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = CheckpointStorage(tmp_path, "job")
    storage.begin_attempt()
    storage.write_manifest(manifest(1))
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        done.append("fsync " + str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(storage.folder)))
        fsync(descriptor)

    def noted_rename(old: Path, new: Path) -> None:
        done.append(f"rename to {Path(new).relative_to(storage.folder)}")
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted_fsync)
        patch.setattr(os, "rename", noted_rename)
        storage.write_manifest(manifest(2))
        storage.write_marker(2)
    assert done == [
        "fsync files",
        "fsync attempt-1/chk-00000002.tmp/manifest",
        "fsync attempt-1/chk-00000002.tmp",
        "rename to chk-00000002",
        "fsync .",
        "fsync attempt-1/marker-00000002",
        "rename to chk-00000002/committed",
        "fsync chk-00000002",
    ]


def test_after_an_undecided_checkpoint_this_attempt_decides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = CheckpointStorage(tmp_path, "job")
    storage.begin_attempt()
    with monkeypatch.context() as patch:
        patch.setattr("streamlet.checkpoint.disk.sync_folder", failing_for(storage.folder))
        with pytest.raises(CheckpointUndecidedError, match="may or may not be durable"):
            storage.write_manifest(manifest(1))
    with pytest.raises(CheckpointFailedError, match="undecided"):
        storage.write_manifest(manifest(2))
    assert storage.begin_attempt() == 2
    assert [info.id for info in storage.checkpoints()] == [1]
    storage.write_manifest(manifest(2, attempt=2))


def failing_for(folder: Path) -> Callable[[Path], None]:
    def sync_folder(path: Path) -> None:
        if path == folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return sync_folder


def test_an_attempt_that_cannot_begin_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a directory")
    with pytest.raises(StateDirectoryError, match="state"):
        CheckpointStorage(tmp_path / "state", "job").begin_attempt()


def test_a_marker_that_cannot_be_written_fails_and_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CheckpointStorage(tmp_path, "job")
    storage.begin_attempt()
    storage.write_manifest(manifest(1))
    for step in (1, 2, 3):
        with monkeypatch.context() as patch:
            FailingCalls(patch, step, errno.ENOSPC, after=False)
            with pytest.raises(CheckpointFailedError, match="marker of checkpoint 1"):
                storage.write_marker(1)
        assert not storage.load(1).is_marked
    storage.write_marker(1)
    assert storage.load(1).is_marked


SCRIPT = """
import sys
from pathlib import Path
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage

storage = CheckpointStorage(Path(sys.argv[1]), "job")
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


@pytest.mark.parametrize("point", DEATHS)
def test_killed_at_a_named_point_exactly_what_was_decided_is_there(tmp_path: Path, point: str) -> None:
    environment = {**os.environ, "STREAMLET_FAULT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, check=False)
    assert ended.returncode == (-9 if point else 0)
    storage = CheckpointStorage(tmp_path, "job")
    before = storage.next_checkpoint_id()
    assert storage.begin_attempt() == 2
    assert [(info.id, info.is_marked) for info in storage.checkpoints()] == DEATHS[point]
    assert storage.next_checkpoint_id() == before
    assert sorted(path.name for path in storage.folder.glob("*-2")) == ["attempt-2"]
    assert not list(storage.folder.glob("superseded-*"))
