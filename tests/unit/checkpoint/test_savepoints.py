"""Savepoints on disk: whole in themselves, wherever they are taken, and refused where they could not be."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from streamlet.checkpoint.finding import find_checkpoint
from streamlet.checkpoint.savepoints import write_savepoint
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import CheckpointDamagedError, CheckpointError, CheckpointFailedError
from streamlet.inspect import open_checkpoint
from streamlet.machine.disk import LocalDisk
from tests.unit.cli_kit import ROOT

GOLDEN = ROOT / "tests" / "recovery" / "golden" / "format-1" / "rocksdb"


class WithoutLinks(LocalDisk):
    """Another file system: nothing can be linked there."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))


class Full(WithoutLinks):
    def copy(self, source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "origin")
    return tmp_path / "origin"


@pytest.mark.parametrize("disk", [LocalDisk(), WithoutLinks()])
def test_a_savepoint_needs_nothing_of_where_it_was_made(tmp_path: Path, origin: Path, disk: LocalDisk) -> None:
    made = write_savepoint(disk, find_checkpoint(disk, origin), tmp_path / "deep" / "kept")
    assert made == tmp_path / "deep" / "kept" / "chk-00000010"
    shutil.rmtree(origin)
    shutil.move(tmp_path / "deep" / "kept", tmp_path / "moved")
    with open_checkpoint(tmp_path / "moved") as checkpoint:
        assert checkpoint.is_committed
        assert len(dict(checkpoint["remembers"]["last"].items())) == 5
        names = {path.name for path in (tmp_path / "moved" / "files").iterdir()}
        assert names == checkpoint.manifest.file_names()


def test_one_that_was_broken_off_is_no_checkpoint_and_is_finished_by_the_next_try(tmp_path: Path, origin: Path) -> None:
    info = find_checkpoint(LocalDisk(), origin)
    with pytest.raises(CheckpointFailedError, match="could not be written"):
        write_savepoint(Full(), info, tmp_path / "kept")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        find_checkpoint(LocalDisk(), tmp_path / "kept")
    write_savepoint(LocalDisk(), info, tmp_path / "kept")
    assert find_checkpoint(LocalDisk(), tmp_path / "kept").is_marked


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path, origin: Path) -> None:
    info = find_checkpoint(LocalDisk(), origin)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(CheckpointError, match=r"has 'diary\.txt' in it"):
        write_savepoint(LocalDisk(), info, tmp_path / "notes")
    with pytest.raises(CheckpointError, match="has a checkpoint in it"):
        write_savepoint(LocalDisk(), info, origin)
    with pytest.raises(CheckpointError, match="is not a folder"):
        write_savepoint(LocalDisk(), info, tmp_path / "notes" / "diary.txt")


@pytest.mark.parametrize("disk", [LocalDisk(), WithoutLinks()])
def test_damaged_and_missing_files_make_no_savepoint(tmp_path: Path, origin: Path, disk: LocalDisk) -> None:
    info = find_checkpoint(disk, origin)
    assert info.manifest is not None
    log = next(origin / "files" / store.logs[-1].file.name for store in info.manifest.stores if store.logs)
    whole = log.read_bytes()
    log.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointDamagedError, match=log.name):
        write_savepoint(disk, info, tmp_path / "kept")
    log.unlink()
    with pytest.raises(CheckpointDamagedError, match=log.name):
        write_savepoint(disk, info, tmp_path / "other")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        find_checkpoint(disk, tmp_path / "kept")


def test_a_checkpoint_whose_output_may_be_open_is_refused(tmp_path: Path, origin: Path) -> None:
    (origin / "chk-00000010" / "committed").unlink()
    with pytest.raises(CheckpointError, match="may still wait to be committed"):
        write_savepoint(LocalDisk(), find_checkpoint(LocalDisk(), origin), tmp_path / "kept")


def test_a_marker_that_is_made_while_it_is_verified_is_not_called_damaged(tmp_path: Path, origin: Path) -> None:
    marker = origin / "chk-00000010" / "committed"
    content = marker.read_bytes()
    marker.unlink()
    storage = CheckpointStorage(tmp_path, "job", LocalDisk(), folder=origin)
    (info,) = storage.checkpoints()
    assert not info.is_marked
    marker.write_bytes(content)
    assert storage.damages(info, "") == []
    marker.write_bytes(b"committed 11\n")
    assert storage.damages(info, "") == [f"{marker} is damaged: a start settles this checkpoint's output anew"]
