"""How far one file is read, and what was seen of it."""

from __future__ import annotations

from typing import Any

from streamlet.connect import Format
from streamlet_connectors.files.charset import UTF8
from streamlet_connectors.files.chunks import Chunk
from streamlet_connectors.files.content import Content
from streamlet_connectors.files.errors import DamagedFileError
from streamlet_connectors.files.lineage import Located
from streamlet_connectors.files.position import FilePosition, go_on


class Cursor:
    """The position behind the last batch of a split, and the raw records read ahead of it."""

    __slots__ = (
        "ahead",
        "before",
        "charset",
        "compared",
        "content",
        "end",
        "format",
        "has_begun",
        "has_ended",
        "has_long",
        "has_marks",
        "head",
        "is_over",
        "nameless_since",
        "position",
        "seen",
        "seen_times",
        "split",
        "taken",
        "then",
        "unfinished",
        "waits_at",
        "was_told",
    )

    def __init__(self, split: str, position: FilePosition) -> None:
        self.split = split
        self.position = position if position.path else position._replace(path=split)
        self.content: Content | None = None
        """The file, while it is open."""
        self.before = b""
        """The last bytes before the position, once the file was proven to be the same."""
        self.format: Format[Any] | None = None
        self.ahead: list[bytes] = []
        self.taken = 0
        self.end = 0
        self.head = b""
        self.charset = UTF8
        self.has_marks = False
        """True when records ahead begin with a mark of UTF-8, which is none of their characters."""
        self.has_long = False
        """True when a record of many lines was told of."""
        self.waits_at = -1
        """Where a record without end was told of."""
        self.seen: tuple[object, ...] = ()
        """The file when nothing more could be cut from it, and how often it was seen so: once may be in the midst of
        what the file system takes for one moment."""
        self.seen_times = 0
        self.has_begun = self.has_ended = False
        """True when it needs to wait for no other file; when its end was reached."""
        self.is_over = False
        """True when it was read to its end and can get no more."""
        self.nameless_since: float | None = None
        self.then: Located | None = None
        """The file to be read from its beginning when the rest of this one, a copy of it before it was cut, is read."""
        self.unfinished = -1
        """Size of a copy that is not written to its end yet."""
        self.compared: tuple[object, ...] = ()
        self.was_told = False

    @property
    def path(self) -> str:
        return self.position.path

    def fill(self, chunk: Chunk) -> None:
        assert self.content is not None
        self.ahead, self.taken = chunk.records, 0
        self.before, self.end, self.head, self.charset = chunk.before, chunk.end, chunk.head, chunk.charset
        self.has_marks = chunk.charset.has_marks(chunk.records)
        content = self.content
        start = chunk.start.lies_in(content.identity)
        self.position = start._replace(size=content.stat_size, mtime=content.mtime, is_closed=False)
        self.has_ended, self.nameless_since, self.seen = False, None, ()

    def advance(self, count: int) -> None:
        records = self.ahead[self.taken : self.taken + count]
        feed = self.charset.feed
        data = feed.join(records) + feed
        data = data[: self.end - self.position.offset]  # the last line may end without one
        line = self.position.line + len(records) + self.charset.feeds_in(*records)
        trace, self.before = go_on(self.position.trace, self.before, data, line)
        self.position = self.position.at(trace)
        self.taken += count
        if self.taken == len(self.ahead):
            self.ahead, self.taken = [], 0

    def turn_to(self, position: FilePosition) -> None:
        """Goes on in another place or file."""
        self.position, self.before = position, b""
        self.ahead, self.taken = [], 0
        self.format = None
        self.seen, self.has_ended, self.nameless_since = (), False, None

    def _now(self) -> tuple[object, ...]:
        content = self.content
        return () if content is None else (content.identity, content.stat_size, content.mtime)

    def is_unchanged(self) -> bool:
        """Tells whether its file is as it was when nothing more could be cut from it."""
        return self.seen_times > 1 and self.seen == self._now()

    def note_end(self) -> None:
        now = self._now()
        self.seen_times = self.seen_times + 1 if now == self.seen else 1
        self.seen, self.has_ended = now, True
        if self.content is not None:
            self.position = self.position._replace(size=self.content.stat_size, mtime=self.content.mtime)

    def require_whole(self) -> None:
        """Raises `DamagedFileError` for a packed file that ends before what is packed ends."""
        content = self.content
        if content is not None and not content.is_whole:
            raise DamagedFileError(
                f"file {self.path} is damaged: it ends at byte {content.stat_size}, in the midst of what is packed "
                f"(behind line {self.position.line})",
                remedy="bring the file anew",
            )
