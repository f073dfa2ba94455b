"""Finds the files of a source: each one once, however many names it has, and none again that was read before."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamlet.connect import Position
from streamlet_connectors.files.content import plain_head
from streamlet_connectors.files.errors import FileMissingError
from streamlet_connectors.files.identity import Identity, identity_of
from streamlet_connectors.files.lineage import (
    Located,
    begins_with_read,
    family_of,
    is_of_family,
    locate,
    path_of,
)
from streamlet_connectors.files.position import FilePosition, fingerprint

log = logging.getLogger(__name__)

GONE = "file %s is gone; it is taken as read to its end: what it had behind byte %d is lost, if it had more"
UNBORN = (
    "the file system of file %s does not say when a file was made (statx): where a log is rotated several times "
    "between two looks, and a deleted file's number is given again, what only a copy has can be lost unseen"
)


class FileFinder:
    """Gives each file a split, for one source; it remembers between two calls which splits it has looked up."""

    def __init__(self, patterns: Sequence[str], *, bounded: bool, fails_on_missing: bool) -> None:
        self._patterns = patterns
        self._bounded = bounded
        self._fails_on_missing = fails_on_missing
        self._known: dict[str, FilePosition] = {}
        """By split, as it was given."""
        self._where: dict[str, Located] = {}
        """By split, where its file was seen last; none of a file that is gone."""
        self._unborn: set[int] = set()
        """Devices that do not say when a file was made, and were told of."""

    def find(self, known: Mapping[str, Position]) -> dict[str, Position]:
        """Gives the splits that are new, and new positions of known ones that lie elsewhere by now. Blocks."""
        names = self.names()
        self._known = {split: one for split, one in self._known.items() if split in known}
        self._where = {split: one for split, one in self._where.items() if split in known}
        given: dict[str, FilePosition] = {}
        for split, plain in known.items():
            position = FilePosition.of(split, plain)
            if self._known.get(split) != position:
                given |= self._look_up(split, position, names)
        given |= self._part_twins()
        self._forget_deleted(names)
        self._require_any(names, known)
        owned = {one.identity for one in self._where.values()}
        for path, identity in names.items():
            if identity not in owned:
                owned.add(identity)
                for one in (*self._between(path, owned), Located(path, identity)):
                    split, position = self._new(one)
                    given[split] = position
        return {split: position.plain() for split, position in given.items()}

    def near(self, split: str, position: Position) -> str | None:
        return FilePosition.of(split, position).after or None

    def _look_up(self, split: str, position: FilePosition, names: Mapping[str, Identity]) -> dict[str, FilePosition]:
        """Says where a known file is; gives its position if that changes by it."""
        found = None if position.is_over else locate(position, names, base_of(position.after or split))
        before = position
        if found is None:
            position = self._missing(position)
            here = identity_of(position.path)
            if not position.is_closed and here is not None:
                found = Located(position.path, here)
        if found is not None:
            position = position.lies_in(found.identity, found.path)
            self._where[split] = found
        self._known[split] = position
        return {} if position == before else {split: position}

    def _part_twins(self) -> dict[str, FilePosition]:
        """Where two splits have come to one file, a copy that took another's place, the one that is further has it."""
        owners: dict[Identity, str] = {}
        ended: dict[str, FilePosition] = {}
        for split in sorted(self._where, key=lambda one: self._known[one].offset, reverse=True):
            if owners.setdefault(self._where[split].identity, split) != split:
                ended[split] = self._known[split] = self._known[split].ended()
                del self._where[split]
        return ended

    def _missing(self, position: FilePosition) -> FilePosition:
        """What becomes of a file that is nowhere: told, where anything may be missing with it."""
        if position.is_closed:
            return position.ended()
        path, here = position.path, identity_of(position.path)
        if here is None or not Path(path).is_file():
            if self._fails_on_missing and (self._bounded or not position.is_blank):
                raise FileMissingError(
                    f"file {path} was read before and is gone",
                    remedy="put it back as it was, or pass on_missing_file='skip' if it had been read to its end",
                )
            log.warning(GONE, path, position.offset)
            return position.ended()
        if self._bounded:
            return position  # its reader says what is changed
        if position.offset == 0:
            if position.size > 0:
                log.warning("file %s is another one than was found first, of which nothing was read", path)
            return position if not position.inode else position.ended()
        if not position.inode or position.identity.is_same(here):
            log.warning(
                "file %s was cut or written anew while the job was away: it is read from its beginning; what it had "
                "behind byte %d is lost, if it had more and no copy of it is here",
                *(path, position.offset),
            )
            return position.cut()
        if self._fails_on_missing and position.size > position.offset:
            raise FileMissingError(
                f"file {path} was rotated or replaced, and the old file is gone: it had {position.size} bytes, of "
                f"which {position.offset} were read",
                remedy="put the old file back under another name beside it, or pass on_missing_file='skip' to do "
                "without the rest",
            )
        log.warning(
            "file %s was rotated or replaced while the job was away, and the old file is gone: what it had behind byte "
            "%d is lost, if it had more",
            *(path, position.offset),
        )
        return position.ended()

    def _forget_deleted(self, names: Mapping[str, Identity]) -> None:
        """A number is given again once its file is deleted."""
        seen = set(names.values())
        for split, (path, identity) in list(self._where.items()):
            if identity in seen or identity_of(path) == identity:
                continue
            moved = locate(FilePosition(path=path).lies_in(identity), names)
            if moved is not None and moved.identity == identity:
                self._where[split] = moved
            else:
                del self._where[split]

    def _between(self, path: str, owned: set[Identity]) -> list[Located]:
        """The generations between a file that was rotated away and the one that has its name now."""
        last = self._last_of(path)
        if last is None:
            return []
        where, position = self._where.get(last), self._known[last]
        try:
            since = os.stat(where.path).st_mtime_ns if where is not None else position.mtime  # noqa: PTH116
        except OSError:
            since = position.mtime
        found = []
        for entry in family_of(path):
            name = path_of(entry, path)
            changed, identity = entry.stat().st_mtime_ns, identity_of(name)
            if identity is None or identity in owned or not 0 <= since <= changed:
                continue
            one = Located(name, identity)
            if not self._is_copy(one):
                owned.add(identity)
                found.append((changed, one))
        return [one for _, one in sorted(found)]

    def _is_copy(self, one: Located) -> bool:
        return any(
            position.offset > 0 and begins_with_read(one.path, position.trace)
            for split, position in self._known.items()
            if is_of_family(Path(base_of(split)).name, Path(one.path).name)
        )

    def _last_of(self, path: str) -> str | None:
        """The newest split that had this name."""
        splits = [split for split, one in self._known.items() if base_of(split) == path or one.path == path]
        return max(splits, key=_number, default=None)

    def _new(self, one: Located) -> tuple[str, FilePosition]:
        path, identity = one
        stat = os.stat(path) if Path(path).exists() else None  # noqa: PTH116
        last = self._relative_of(path) or self._last_of(path)
        split, number = path, 2
        while split in self._known:
            split, number = f"{path} ({number})", number + 1
        size = stat.st_size if stat is not None else -1
        head = fingerprint(plain_head(path, size), size)
        position = FilePosition(fingerprint=head, path=path, size=size, after=last or "").lies_in(identity)
        for known in self._known.values():
            if known.cuts and is_of_family(Path(known.path).name, Path(path).name):
                copied = next((cut for cut in known.cuts if cut.offset and begins_with_read(path, cut)), None)
                position = position.at(copied) if copied is not None else position
        self._known[split], self._where[split] = position, one
        if not (identity.birth or self._bounded or identity.device in self._unborn):
            self._unborn.add(identity.device)
            log.warning(UNBORN, path)
        return split, position

    def _relative_of(self, path: str) -> str | None:
        """The newest split of the log that may have been rotated to this file."""
        file = Path(path)
        splits = [
            split
            for split in self._known
            if Path(base_of(split)).parent == file.parent and is_of_family(Path(base_of(split)).name, file.name)
        ]
        return max(splits, key=lambda split: (-len(base_of(split)), _number(split)), default=None)

    def _require_any(self, names: Mapping[str, Identity], known: Mapping[str, Position]) -> None:
        if not names and not known and self._bounded:
            raise FileMissingError(
                f"no file matches {', '.join(self._patterns)} (in {Path.cwd()})",
                remedy="check the path, or pass follow=True to wait for files that come later; where [, * or ? "
                "are part of a name, glob.escape writes them",
            )

    def names(self) -> dict[str, Identity]:
        """The names that match, one for each file: one that is no link, where there is such a one."""
        found: dict[Identity, str] = {}
        for path in dict.fromkeys(path for pattern in self._patterns for path in self._matching(pattern)):
            identity = identity_of(path)
            _require_text(path)
            if identity is not None and (identity not in found or _is_link(found[identity]) > _is_link(path)):
                found[identity] = path
        return {path: identity for identity, path in found.items()}

    def _matching(self, pattern: str) -> list[str]:
        path = Path(pattern)
        if path.is_dir():
            raise FileMissingError(
                f"{pattern} is a directory", remedy=f"name its files with a glob: {path / '*.jsonl'} or {path / '**'}"
            )
        if path.exists():
            if not path.is_file():
                raise FileMissingError(
                    f"{pattern} is a pipe, a socket or a device: it cannot be read again after a failure",
                    remedy="write what comes through it into a file, and read that (follow=True)",
                )
            return [pattern]
        if glob.has_magic(pattern):
            matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes absolute patterns, skips hidden files
            return sorted(match for match in matches if Path(match).is_file())
        if self._bounded or not path.parent.is_dir():
            raise FileMissingError(
                f"there is no file {pattern} (in {Path.cwd()})",
                remedy="check the path, or pass follow=True to wait for a file that comes later",
            )
        return []


def base_of(split: str) -> str:
    """The name that a split's file had when it was found."""
    base, open_, number = split.rpartition(" (")
    return base if open_ and number[:-1].isdecimal() and number.endswith(")") else split


def _require_text(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise FileMissingError(
            f"the name of file {os.fsencode(path)!r} is not UTF-8, and a checkpoint cannot hold it",
            remedy="rename the file, or let the glob leave it out",
        ) from None


def _number(split: str) -> int:
    base = base_of(split)
    return int(split[len(base) + 2 : -1]) if base != split else 1


def _is_link(path: str) -> bool:
    return Path(os.path.realpath(path)) != Path(path).absolute()
