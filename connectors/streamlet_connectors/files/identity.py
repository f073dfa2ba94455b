"""Tells one file from another: by device, number and time of birth, whatever its names are.

A file system gives the number of a deleted file to the next one that is made.  The time of birth tells the two apart:
ext4, XFS, Btrfs, ZFS, tmpfs and others keep it, and Linux gives it by statx(2), which Python's `os` does not offer yet.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

_HERE, _OF_DESCRIPTOR = -100, 0x1000  # AT_FDCWD, AT_EMPTY_PATH
_WANTED, _BIRTH = 0x900, 0x800  # STATX_INO | STATX_BTIME
_FOUND = struct.Struct("=I28xQ40xqI44xII112x")  # struct statx: mask, number, seconds and ns of birth, device


class Identity(NamedTuple):
    """Which file it is on this machine, as long as it exists; zeros where that is not known."""

    device: int = 0
    inode: int = 0
    birth: int = 0
    """When the file was made, in ns; 0 where the file system does not say."""

    def is_same(self, other: Identity | None) -> bool:
        """Tells whether both are one file: two births differ, unless one of them is not known."""
        if other is None or not self.inode or self[:2] != other[:2]:
            return False
        return self.birth == other.birth or not (self.birth and other.birth)


def identity_of(path: str) -> Identity | None:
    """Gives the file behind a path, through links; None where there is none."""
    try:
        return _look(_HERE, os.fsencode(path), 0) if _statx() else _without_birth(os.stat(path))  # noqa: PTH116
    except (OSError, ValueError):
        return None


def identity_by(descriptor: int) -> Identity:
    """Gives the file that is open."""
    return _look(descriptor, b"", _OF_DESCRIPTOR) if _statx() else _without_birth(os.fstat(descriptor))


def _without_birth(stat: os.stat_result) -> Identity:
    return Identity(stat.st_dev, stat.st_ino)


def _look(descriptor: int, path: bytes, flags: int) -> Identity:
    statx, found = _statx(), ctypes.create_string_buffer(_FOUND.size)
    if statx is None or b"\0" in path or statx(descriptor, path, flags, _WANTED, found) != 0:
        raise OSError(ctypes.get_errno(), "statx", path)
    mask, inode, seconds, ns, major, minor = _FOUND.unpack(found)
    birth = max(1, seconds * 1_000_000_000 + ns) if mask & _BIRTH else 0
    return Identity(os.makedev(major, minor), inode, birth)


@functools.cache
def _statx() -> Callable[..., int] | None:
    """The call of the C library; None where the library or the system has none."""
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:
        return None
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    works = statx(_HERE, b"/", 0, _WANTED, ctypes.create_string_buffer(_FOUND.size)) == 0
    return statx if works else None
