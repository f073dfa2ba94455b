"""A disk that fails once, under a checkpoint or a working copy of state, damages nothing: it is tried again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.manifest_files import verify
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import CheckpointDamagedError, DiskFailedError, DiskFullError, StateDirectoryError, StreamletError
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.job.supervisor import is_final
from streamlet.state.backends.rocksdb_database import RocksBase
from streamlet.state.snapshot import FileRef, LogRef, StoreSnapshot
from tests.unit.checkpoint.test_storage_failures import manifest


class ReadFails(LocalDisk):
    """Of which reading fails with this code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def read(self, path: Path) -> bytes:
        raise OSError(self.code, os.strerror(self.code), str(path))

    def size(self, path: Path) -> int:
        raise OSError(self.code, os.strerror(self.code), str(path))


def _with_a_file() -> Manifest:
    log = LogRef(1, 1, FileRef("a" * 32 + ".log", 3, "a" * 32, "log"))
    one = manifest(1)
    one.stores.append(StoreSnapshot("agg", 0, 0, 128, 1, 0, (), (log,)))
    return one


@pytest.mark.parametrize("code, is_damage", [(errno.EIO, False), (errno.ESTALE, False), (errno.ENOENT, True)])
def test_a_file_that_cannot_be_read_just_now_is_not_a_damaged_one(code: int, is_damage: bool, tmp_path: Path) -> None:
    with pytest.raises(StreamletError) as caught:
        verify(ReadFails(code), _with_a_file(), tmp_path, full=True)
    assert isinstance(caught.value, CheckpointDamagedError) is is_damage
    assert is_final(caught.value) is is_damage


def test_a_manifest_that_cannot_be_read_just_now_is_tried_again(tmp_path: Path) -> None:
    storage = CheckpointStorage(tmp_path, "job", LocalDisk())
    storage.begin_attempt()
    storage.write_manifest(manifest(1))
    with pytest.raises(StateDirectoryError, match="cannot be read just now") as caught:
        CheckpointStorage(tmp_path, "job", ReadFails(errno.EIO)).checkpoints()
    assert not is_final(caught.value)


@pytest.mark.parametrize(
    "text, kind, is_over",
    [
        ("IO error: While pread offset 0 len 4096: 000012.sst: Input/output error", DiskFailedError, False),
        ("IO error: No space left on device: While appending", DiskFullError, False),
        ("Corruption: block checksum mismatch in 000012.sst", CheckpointDamagedError, True),
        ("Invalid argument: something of the options", StateDirectoryError, True),
    ],
)
def test_what_rocksdb_says_of_its_disk_decides_what_becomes_of_the_attempt(
    text: str, kind: type[StreamletError], is_over: bool, tmp_path: Path
) -> None:
    base = RocksBase(tmp_path / "base", 1 << 20, create=True)
    try:
        with pytest.raises(kind) as caught:
            base._raise(Exception(text))
        assert is_final(caught.value) is is_over
    finally:
        base.close()
