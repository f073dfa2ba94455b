"""Reads the next records of a file from a position, after it has proven that the file is still the same.

The proof is made before every read: the file is not shorter than the offset, its first bytes and those before the
offset have the same hashes, and the byte before the offset is a line feed; the checksum of all is compared where the
file was written without becoming longer.  A file that was only appended to passes, also as a copy on another disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamlet_connectors.files.charset import Charset
from streamlet_connectors.files.content import Content
from streamlet_connectors.files.errors import RecordTooLongError
from streamlet_connectors.files.position import FilePosition, go_on
from streamlet_connectors.files.records import Layout, cut_lines

CHUNK_BYTES = 256 * 1024
MAX_RECORD_BYTES = 16 << 20
"""Of one record, unless a source says otherwise."""


class Chunk(NamedTuple):
    """What a file had from a position on."""

    records: list[bytes]
    start: FilePosition
    """Where the first record starts: behind the byte order mark and the header, if they were just passed."""
    before: bytes
    """The last bytes before `start`."""
    end: int
    """Offset behind the last record; a last line without line feed makes it one less than the records say."""
    head: bytes
    """The file's first bytes."""
    charset: Charset
    left_out: str = ""
    """Says that a record was too long, and `start` is behind it."""


def read_chunk(
    content: Content,
    path: str,
    position: FilePosition,
    before: bytes,
    layout: Layout[Any],
    *,
    bounded: bool,
    most: int = MAX_RECORD_BYTES,
    skips: bool = False,
) -> Chunk:
    """Reads whole records from `position` on, which `before` precedes: no records if there are none yet.  `most` bounds
    the bytes of a record; a longer one is passed over if `skips`.  Blocks; to be called in a thread."""
    head = content.head()
    charset = layout.encoding.of(path, head)
    file = _Opened(content, path, charset, layout, bounded=bounded, most=most)
    if position.offset == 0:
        _, behind = file.read_prologue()
        if behind is None:
            return Chunk([], position, before, 0, head, charset)  # it is not written to its end yet
        position, before = _pass(content, position, before, behind)
    try:
        records, end = file.read_records(position)
    except RecordTooLongError as error:
        if not skips:
            raise
        behind = file.find_behind_line(position)
        if behind is None:
            return Chunk([], position, before, 0, head, charset)
        position, before = _pass(content, position, before, behind)
        return Chunk([], position, before, 0, head, charset, error.message)
    return Chunk(records, position, before, end, head, charset)


def read_header(content: Content, path: str, layout: Layout[Any], *, most: int = MAX_RECORD_BYTES) -> bytes:
    """Reads a file's header, b"" if there is none. Blocks; to be called in a thread."""
    charset = layout.encoding.of(path, content.head())
    header, _ = _Opened(content, path, charset, layout, bounded=True, most=most).read_prologue()
    return header


def _pass(content: Content, position: FilePosition, before: bytes, behind: FilePosition) -> tuple[FilePosition, bytes]:
    """Goes on to a place without giving what lies before it."""
    trace = position.trace
    while trace.offset < behind.offset:
        data = content.read(trace.offset, min(CHUNK_BYTES, behind.offset - trace.offset))
        if not data:
            break
        trace, before = go_on(trace, before, data, behind.line)
    return position.at(trace._replace(line=behind.line)), before


class _Opened:
    """A file that is open, for one read."""

    def __init__(
        self, content: Content, path: str, charset: Charset, layout: Layout[Any], *, bounded: bool, most: int
    ) -> None:
        self._content = content
        self._path = path
        self._charset = charset
        self._layout = layout
        self._bounded = bounded
        self._most = most

    def read_prologue(self) -> tuple[bytes, FilePosition | None]:
        """Gives the header (b"" if there is none) and the position behind it, None if it is not all there yet."""
        layout, position = self._layout, FilePosition(self._charset.mark_length)
        for _ in range(layout.skip_lines):
            lines, end = self._read(position, cut_lines)
            if not lines:
                return b"", None
            position = self._behind(position, lines[0], end)
        if not layout.has_header:
            return b"", position
        records, end = self.read_records(position)
        return (records[0], self._behind(position, records[0], end)) if records else (b"", None)

    def read_records(self, position: FilePosition) -> tuple[list[bytes], int]:
        """Gives whole records from `position` on, and the offset behind them."""
        return self._read(position, self._layout.cut)

    def find_behind_line(self, position: FilePosition) -> FilePosition | None:
        """Gives the position behind a line that is too long to be held, None if it is not written to its end yet."""
        at, feed = position.offset, self._charset.feed
        while data := self._content.read(at, CHUNK_BYTES // len(feed) * len(feed)):
            first, *rest = self._charset.split(data)
            if rest:
                return FilePosition(at + len(first) + len(feed), position.line + 1)
            at += len(data)
        return FilePosition(at, position.line + 1) if self._bounded else None

    def _behind(self, position: FilePosition, record: bytes, end: int) -> FilePosition:
        offset = min(position.offset + len(record) + len(self._charset.feed), end)
        return FilePosition(offset, position.line + 1 + self._charset.feeds_in(record))

    def _read(self, position: FilePosition, cut: Callable[..., list[bytes]]) -> tuple[list[bytes], int]:
        length, content, charset = min(CHUNK_BYTES, self._most), self._content, self._charset
        while True:
            data = content.read(position.offset, min(length, content.size - position.offset))
            end, size = position.offset + len(data), content.size
            is_last = self._bounded and end >= size and content.is_whole
            records = cut(data, charset, is_last=is_last, is_full=len(data) >= self._most)
            if records:
                return records, min(end, position.offset + sum(map(len, records)) + len(records) * len(charset.feed))
            if end >= size or not data:
                return [], position.offset
            if length >= self._most:
                raise RecordTooLongError(
                    f"file {self._path}, line {position.line + 1} (byte offset {position.offset}): no record ends "
                    f"within {self._most} bytes",
                    remedy="is it a file of lines? Where records are that large, raise max_record_bytes of the source",
                )
            length = min(length * 2, self._most)
