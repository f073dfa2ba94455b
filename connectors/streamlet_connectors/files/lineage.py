"""Which file is which: a file is known again by its number and by what was read of it, under whatever name it has now.

A log that is rotated goes through names: `app.log`, `app.log.1`, `app.log.2.gz`.  They are one *family*, and a member
that was not seen before may be a copy (packed or not) of one that was.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple

from streamlet.connect import DecodeError
from streamlet_connectors.files.charset import Charset
from streamlet_connectors.files.content import Content, open_content
from streamlet_connectors.files.errors import FileMissingError
from streamlet_connectors.files.identity import Identity, identity_of
from streamlet_connectors.files.position import HEAD_BYTES, FilePosition, Trace, fingerprint, hash_of

_READ_BYTES = 1 << 20
_MOST_LOOKS = 20
_PACKED = r"(?:\.(?:gz|zst|z))?"
_MARK = r"(?:[._-]?(?:\d[\dT:_.+-]*|old|bak|prev))"
_SUFFIX = re.compile(rf"{_MARK}{_PACKED}|\.(?:gz|zst)", re.IGNORECASE)


Comparison = Literal["copy", "unfinished", "other"]


class Located(NamedTuple):
    """Where a file is now."""

    path: str
    identity: Identity


def is_of_family(base: str, name: str) -> bool:
    """Tells whether a rotation may give a file of the name `base` this name: app.log.1, app.log-20260131.gz,
    app.1.log."""
    if name.startswith(base):
        return bool(_SUFFIX.fullmatch(name[len(base) :]))
    stem, dot, extension = base.rpartition(".")
    if not dot or not stem or not name.startswith(stem):
        return False
    inner = re.fullmatch(rf"({_MARK})\.{re.escape(extension)}{_PACKED}", name[len(stem) :], re.IGNORECASE)
    return inner is not None


def family_of(path: str) -> Iterator[os.DirEntry[str]]:
    """The files beside `path` that may be what it was rotated to."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            yield from [one for one in entries if one.name != name and is_of_family(name, one.name) and one.is_file()]
    except OSError:
        return


def path_of(entry: os.DirEntry[str], beside: str) -> str:
    """The path of a file beside another, spelled as that is."""
    return os.path.join(os.path.dirname(beside), entry.name)  # noqa: PTH118, PTH120


def what_changed(content: Content, trace: Trace, charset: Charset | None = None) -> str | None:
    """Says in what a file is not the one of which `trace` was read; None if nothing tells that."""
    offset = trace.offset
    if offset == 0:
        return None
    head = content.head()
    begin = max(0, offset - HEAD_BYTES)
    if content.size < offset:
        return f"has {content.size} bytes, but {offset} were read before"
    if trace.head and fingerprint(head, offset) != trace.head:
        return f"does not begin with the bytes that were read before (byte offset reached: {offset})"
    last = content.read(begin, offset - begin)
    if len(last) < offset - begin:
        return f"has {begin + len(last)} bytes, but {offset} were read before"
    if trace.tail and hash_of(last) != trace.tail:
        return f"has other bytes before byte offset {offset} than were read there"
    if charset is not None and content.size > offset and not last.endswith(charset.feed):
        return f"went on inside the record that ended at byte offset {offset}"
    return None


def has_all(content: Content, trace: Trace) -> bool:
    """Tells whether a file begins with all that was read, byte by byte."""
    if what_changed(content, trace) is not None:
        return False
    return trace.crc < 0 or checksum(content, trace.offset) == trace.crc


def checksum(content: Content, offset: int) -> int:
    at = crc = 0
    while at < offset and (data := content.read(at, min(_READ_BYTES, offset - at))):
        crc = zlib.crc32(data, crc)
        at += len(data)
    return crc


def begins_with_read(path: str, trace: Trace) -> bool:
    """Tells whether a file of this name begins with all that was read; also False where it cannot be read."""
    try:
        content = open_content(path)
    except (FileMissingError, DecodeError):
        return False
    try:
        return has_all(content, trace)
    except DecodeError:
        return False
    finally:
        content.close()


def compare(content: Content, trace: Trace, old: Content | None) -> Comparison:
    """Tells whether a file is a copy of that of which `trace` was read, `old` if it is there yet: a copy begins with
    all of it; it is unfinished if it is as far as it goes."""
    try:
        if has_all(content, trace):
            return "copy"
    except DecodeError:
        return "other"  # it is damaged: its reader says so
    if content.is_packed:
        return "other" if content.is_whole else "unfinished"
    size = content.size
    if size < trace.offset and old is not None and checksum(content, size) == checksum(old, size):
        return "unfinished"
    return "other"


def locate(position: FilePosition, others: Collection[str] = (), log: str = "") -> Located | None:
    """Finds the file of a position: by its number and what was read of it under the name it had, under names beside
    that, and under `others`; then a copy of it under its name, or one that a rotation gives to it or to its `log`.

    A file that is renamed while names are looked through is under none of them: it is looked for again until the
    folder was the same before and after."""
    folder = os.path.dirname(position.path) or "."  # noqa: PTH120
    before = _entries(folder)
    for _ in range(_MOST_LOOKS):
        found = _locate(position, others, log)
        after = _entries(folder)
        if found is not None or after == before:
            break
        before = after
    return found


def _entries(folder: str) -> set[tuple[str, int]]:
    try:
        with os.scandir(folder) as entries:
            return {(one.name, one.inode()) for one in entries}
    except OSError:
        return set()


def _locate(position: FilePosition, others: Iterable[str], log: str) -> Located | None:
    known, trace = position.identity, position.trace
    for path in (position.path, *(_candidates(position.path, others) if known.inode else ())):
        here = identity_of(path)
        if here is not None and known.is_same(here) and (known.birth or _still(path, trace)):
            return Located(path, here)
    relatives = [*family_paths(position.path), *([log, *family_paths(log)] if log else [])]
    same_name = [one for one in others if not known.inode and os.path.basename(one) == os.path.basename(position.path)]  # noqa: PTH119
    for path in (position.path, *same_name, *(relatives if trace.head else ())):
        identity = identity_of(path)
        if identity is not None and _begins_alike(path, position):
            return Located(path, identity)
    return None


def _begins_alike(path: str, position: FilePosition) -> bool:
    """Tells whether a file begins with what was read, or, as long as nothing was, as its file did when it was found."""
    if position.offset > 0:
        return begins_with_read(path, position.trace)
    if not position.fingerprint:
        return not position.inode
    size = position.size
    try:
        content = open_content(path)
    except (FileMissingError, DecodeError):
        return False
    try:
        is_long_enough = content.size >= size and content.read(size - 1, 1) != b""
        return is_long_enough and fingerprint(content.head(), size) == position.fingerprint
    except DecodeError:
        return False
    finally:
        content.close()


def _candidates(path: str, others: Iterable[str]) -> Iterator[str]:
    folder = os.path.dirname(path)  # noqa: PTH120
    yield from others
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208
    except OSError:
        return
    yield from (os.path.join(folder, name) for name in names)  # noqa: PTH118


def family_paths(path: str) -> list[str]:
    return sorted(path_of(one, path) for one in family_of(path))


def _still(path: str, trace: Trace) -> bool:
    if trace.offset == 0:
        return True
    try:
        content = open_content(path)
    except (FileMissingError, DecodeError):
        return False
    try:
        return what_changed(content, trace) is None
    except DecodeError:
        return True  # it is damaged: its reader says so
    finally:
        content.close()
