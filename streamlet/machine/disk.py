"""The local file system as the engine's disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from streamlet.machine.paths import why_unusable
from streamlet.ports import HeldLock

FOLDER_MODE = 0o700
FILE_MODE = 0o600


class LocalDisk:
    """`Disk` by system calls. It holds nothing; any two are the same."""

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def open(self, path: Path) -> BinaryIO:
        return path.open("rb")

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is wanted

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def why(self, path: Path, error: OSError) -> str:
        return why_unusable(path, error)

    def write(self, path: Path, pieces: Iterable[bytes]) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
            return file.tell()

    def sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, FILE_MODE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def copy(self, source: Path, target: Path) -> None:
        shutil.copyfile(source, target)

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=FOLDER_MODE)

    def make_folders(self, path: Path) -> None:
        if not path.is_dir():
            self.make_folders(path.parent)
            with contextlib.suppress(FileExistsError):
                self.make_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        target.hardlink_to(source)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)

    def lock(self, path: Path) -> HeldLock | None:
        _require_own(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return _Flock(descriptor)


def _require_own(folder: Path) -> None:
    """Makes sure that nobody else can put anything into a folder. In a place that others may write to, such as /tmp,
    somebody may have made it first, or put a link there that leads elsewhere: raises `PermissionError` then."""
    own = os.geteuid()
    link, there = folder.lstat(), folder.stat()
    if own not in (0, there.st_uid) or (stat.S_ISLNK(link.st_mode) and link.st_uid != own):
        what = (
            f"its folder belongs to user {there.st_uid}, or is a link that user {link.st_uid} made; this is user {own}"
        )
        raise PermissionError(errno.EPERM, what, str(folder))
    if there.st_mode & 0o022:
        folder.chmod(stat.S_IMODE(there.st_mode) & ~0o022)


class _Flock:
    """An flock: the system lets it go when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def is_at(self, path: Path) -> bool:
        try:
            there = path.stat()
        except OSError:
            return False
        here = os.fstat(self._descriptor)
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def write(self, data: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)
        os.fsync(self._descriptor)

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
