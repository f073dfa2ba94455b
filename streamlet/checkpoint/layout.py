"""State directory: how checkpoints and other files are named, and what can be read from the names alone.

```text
<state dir>/<job>/
  lock, instance, began        who runs it; who it is; that it ever had a checkpoint
  attempt-7/                   what the running attempt builds (`chk-00000043.tmp`, scratch, what it removes)
  superseded-6/                an attempt that was shut out: nothing can be decided from here any more
  files/                       logs and SSTs, named by content
  chk-00000042/                manifest, and `committed` once the marker is durable
  work/7/                      working copies of stores, disposable
  savepoints/0001/             savepoints that nobody wanted elsewhere, whole in themselves
```
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from streamlet.errors import ConfigError
from streamlet.ports import Disk

MANIFEST = "manifest"
MARKER = "committed"
FILES = "files"
WORK = "work"
BEGAN = "began"
INSTANCE = "instance"

_LONGEST_NAME = 180
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_CHECKPOINT = re.compile(r"chk-(\d{1,18})", re.ASCII)
_NUMBERED = re.compile(r"(?:chk|floor|released)-(\d{1,18})(?:\.tmp)?", re.ASCII)
_ATTEMPT = re.compile(r"(?:attempt|superseded)-(\d{1,18})", re.ASCII)
_FILE = re.compile(r"[0-9a-f]{32}(?:\.[a-z0-9]{1,16})?", re.ASCII)


def folder_name(name: str) -> str:
    """Turns any name into a folder's name: one to one, no separators, never hidden, never `..`."""
    if not name:
        raise ConfigError("a job needs a name", remedy='give it one: Job("my-job")')
    raw = name.encode("utf-8", "surrogatepass")
    out = "".join(
        chr(byte) if byte in _PLAIN and not (index == 0 and byte == 0x2E) else f"%{byte:02X}"
        for index, byte in enumerate(raw)
    )
    if len(out) <= _LONGEST_NAME:
        return out
    # A `~` never comes out of the escape, so a shortened name cannot equal a whole one.
    return f"{out[: _LONGEST_NAME - 33]}~{hashlib.blake2b(raw, digest_size=16).hexdigest()}"


def checkpoint_name(checkpoint_id: int) -> str:
    """Gives the name of a complete checkpoint's folder."""
    return f"chk-{checkpoint_id:08d}"


def temporary_name(checkpoint_id: int) -> str:
    """Gives the name of a checkpoint's folder until it is decided."""
    return f"{checkpoint_name(checkpoint_id)}.tmp"


def checkpoint_number(name: str) -> int | None:
    """Gives the id in the name of a complete checkpoint's folder, None for any other name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match is not None and checkpoint_name(int(match[1])) == name else None


def attempt_number(name: str) -> int | None:
    """Gives the number of an attempt's folder, running or shut out; None for any other name."""
    match = _ATTEMPT.fullmatch(name)
    return int(match[1]) if match is not None else None


def is_file_name(name: str) -> bool:
    """True for the name of a file in `files`; such a name cannot lead out of the folder."""
    return _FILE.fullmatch(name) is not None


def names_in(disk: Disk, folder: Path) -> list[str]:
    """Gives the names in a folder, sorted; none when the folder is not there."""
    try:
        return disk.names(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def largest_checkpoint_number(disk: Disk, folder: Path) -> int | None:
    """Gives the largest checkpoint number on anything in a job's folder, complete or not; None when there is none."""
    return max(_numbers(_all_names(disk, folder)), default=None)


def _all_names(disk: Disk, folder: Path) -> Iterator[str]:
    for name in names_in(disk, folder):
        yield name
        if attempt_number(name) is not None:
            yield from names_in(disk, folder / name)


def _numbers(names: Iterable[str]) -> Iterator[int]:
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None:
            yield int(match[1])
