"""The few calls that make something durable, in the only order that works: file, then rename, then folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_CHUNK = 1 << 20


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_folder(path: Path) -> None:
    """Makes a folder, and those above it, for this user only; its name is durable, also where it was there before."""
    if path.is_dir():
        # Whoever made it may have been killed before its name was durable; that can only be the deepest one.
        with contextlib.suppress(PermissionError):
            sync_folder(path.parent)
        return
    ensure_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=FOLDER_MODE)
    sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Writes a whole file and makes its content durable; its name is durable after `sync_folder` of the parent."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Puts new content under a name: a reader, and a start after a crash, sees all of the old or all of the new."""
    temporary = path.with_name(f"{path.name}.new")
    write_file(temporary, data)
    temporary.rename(path)
    sync_folder(path.parent)


def sync_and_hash(path: Path) -> tuple[str, int]:
    """Makes a file's content durable and gives (BLAKE2b of 16 bytes in hex, size)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, FILE_MODE)
        checksum, size = _hash_descriptor(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return checksum, size


def hash_file(path: Path) -> tuple[str, int]:
    """Gives (BLAKE2b of 16 bytes in hex, size) of a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _hash_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _hash_descriptor(descriptor: int) -> tuple[str, int]:
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    while chunk := os.read(descriptor, _CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def remove_tree(path: Path) -> None:
    """Removes a folder as far as possible. What cannot be removed now is found again at the next start."""
    shutil.rmtree(path, ignore_errors=True)
