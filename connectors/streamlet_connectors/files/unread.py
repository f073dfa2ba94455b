"""Says what files have that a job that finished did not read: new files, and known ones that changed since."""

from __future__ import annotations

import os
from collections.abc import Mapping

from streamlet.connect import DecodeError, Position
from streamlet_connectors.files.content import open_content
from streamlet_connectors.files.errors import FileMissingError
from streamlet_connectors.files.identity import Identity, identity_of
from streamlet_connectors.files.lineage import Located, checksum, locate
from streamlet_connectors.files.position import FilePosition


def unread(names: Mapping[str, Identity], known: Mapping[str, Position]) -> list[str]:
    """Gives the paths of new files, and of known ones with what became of them; none of files that are gone. Blocks."""
    seen: set[Identity] = set()
    told: list[str] = []
    for split, plain in known.items():
        position = FilePosition.of(split, plain)
        here = identity_of(position.path)
        found = locate(position, names) or (Located(position.path, here) if here is not None else None)
        if found is not None:
            seen.add(found.identity)
            told += _changed(found.path, position)
    return told + [path for path, identity in names.items() if identity not in seen]


def _changed(path: str, position: FilePosition) -> list[str]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - follows links
    except OSError:
        return []
    before, now = position.size, stat.st_size
    if before < 0 or (now == before and stat.st_mtime_ns == position.mtime):
        return []
    if now != before:
        return [f"{path} ({'grew' if now > before else 'shrank'} from {before} to {now} bytes)"]
    return [] if _has_what_was_read(path, position) else [f"{path} (was written anew)"]


def _has_what_was_read(path: str, position: FilePosition) -> bool:
    try:
        content = open_content(path)
    except FileMissingError:
        return True
    try:
        return position.crc < 0 or checksum(content, position.offset) == position.crc
    except DecodeError:
        return False
    finally:
        content.close()
