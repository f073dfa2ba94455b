"""Reads the files of one subtask: a chunk of one file after a chunk of another, cut into batches."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from streamlet.connect import Batch, DecodeError, Position, ReaderContext
from streamlet_connectors.files.charset import Charset, without_marks
from streamlet_connectors.files.chunks import Chunk, read_chunk, read_header
from streamlet_connectors.files.content import Content
from streamlet_connectors.files.cursor import Cursor
from streamlet_connectors.files.errors import DamagedFileError, FileMissingError
from streamlet_connectors.files.finding import GONE
from streamlet_connectors.files.position import FilePosition
from streamlet_connectors.files.records import Layout
from streamlet_connectors.files.rotation import Rotation

T = TypeVar("T")
log = logging.getLogger(__name__)

_SHOWN_LINES = 20
_WAITING_BYTES = 64 * 1024
_LONG_BYTES, _LONG_LINES = 1024, 100
Policy = Literal["fail", "skip"]


class FileOptions(msgspec.Struct, frozen=True):
    """How a file source reads."""

    layout: Layout[Any]
    bounded: bool
    on_bad_record: Policy
    on_missing_file: Policy
    poll_seconds: float
    max_record_bytes: int


class FileOrigin:
    """Names rows by file, line and byte offset. It keeps the raw records and counts only when it is asked."""

    def __init__(
        self,
        path: str,
        start: FilePosition,
        records: Sequence[bytes],
        rows: Sequence[int] | None,
        charset: Charset,
    ) -> None:
        self._charset = charset
        self._path = path
        self._start = start
        self._records = records
        self._rows = rows

    def line_of(self, row: int) -> int:
        """Gives the number of its first line, from 1 on."""
        before = self._records[: row if self._rows is None else self._rows[row]]
        return self._start.line + 1 + len(before) + self._charset.feeds_in(*before)

    def describe_bad(self, row: int) -> str:
        """Names it, and says how many lines it takes if they are several: so much is left out with it."""
        more = self._charset.feeds_in(self._records[row if self._rows is None else self._rows[row]])
        return f"{self.describe(row)}{f', {more + 1} lines long' if more else ''}"

    def describe(self, row: int) -> str:
        before = self._records[: row if self._rows is None else self._rows[row]]
        offset = self._start.offset + sum(len(record) + len(self._charset.feed) for record in before)
        return f"file {self._path}, line {self.line_of(row)} (byte offset {offset})"


class FilesReader(Generic[T]):
    """Gives one batch of one file per fetch."""

    def __init__(self, context: ReaderContext, options: FileOptions, splits: Mapping[str, Position]) -> None:
        self._context = context
        self._options = options
        self._turns: deque[Cursor] = deque()
        self._rotation = Rotation(context.clock, bounded=options.bounded)
        self.add_splits(splits)

    def add_splits(self, splits: Mapping[str, Position]) -> None:
        for split, position in splits.items():
            cursor = Cursor(split, FilePosition.of(split, position))
            if not cursor.position.is_over:
                self._turns.append(cursor)
                self._rotation.add(cursor)

    async def fetch(self) -> Sequence[Batch[T]] | None:
        if not self._turns or not self._turns[0].ahead:
            await self._context.run_blocking(self._read_next)
        if self._turns and self._turns[0].ahead:
            return [self._cut_batch(self._turns[0])]
        moved: list[Batch[T]] = [
            Batch([], split=one.split, next_position=one.position.plain()) for one in self._rotation.take_moved()
        ]
        if self._options.bounded and not self._turns and not moved:
            return None
        if not moved:
            await asyncio.sleep(self._options.poll_seconds)
        return moved

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        pass

    async def close(self) -> None:
        self._rotation.close()

    def _read_next(self) -> None:
        """Looks for the next file that has records, each file once, and turns it to the front. Runs in a thread."""
        for _ in range(len(self._turns)):
            cursor = self._turns[0]
            try:
                has_records = self._read(cursor)
            except FileMissingError:
                if not cursor.position.is_closed and not self._rotation.has_another(cursor):
                    if self._options.on_missing_file == "fail":
                        raise
                    log.warning(GONE, cursor.path, cursor.position.offset)
                self._rotation.let_go(cursor)
                cursor.is_over = True
                self._turns.popleft()
                continue
            except DamagedFileError as error:
                if self._options.on_bad_record == "fail":
                    raise DecodeError(
                        error.message,
                        remedy=f"{error.remedy}; or pass on_bad_record='skip' to do without the rest of it",
                    ) from error
                log.warning("left out the rest of a file: %s", error.message)
                self._context.count("left out", 1)
                self._rotation.let_go(cursor)
                cursor.is_over = True
                self._turns.popleft()
                continue
            if has_records:
                return
            if self._options.bounded or cursor.is_over:
                self._rotation.let_go(cursor)
                self._turns.popleft()
            else:
                self._turns.rotate(-1)

    def _read(self, cursor: Cursor) -> bool:
        layout, rotation = self._options.layout, self._rotation
        if not rotation.may_begin(cursor):
            return False
        content = rotation.open(cursor)
        if cursor.is_unchanged():
            rotation.follow_name(cursor)
            return False
        while rotation.prove(cursor, layout):
            content = rotation.open(cursor)
        while True:
            chunk = read_chunk(
                content,
                cursor.path,
                cursor.position,
                cursor.before,
                layout,
                bounded=self._options.bounded,
                most=self._options.max_record_bytes,
                skips=self._options.on_bad_record == "skip",
            )
            if not chunk.left_out:
                break
            log.warning("left out a bad record: %s", chunk.left_out)
            self._context.count("left out", 1)
            cursor.position, cursor.before = chunk.start, chunk.before
        is_all = self._options.bounded and not chunk.records and chunk.start.offset > 0
        if cursor.format is None and (chunk.records or is_all):
            self._begin(cursor, chunk, content)
        if chunk.records:
            cursor.fill(chunk)
            rotation.release(cursor)
            return True
        if self._options.bounded:
            cursor.require_whole()
        else:
            self._tell_of_waiting(cursor, chunk, content)
        cursor.note_end()
        rotation.follow_name(cursor)
        return False

    def _begin(self, cursor: Cursor, chunk: Chunk, content: Content) -> None:
        """Looks at the header of a file; raises `DecodeError` if it is none."""
        layout = self._options.layout
        header = self._header(cursor.path, content) if layout.has_header else None
        if header is not None and not header.strip() and not chunk.records:
            return  # a file of blank lines
        try:
            cursor.format = layout.format(header, chunk.charset)
            notes = layout.notes(header, chunk.head, chunk.charset)
        except DecodeError as error:
            raise DecodeError(f"file {cursor.path}: {error.message}", remedy=error.remedy) from error
        for note in notes:
            log.warning("file %s: %s", cursor.path, note)

    def _tell_of_long(self, cursor: Cursor, start: FilePosition, records: list[bytes]) -> None:
        """Warns, once per file, of a record that takes many lines: two stray quotes make one of all between them."""
        for row, record in enumerate(records):
            if len(record) > _LONG_BYTES and cursor.charset.feeds_in(record) >= _LONG_LINES:
                cursor.has_long = True
                where = FileOrigin(cursor.path, start, records, None, cursor.charset).describe_bad(row)
                log.warning("one record: %s; if that is not meant, a quote is stray there (quote=None?)", where)
                return

    def _tell_of_waiting(self, cursor: Cursor, chunk: Chunk, content: Content) -> None:
        """Warns, once per place, of a record that grows and has no end: what follows it waits, too."""
        start = chunk.start
        waiting = content.size - start.offset
        if content.is_whole and waiting > _WAITING_BYTES and cursor.waits_at != start.offset:
            cursor.waits_at = start.offset
            log.warning(
                "file %s, line %d (byte offset %d): a record begins here and has not ended after %d bytes (a quote "
                "that is not closed?); what follows waits for its end, or for max_record_bytes=%d",
                *(cursor.path, start.line + 1, start.offset, waiting, self._options.max_record_bytes),
            )

    def _header(self, path: str, content: Content) -> bytes:
        return read_header(content, path, self._options.layout, most=self._options.max_record_bytes)

    def _cut_batch(self, cursor: Cursor) -> Batch[T]:
        records = cursor.ahead[cursor.taken : cursor.taken + self._context.batch_limit()]
        start = cursor.position
        texts = without_marks(records) if cursor.has_marks else records
        rows = self._options.layout.rows(texts, cursor.charset)
        if max(map(len, records)) > _LONG_BYTES and not cursor.has_long:
            self._tell_of_long(cursor, start, records)
        values, rows, used = self._decode(cursor, start, texts, rows)
        cursor.advance(used)
        if not cursor.ahead and not (cursor.content is not None and cursor.content.is_packed):
            self._turns.rotate(-1)  # what is packed is unpacked on and on: it gives its turn when there is no more
        return Batch(
            values,
            split=cursor.split,
            next_position=cursor.position.plain(),
            origin=FileOrigin(cursor.path, start, records, rows, cursor.charset),
        )

    def _decode(
        self, cursor: Cursor, start: FilePosition, records: list[bytes], rows: list[int] | None
    ) -> tuple[list[T], list[int] | None, int]:
        """Gives the values, the place of each among the records if that is not its own, and how many records are
        used up.  Records before a bad one are given first; the bad one is met again, as the first, by the next call."""
        assert cursor.format is not None
        decode = cursor.format.decode_batch
        try:
            return decode(records if rows is None else [records[row] for row in rows]), rows, len(records)
        except DecodeError as error:
            places = rows if rows is not None else list(range(len(records)))
            if self._options.on_bad_record == "skip":
                values, places = self._decode_good(cursor, start, records, places)
                return values, places, len(records)
            if error.index > 0:
                used = places[error.index]
                places = places[: error.index]
                return decode([records[place] for place in places]), places, used
            raise DecodeError(
                f"{FileOrigin(cursor.path, start, records, places, cursor.charset).describe_bad(0)}: {error.message}",
                remedy=f"{error.remedy or 'correct the record'}; "
                "or pass on_bad_record='skip' to leave such records out",
            ) from error

    def _decode_good(
        self, cursor: Cursor, start: FilePosition, records: list[bytes], places: list[int]
    ) -> tuple[list[T], list[int]]:
        assert cursor.format is not None
        values: list[T] = []
        good: list[int] = []
        origin = FileOrigin(cursor.path, start, records, None, cursor.charset)
        bad: list[int] = []
        while places:
            try:
                values += cursor.format.decode_batch([records[place] for place in places])
                good += places
                break
            except DecodeError as error:
                index = error.index
                values += cursor.format.decode_batch([records[place] for place in places[:index]])
                good += places[:index]
                if not bad:
                    remedy = f" ({error.remedy})" if error.remedy else ""
                    log.warning(
                        "left out a bad record: %s: %s%s", origin.describe(places[index]), error.message, remedy
                    )
                bad.append(places[index])
                places = places[index + 1 :]
        self._context.count("left out", len(bad))
        if len(bad) > 1:
            lines = ", ".join(str(origin.line_of(place)) for place in bad[:_SHOWN_LINES])
            more = ", ..." if len(bad) > _SHOWN_LINES else ""
            log.warning("left out %d bad records in file %s: lines %s%s", len(bad), cursor.path, lines, more)
        return values, good
