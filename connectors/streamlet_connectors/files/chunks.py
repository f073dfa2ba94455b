"""Reads the next bytes of a file from a position, after it has proven that the file is still the same.

A position is `[offset, line, fingerprint]`: where the next record starts (bytes), how many lines lie before it (for
messages), and a hash of the file's first bytes, at most `HEAD_BYTES` and none behind the offset.  Before every read
the proof is made again: the file is not shorter than the offset, its first bytes have the same hash, and the byte
before the offset is a line feed.  A file that was replaced, cut or rotated away is thereby noticed, and a file that
was only appended to passes, also as a copy on another disk (which an inode number would not allow).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec

from streamlet import ConfigError, Position
from streamlet_connectors.files.charset import Charset
from streamlet_connectors.files.errors import FileChangedError, FileMissingError, RecordTooLongError
from streamlet_connectors.files.records import Layout, cut_lines

HEAD_BYTES = 1024
CHUNK_BYTES = 256 * 1024
MAX_RECORD_BYTES = 16 << 20
"""Of one record, unless a source says otherwise."""
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_PLAIN = tuple[_Count, _Count, str]


class FilePosition(NamedTuple):
    """Where to read on in one file."""

    offset: int = 0
    line: int = 0
    fingerprint: str = ""

    def plain(self) -> list[Any]:
        """Gives it as a checkpoint carries it."""
        return list(self)

    @classmethod
    def of(cls, path: str, position: Position) -> FilePosition:
        """Reads what `plain` gave; raises `ConfigError` for what is no position in a file."""
        try:
            return cls(*msgspec.convert(position, _PLAIN))
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"the checkpoint has {position!r:.100} as the position in file {path!r:.200}, which is none ({error})",
                remedy="did the source's uid belong to a source of another kind? Give it a uid of its own",
            ) from error


class Chunk(NamedTuple):
    """What a file had from a position on."""

    records: list[bytes]
    start: FilePosition
    """Where the first record starts: behind the byte order mark and the header, if they were just passed."""
    end: int
    """Offset behind the last record; a last line without line feed makes it one less than the records say."""
    size: int
    """The file's size when it was read."""
    head: bytes
    """The file's first bytes, for the fingerprints of positions in it."""
    charset: Charset
    left_out: str = ""
    """Says that a record was too long, and `start` is behind it."""


def fingerprint(head: bytes, offset: int) -> str:
    """Hashes the first bytes of a file, as far as they lie before `offset`."""
    return hashlib.blake2b(head[: min(offset, HEAD_BYTES)], digest_size=8).hexdigest() if offset else ""


def read_chunk(
    path: str,
    position: FilePosition,
    layout: Layout[Any],
    *,
    bounded: bool,
    size_seen: int = -1,
    most: int = MAX_RECORD_BYTES,
    skips: bool = False,
) -> Chunk | None:
    """Reads whole records from `position` on: no records if there are none yet, None if there cannot be, because the
    file still has the size `size_seen`.  `most` bounds the bytes of a record; a longer one is passed over if `skips`.
    Blocks; to be called in a thread."""
    descriptor = _open(path)
    try:
        size = os.fstat(descriptor).st_size
        if size == size_seen:
            return None
        head = os.pread(descriptor, HEAD_BYTES, 0)
        charset = layout.encoding.of(path, head)
        _prove_same(descriptor, path, position, size, head, charset)
        file = _Opened(descriptor, path, size, charset, layout, bounded=bounded, most=most)
        if position.offset == 0:
            _, behind = file.read_prologue()
            if behind is None:
                return Chunk([], position, 0, size, head, charset)  # it is not written to its end yet
            position = behind
        try:
            records, end = file.read_records(position)
        except RecordTooLongError as error:
            if not skips:
                raise
            behind = file.find_behind_line(position)
            return Chunk([], behind or position, 0, size, head, charset, error.message if behind else "")
        return Chunk(records, position, end, size, head, charset)
    finally:
        os.close(descriptor)


def read_header(path: str, layout: Layout[Any], *, most: int = MAX_RECORD_BYTES) -> bytes:
    """Reads a file's header, b"" if there is none. Blocks; to be called in a thread."""
    descriptor = _open(path)
    try:
        size = os.fstat(descriptor).st_size
        charset = layout.encoding.of(path, os.pread(descriptor, HEAD_BYTES, 0))
        header, _ = _Opened(descriptor, path, size, charset, layout, bounded=True, most=most).read_prologue()
        return header
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileMissingError(
            f"file {path} was there and is gone",
            remedy="put it back as it was, or pass on_missing_file='skip' if it had been read to its end",
        ) from error
    except OSError as error:
        raise FileMissingError(
            f"file {path} cannot be opened: {error.strerror}", remedy="check its path and permissions"
        ) from error


def _prove_same(descriptor: int, path: str, position: FilePosition, size: int, head: bytes, charset: Charset) -> None:
    offset, feed = position.offset, charset.feed
    if offset == 0:
        return
    if size < offset:
        what = f"has {size} bytes, but {offset} were read before"
    elif position.fingerprint and fingerprint(head, offset) != position.fingerprint:
        what = f"does not begin with the bytes that were read before (byte offset reached: {offset})"
    elif size > offset and os.pread(descriptor, len(feed), offset - len(feed)) != feed:
        what = f"went on inside the record that ended at byte offset {offset}"
    else:
        return
    raise FileChangedError(
        f"file {path} was replaced or changed: it {what}",
        remedy="put the file back as it was; give new data in new files (follow=True finds those that match a glob), "
        "and let a log be rotated under names that stay",
    )


class _Opened:
    """A file that is open, for one read."""

    def __init__(
        self,
        descriptor: int,
        path: str,
        size: int,
        charset: Charset,
        layout: Layout[Any],
        *,
        bounded: bool,
        most: int,
    ) -> None:
        self._descriptor = descriptor
        self._path = path
        self._size = size
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
        while data := os.pread(self._descriptor, CHUNK_BYTES // len(feed) * len(feed), at):
            first, *rest = self._charset.split(data)
            if rest:
                return FilePosition(at + len(first) + len(feed), position.line + 1)
            at += len(data)
        return FilePosition(at, position.line + 1) if self._bounded else None

    def _behind(self, position: FilePosition, record: bytes, end: int) -> FilePosition:
        offset = min(position.offset + len(record) + len(self._charset.feed), end)
        return FilePosition(offset, position.line + 1 + self._charset.feeds_in(record))

    def _read(self, position: FilePosition, cut: Callable[..., list[bytes]]) -> tuple[list[bytes], int]:
        length, size, charset = min(CHUNK_BYTES, self._most), self._size, self._charset
        while True:
            data = os.pread(self._descriptor, min(length, size - position.offset), position.offset)
            end = position.offset + len(data)
            records = cut(data, charset, is_last=self._bounded and end >= size, is_full=len(data) >= self._most)
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
