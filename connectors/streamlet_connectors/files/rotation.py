"""Keeps to one file while names change: finds it when it was renamed, reads it to its end when it was deleted, begins
anew when it was cut, and reads no copy again of what was read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from streamlet.connect import Clock
from streamlet_connectors.files.content import Content, open_content
from streamlet_connectors.files.cursor import Cursor
from streamlet_connectors.files.errors import FileChangedError, FileMissingError
from streamlet_connectors.files.finding import base_of
from streamlet_connectors.files.identity import identity_of
from streamlet_connectors.files.lineage import (
    Located,
    begins_with_read,
    checksum,
    compare,
    family_paths,
    locate,
    what_changed,
)
from streamlet_connectors.files.position import HEAD_BYTES, Trace, go_on
from streamlet_connectors.files.records import Layout

log = logging.getLogger(__name__)

_MOST_OPEN = 200
_MOST_TRIES = 5
_CLOSED_AFTER_SECONDS = 5.0
"""How long a file that has lost its name is looked at before it counts as ended, and a packed one that ends in the
midst may stay so before that is told."""


class Rotation:
    """The files of one reader, and their names."""

    def __init__(self, clock: Clock, *, bounded: bool) -> None:
        self._clock = clock
        self._bounded = bounded
        self._cursors: dict[str, Cursor] = {}
        self._open: dict[str, Content] = {}
        """By split, least recently used first."""
        self._moved: dict[str, Cursor] = {}

    def add(self, cursor: Cursor) -> None:
        self._cursors[cursor.split] = cursor

    def take_moved(self) -> Iterable[Cursor]:
        """Gives those whose positions are written in another way by now."""
        moved, self._moved = list(self._moved.values()), {}
        return moved

    def close(self) -> None:
        for split in list(self._open):
            self._open.pop(split).close()

    def let_go(self, cursor: Cursor) -> None:
        """Closes a file."""
        content = self._open.pop(cursor.split, None)
        if content is not None:
            content.close()
        cursor.content = None

    def release(self, cursor: Cursor) -> None:
        """Closes files when too many are open, those first that were not read for the longest time."""
        while len(self._open) > _MOST_OPEN:
            split = next(one for one in self._open if one != cursor.split)
            self.let_go(self._cursors[split])

    def has_another(self, cursor: Cursor) -> bool:
        """Tells of a file that is gone while another has its name, or that had nothing yet; says what may be lost."""
        position = cursor.position
        if self._bounded or (identity_of(position.path) is None and not position.is_blank):
            return False
        log.warning(
            "file %s was rotated or replaced, and the old file is gone: what it had behind byte %d is lost, if it had "
            "more",
            *(position.path, position.offset),
        )
        self._note_closed(cursor)
        return True

    def open(self, cursor: Cursor) -> Content:
        """Gives the file of a cursor, wherever it is by now."""
        content = self._open.pop(cursor.split, None)
        if content is None:
            content = self._find(cursor)
            if not self._bounded and self._twin_of(cursor, content) is not None:
                content.close()
                raise _gone(cursor.path)  # its number was given again: the file is the other's
        else:
            content.refresh()
        self._open[cursor.split] = cursor.content = content
        return content

    def _others(self, cursor: Cursor) -> list[Content]:
        return [one for split, one in self._open.items() if split != cursor.split]

    def _twin_of(self, cursor: Cursor, content: Content) -> Content | None:
        """Another split's file that is the same one."""
        return next((one for one in self._others(cursor) if one.identity == content.identity and one.links), None)

    def _find(self, cursor: Cursor) -> Content:
        position = cursor.position
        known, gone = position.identity, _gone(position.path)
        if self._bounded or (not known.inode and identity_of(position.path) is not None):
            return open_content(position.path)
        for _ in range(_MOST_TRIES):
            here = identity_of(position.path)
            is_here = here is not None and known.is_same(here)
            found = Located(position.path, here or known) if is_here else locate(position, log=_log_of(cursor))
            if found is None:
                break
            try:
                content = open_content(found.path)
            except FileMissingError as error:
                gone = error
                continue
            if content.identity == found.identity:
                cursor.position = position.lies_in(found.identity, found.path)
                return content
            content.close()  # the name was given to another file just now
        raise gone

    def prove(self, cursor: Cursor, layout: Layout[Any]) -> bool:
        """Proves that a file is the one that was read; True if it is to be opened anew, for it was not.  A file that
        was changed stops a job that reads to the end; one that is followed is read from its beginning then."""
        content, position = cursor.content, cursor.position
        assert content is not None
        if content.is_proven or position.offset == 0:
            return False
        charset = layout.encoding.of(cursor.path, content.head()) if content.size >= position.offset else None
        changed = what_changed(content, position.trace, charset)
        is_as_long = content.stat_size == position.size and content.mtime != position.mtime >= 0
        if changed is None and is_as_long and 0 <= position.crc != checksum(content, position.offset):
            changed = f"has other bytes before byte offset {position.offset} than were read there"
        if changed is None:
            content.is_proven = content.is_packed
            if not cursor.before:
                begin = max(0, position.offset - HEAD_BYTES)
                cursor.before = content.read(begin, position.offset - begin)
            return False
        if self._bounded:
            raise FileChangedError(
                f"file {cursor.path} was replaced or changed: it {changed}",
                remedy="put the file back as it was; give new data in new files, or let the job follow its files "
                "(follow=True), which reads what is written anew from its beginning",
            )
        if content.is_packed and not content.is_whole:
            return False
        self._begin_anew(cursor, changed)
        return True

    def _begin_anew(self, cursor: Cursor, changed: str) -> None:
        position = cursor.position
        trace, identity = position.trace, position.identity
        if cursor.content is not None:
            identity = cursor.content.identity
        self.let_go(cursor)
        anew = position.cut().lies_in(identity)
        others = {one.position.identity for one in self._cursors.values()}
        copies = [path for path in family_paths(position.path) if begins_with_read(path, trace)]
        log.warning(
            "file %s was cut or written anew: it %s; it is read from its beginning%s",
            *(position.path, changed, _what_is_lost(copies, trace)),
        )
        self._moved[cursor.split] = cursor
        for path in copies:
            copy = identity_of(path)
            if copy is not None and copy not in others:
                cursor.turn_to(position.lies_in(copy, path))
                cursor.then = Located(position.path, identity)
                return
        cursor.turn_to(anew)

    def follow_name(self, cursor: Cursor) -> None:
        """Sees, at the end of a file, whether it still has its name, and is over when it will get no more."""
        content = cursor.content
        if self._bounded or content is None:
            return
        if cursor.then is not None:
            path, identity = cursor.then
            cursor.then = None
            self.let_go(cursor)
            cursor.turn_to(cursor.position.cut().lies_in(identity, path))
            self._moved[cursor.split] = cursor
            return
        now = self._clock.monotonic()
        if identity_of(cursor.path) == content.identity:
            self._tell_of_cut(cursor, now)
            return
        if cursor.nameless_since is None:
            cursor.nameless_since = now
            found = locate(cursor.position) if content.links else None
            if found is not None and found.identity == content.identity:
                cursor.position = cursor.position._replace(path=found.path)
                cursor.nameless_since = None if not is_renamed(cursor) else now
                self._moved[cursor.split] = cursor
        elif now - cursor.nameless_since >= _CLOSED_AFTER_SECONDS and content.links == 0:
            self._note_closed(cursor)
            cursor.is_over = True

    def _tell_of_cut(self, cursor: Cursor, now: float) -> None:
        content = cursor.content
        if content is not None and not content.is_whole and not cursor.was_told:
            if cursor.nameless_since is None:
                cursor.nameless_since = now
            elif now - cursor.nameless_since >= _CLOSED_AFTER_SECONDS:
                cursor.was_told = True
                log.warning("file %s ends in the midst of what is packed; the rest is waited for", cursor.path)
            return
        if is_renamed(cursor) and not cursor.position.is_closed:
            if cursor.nameless_since is None:
                cursor.nameless_since = now
            elif now - cursor.nameless_since >= _CLOSED_AFTER_SECONDS:
                self._note_closed(cursor)

    def _note_closed(self, cursor: Cursor) -> None:
        content = cursor.content
        is_gone = content is None or content.links == 0
        cursor.position = cursor.position.ended() if is_gone else cursor.position._replace(is_closed=True)
        self._moved[cursor.split] = cursor

    # --- one file behind another --------------------------------------------------------------------------------

    def may_begin(self, cursor: Cursor) -> bool:
        """Tells whether a file may be read now: not before the one that had its name is read to its end, and not while
        it seems to be a copy of one that is read.  The copy of one that was cut or is gone goes on where that was."""
        if cursor.has_begun or self._bounded or cursor.position.offset > 0 or not cursor.position.after:
            return True
        if any(one.links and one.identity == cursor.position.identity for one in self._others(cursor)):
            return False  # it is read already
        for old in self._relatives(cursor):
            if old.then is not None and old.position.identity == cursor.position.identity:
                return False
            if not self._is_apart(cursor, old):
                return cursor.has_begun
        old_one = self._cursors.get(cursor.position.after)
        if old_one is not None and not (old_one.has_ended or old_one.is_over or old_one.position.is_closed):
            return False
        cursor.has_begun = True
        return True

    def _relatives(self, cursor: Cursor) -> list[Cursor]:
        """Other files of the same log, the newest first."""
        log_of = _log_of(cursor)
        return [one for one in reversed(self._cursors.values()) if one is not cursor and _log_of(one) == log_of]

    def _is_apart(self, cursor: Cursor, old: Cursor) -> bool:
        """True when a file has nothing to do with an older one; else it has to wait, or has begun behind that."""
        file = self.open(cursor)
        is_named_anew = base_of(cursor.split) != base_of(old.split)
        cuts, trace = old.position.cuts, old.position.trace
        for cut in cuts if is_named_anew else ():
            if cut.offset and compare(file, cut, None) == "copy":
                return self._begin_at(cursor, cut)
            if 0 <= cursor.unfinished < cut.offset and cursor.unfinished == file.stat_size:
                return self._begin_at(cursor, _trace_of(file))
        if trace.offset == 0:
            return True
        content = self._open_if_there(old)
        is_gone = content is None or content.links == 0
        if not is_gone and not is_named_anew:
            return True
        seen = (old.split, trace, cuts, is_gone, file.stat_size)
        if seen == cursor.compared:
            return False
        found = compare(file, trace, content)
        if found == "other":
            return True
        if found == "copy" and is_gone:
            self._note_closed(old)
            old.is_over = True
            return self._begin_at(cursor, trace)
        if not is_named_anew:
            return True
        cursor.compared, cursor.unfinished = seen, file.stat_size if found == "unfinished" else -1
        if found == "copy" and not cursor.was_told:
            cursor.was_told = True
            log.warning(
                "file %s begins with all that was read of file %s: it is taken as a copy, and read on from there when "
                "that is cut or deleted",
                *(cursor.path, old.path),
            )
        return False

    def _open_if_there(self, cursor: Cursor) -> Content | None:
        if cursor.is_over:
            return None
        try:
            return self.open(cursor)
        except FileMissingError:
            return None

    def _begin_at(self, cursor: Cursor, trace: Trace) -> bool:
        """Lets a copy go on behind what was read of the other. Gives False: it is not apart."""
        cursor.position = cursor.position.at(trace)
        cursor.has_begun = True
        self._moved[cursor.split] = cursor
        return False


def is_renamed(cursor: Cursor) -> bool:
    """True when a file has another name than when it was found."""
    return cursor.path != base_of(cursor.split)


def _gone(path: str) -> FileMissingError:
    return FileMissingError(
        f"file {path} was there and is gone",
        remedy="put it back as it was, or pass on_missing_file='skip' if it had been read to its end",
    )


def _log_of(cursor: Cursor) -> str:
    """The name that its log is written under."""
    return base_of(cursor.position.after or cursor.split)


def _trace_of(content: Content) -> Trace:
    trace, before = Trace(), b""
    while data := content.read(trace.offset, 1 << 20):
        trace, before = go_on(trace, before, data, trace.line + data.count(b"\n"))
    return trace


def _what_is_lost(copies: list[str], trace: Trace) -> str:
    if copies:
        return f" (what it was before is in {copies[0]})"
    return f"; what it had behind byte {trace.offset} before is lost, if it had more and no copy of it matches the glob"
