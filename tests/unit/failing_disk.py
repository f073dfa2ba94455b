"""A disk of which chosen calls fail, before or after they have done their work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from streamlet.machine.disk import LocalDisk
from streamlet.ports import HeldLock


class FailingDisk(LocalDisk):
    """The real disk, with its steps counted and named as a system calls them: open, write, fsync, mkdir, rename, link.

    `done` lists the steps that have done their work, `failed` is the step that was made to fail.
    """

    def __init__(self) -> None:
        self.count = 0
        self.failed: str | None = None
        self.done: list[tuple[str, Path]] = []
        self._fails: Callable[[str, Path], bool] = lambda step, path: False
        self._code = 0
        self._is_after = False

    def fail_at(self, number: int, code: int, *, after: bool = False) -> None:
        """From here on counts anew, and the step of this number fails."""
        self.count, self.failed = 0, None
        self._fails, self._code, self._is_after = lambda step, path: self.count == number, code, after

    def fail_all(self, code: int, step: str, path: Path | None = None) -> None:
        """From here on every such step fails, or those on one path."""
        self._fails = lambda found, where: found == step and path in (None, where)
        self._code = code

    def heal(self) -> None:
        """From here on nothing fails."""
        self._fails = lambda step, path: False

    def _step(self, step: str, path: Path, work: Callable[[], object]) -> None:
        self.count += 1
        is_failing = self._fails(step, path)
        if is_failing:
            self.failed = step
        if not is_failing or self._is_after:
            work()
            self.done.append((step, path))
        if is_failing:
            raise OSError(self._code, os.strerror(self._code), str(path))

    def write(self, path: Path, pieces: Iterable[bytes]) -> int:
        data = b"".join(pieces)
        self._step("open", path, lambda: path.write_bytes(b""))
        self._step("write", path, lambda: path.write_bytes(data))
        self._step("fsync", path, lambda: LocalDisk.sync(self, path))
        return len(data)

    def sync(self, path: Path) -> None:
        self._step("fsync", path, lambda: LocalDisk.sync(self, path))

    def sync_folder(self, path: Path) -> None:
        self._step("fsync", path, lambda: LocalDisk.sync_folder(self, path))

    def make_folder(self, path: Path) -> None:
        self._step("mkdir", path, lambda: LocalDisk.make_folder(self, path))

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", target, lambda: LocalDisk.rename(self, source, target))

    def link(self, source: Path, target: Path) -> None:
        self._step("link", target, lambda: LocalDisk.link(self, source, target))

    def lock(self, path: Path) -> HeldLock | None:
        self._step("open", path, lambda: None)
        held = LocalDisk.lock(self, path)
        return None if held is None else _FailingLock(self, path, held)


class _FailingLock:
    def __init__(self, disk: FailingDisk, path: Path, held: HeldLock) -> None:
        self._disk, self._path, self._held = disk, path, held

    def is_at(self, path: Path) -> bool:
        return self._held.is_at(path)

    def write(self, data: bytes) -> None:
        self._disk._step("write", self._path, lambda: None)
        self._disk._step("fsync", self._path, lambda: self._held.write(data))

    def release(self) -> None:
        self._held.release()
