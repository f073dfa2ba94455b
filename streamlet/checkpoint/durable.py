"""Steps on a disk that make something durable, in the only order that works: file, then rename, then folder."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from streamlet.ports import Disk

_CHUNK = 1 << 20


def ensure_folder(disk: Disk, path: Path) -> None:
    """Makes a folder, and those above it; its name is durable, also where it was there before."""
    if disk.is_folder(path):
        # Whoever made it may have been killed before its name was durable; that can only be the deepest one.
        with contextlib.suppress(PermissionError):
            disk.sync_folder(path.parent)
        return
    ensure_folder(disk, path.parent)
    make_folder(disk, path)
    disk.sync_folder(path.parent)


def make_folder(disk: Disk, path: Path) -> None:
    """Makes one folder unless it is there; its name is not durable."""
    try:
        disk.make_folder(path)
    except FileExistsError:
        if not disk.is_folder(path):
            raise


def sync_and_hash(disk: Disk, path: Path) -> tuple[str, int]:
    """Makes a file's content durable and gives (BLAKE2b of 16 bytes in hex, size)."""
    found = hash_file(disk, path)
    disk.sync(path)
    return found


def hash_file(disk: Disk, path: Path) -> tuple[str, int]:
    """Gives (BLAKE2b of 16 bytes in hex, size) of a file."""
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    with disk.open(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
