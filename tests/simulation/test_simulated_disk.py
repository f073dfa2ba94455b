"""What a simulated disk keeps and loses when the machine dies."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlet.checkpoint import durable
from streamlet.testing.disk import SimulatedDisk


class Watcher:
    """Fails the named call once."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def before(self, call: str, path: str) -> None:
        if call == self.fails:
            self.fails = ""
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)


def replaced(disk: SimulatedDisk, path: Path, data: bytes) -> None:
    """New content under a name: all of the old or all of the new."""
    temporary = path.with_name(f"{path.name}.new")
    disk.write(temporary, (data,))
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)


def _survivors(root: Path, work: Callable[[SimulatedDisk, Path], object], fails: str = "") -> set[str]:
    """What may be there after a power cut, over many of them: names and contents."""
    found = set()
    for seed in range(60):
        folder = root / str(seed)
        simulated = SimulatedDisk(folder, Watcher(fails))
        work(simulated, folder)
        simulated.crash(random.Random(seed))
        found.add(" ".join(sorted(f"{one.name}={one.read_text()}" for one in folder.rglob("*") if one.is_file())))
    return found


def test_what_was_not_fsynced_may_be_lost_or_torn(tmp_path: Path) -> None:
    found = _survivors(tmp_path, lambda _, root: (root / "a").write_text("abc"))
    assert {"", "a=", "a=abc", "a=ab"} <= found


def test_a_file_whose_folder_was_not_fsynced_may_be_gone_but_is_never_torn(tmp_path: Path) -> None:
    assert _survivors(tmp_path, lambda disk, root: disk.write(root / "a", [b"abc"])) == {"", "a=abc"}


def test_what_was_fsynced_bottom_up_is_there(tmp_path: Path) -> None:
    def work(disk: SimulatedDisk, root: Path) -> None:
        durable.ensure_folder(disk, root / "one" / "two")
        replaced(disk, root / "one" / "two" / "a", b"abc")

    assert _survivors(tmp_path, work) == {"a=abc"}


def test_a_replaced_file_is_the_old_or_the_new(tmp_path: Path) -> None:
    def work(disk: SimulatedDisk, root: Path) -> None:
        replaced(disk, root / "a", b"old")
        disk.write(root / "a.new", [b"new"])
        disk.rename(root / "a.new", root / "a")

    assert _survivors(tmp_path, work) == {"a=old", "a=new", "a.new=new a=old"}


def test_a_removed_file_may_come_back(tmp_path: Path) -> None:
    def work(disk: SimulatedDisk, root: Path) -> None:
        replaced(disk, root / "a", b"abc")
        disk.remove(root / "a")

    assert _survivors(tmp_path, work) == {"", "a=abc"}


def test_two_names_of_a_file_share_its_fate(tmp_path: Path) -> None:
    def work(disk: SimulatedDisk, root: Path) -> None:
        (root / "a").write_text("abc")
        disk.link(root / "a", root / "b")
        disk.sync_folder(root)

    for found in _survivors(tmp_path, work):
        first, second = found.split()
        assert first.removeprefix("a=") == second.removeprefix("b=")


def test_after_a_failed_fsync_nothing_of_the_file_becomes_durable(tmp_path: Path) -> None:
    def work(disk: SimulatedDisk, root: Path) -> None:
        with pytest.raises(OSError, match="Input/output"):
            disk.write(root / "a", [b"abc"])
        durable.sync_and_hash(disk, root / "a")
        disk.sync_folder(root)

    assert _survivors(tmp_path, work, fails="fsync") == {"a="}


def test_a_killed_process_loses_nothing_that_it_wrote(tmp_path: Path) -> None:
    simulated = SimulatedDisk(tmp_path / "root", Watcher())
    (tmp_path / "root" / "a").write_text("abc")
    simulated.crash(random.Random(1), keep_all=True)
    assert (tmp_path / "root" / "a").read_text() == "abc"
