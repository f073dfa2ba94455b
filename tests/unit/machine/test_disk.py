"""The real disk: what its calls make durable, for whom, and what they leave alone; and random names."""

from __future__ import annotations

import os
import random
import uuid
from pathlib import Path

import pytest

from streamlet.machine.disk import LocalDisk
from streamlet.ports import random_uuid


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    """What was fsynced: its path, and its size at that moment."""
    found: list[tuple[Path, int]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        found.append((Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return found


def test_a_file_is_fsynced_when_all_of_it_is_written(tmp_path: Path, synced: list[tuple[Path, int]]) -> None:
    (tmp_path / "a").write_bytes(b"something longer that was there")
    assert LocalDisk().write(tmp_path / "a", (b"ab", b"", b"c" * 100_000)) == 100_002
    assert synced == [(tmp_path / "a", 100_002)]
    assert (tmp_path / "a").read_bytes() == b"ab" + b"c" * 100_000


def test_a_file_that_another_wrote_and_a_folder_are_fsynced(tmp_path: Path, synced: list[tuple[Path, int]]) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    LocalDisk().sync(tmp_path / "a")
    LocalDisk().sync_folder(tmp_path)
    assert [path for path, _ in synced] == [tmp_path / "a", tmp_path]


def test_a_lock_writes_in_place_and_fsyncs(tmp_path: Path, synced: list[tuple[Path, int]]) -> None:
    held = LocalDisk().lock(tmp_path / "lock")
    assert held is not None
    held.write(b"something long")
    held.write(b"short")
    assert synced == [(tmp_path / "lock", 14), (tmp_path / "lock", 5)]
    assert held.is_at(tmp_path / "lock") and not held.is_at(tmp_path / "other")
    assert LocalDisk().lock(tmp_path / "lock") is None
    held.release()
    again = LocalDisk().lock(tmp_path / "lock")
    assert again is not None
    again.release()


def test_what_is_made_is_for_this_user_only(tmp_path: Path) -> None:
    disk = LocalDisk()
    disk.make_folders(tmp_path / "a" / "b")
    disk.make_folders(tmp_path / "a" / "b")
    disk.write(tmp_path / "a" / "c", (b"c",))
    (tmp_path / "d").write_bytes(b"d")
    (tmp_path / "d").chmod(0o666)
    disk.sync(tmp_path / "d")
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/c", "d")]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    LocalDisk().remove(tmp_path / "a")
    LocalDisk().remove_tree(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        LocalDisk().names(tmp_path / "b")


def test_a_random_uuid_is_one_of_version_4_whatever_chance_gives() -> None:
    for seed in range(50):
        text = random_uuid(random.Random(seed))
        assert uuid.UUID(text).version == 4 and uuid.UUID(text).variant == uuid.RFC_4122 and uuid.UUID(text).hex == text
