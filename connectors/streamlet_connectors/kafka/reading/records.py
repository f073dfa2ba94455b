"""One partition's share of a fetch answer, read lazily: Kafka's record batches are parsed only as far as asked.

Of a transactional topic the answer also holds records of aborted transactions, and markers.  Both are told by the
header of their batch, so a read_committed reader drops whole batches, and only positions move over them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, dropwhile, islice, takewhile
from typing import Any, Protocol

from streamlet_connectors.kafka.protocol import wire
from streamlet_connectors.kafka.protocol.errors import CorruptRecordsError
from streamlet_connectors.kafka.protocol.fetch_api import UNKNOWN_EPOCH
from streamlet_connectors.kafka.protocol.unpacking import RecordBatch, record_batches


class Row(Protocol):
    """A record as it came: of the compiled parser, so nothing here costs Python time until it is looked at."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes | None]]: ...


class Chunk:
    """The record batches that one fetch gave for one partition, from `position` on.

    `take` gives rows; `position` is then the offset behind them.  Offsets have gaps (markers, aborted and compacted
    records): never expect one to exist.  No row at or behind `stop` is given.
    """

    __slots__ = (
        "_aborted", "_batches", "_damage", "_gone", "_rows", "_stop", "end", "epoch", "last_epoch", "position", "size",
    )  # fmt: skip

    def __init__(
        self, data: bytes, position: int, aborted: Iterable[tuple[int, int]] = (), stop: int | None = None
    ) -> None:
        self.size = len(data)
        self.position = position
        self._stop = stop
        self._aborted = deque(sorted((first, producer) for producer, first in aborted))
        self._gone: set[int] = set()
        self._rows: Iterator[Row] | None = None
        self._damage: CorruptRecordsError | None = None
        self._batches = deque(_batches(data))
        self.end = max(position, self._batches[-1].head.next_offset) if self._batches else position
        """The offset behind the last batch: where the next fetch goes on."""
        self.epoch = self.last_epoch = self._batches[-1].leader_epoch if self._batches else UNKNOWN_EPOCH
        """The leader epochs of what lies before `position` and before `end`, once something was taken."""
        if stop is not None:
            self.end = min(self.end, max(stop, position))

    @classmethod
    def jump(cls, position: int, end: int, epoch: int = UNKNOWN_EPOCH) -> Chunk:
        """A chunk without rows, which takes the position from one offset to another, and its leader epoch with it."""
        chunk = cls(b"", position)
        chunk.end = end
        chunk.epoch = chunk.last_epoch = epoch
        return chunk

    @property
    def is_exhausted(self) -> bool:
        return self._rows is None and not self._batches

    def take(self, limit: int) -> list[Row]:
        """Gives the next rows, at most `limit`, over the borders of record batches; fewer only at the end.

        Raises `CorruptRecordsError` at damaged records, when the rows before them were given.
        """
        rows: list[Row] = []
        while len(rows) < limit and self._damage is None:
            try:
                if self._rows is None:
                    if not self._batches:
                        break
                    self._rows = self._open(self._batches[0])
                    self.epoch = self._batches[0].leader_epoch
                rows.extend(islice(self._rows, limit - len(rows)))
            except Exception as error:  # whatever the parser raises at bytes that it cannot read
                self._damage = _corrupt(self._batches[0].head.base_offset, error)
                if rows:
                    self.position = max(self.position, rows[-1].offset + 1)
                break
            if len(rows) < limit:
                # Ended: asking an ended iterator of aiokafka again would raise, so it is dropped here and only here.
                self._rows = None
                self.position = self._behind(self._batches.popleft().head)
            else:
                self.position = rows[-1].offset + 1
        if self._damage is not None and not rows:
            raise self._damage
        if self.is_exhausted:
            self.position = self.end
        return rows

    def _open(self, whole: RecordBatch) -> Iterator[Row]:
        """Gives the batch's rows that count: none for markers, aborted batches and what lies outside."""
        position, stop, batch = self.position, self._stop, whole.head
        if batch.next_offset <= position or (stop is not None and batch.base_offset >= stop):
            return iter(())
        whole.require_checksum()
        if not self._is_visible(whole):
            return iter(())
        # `iter` must be called once only, and here it is.
        rows: Iterator[Row] = chain(whole.records())
        if batch.base_offset < position:
            rows = dropwhile(lambda row: row.offset < position, rows)
        if stop is not None and batch.next_offset > stop:
            rows = takewhile(lambda row: row.offset < stop, rows)
        return rows

    def _is_visible(self, whole: RecordBatch) -> bool:
        """Keeps account of aborted transactions, batch by batch in the order of the log."""
        batch = whole.head
        while self._aborted and self._aborted[0][0] <= batch.base_offset:
            self._gone.add(self._aborted.popleft()[1])
        if batch.is_control_batch:
            # An abort marker without an entry is legal: its transaction has no records in this answer.
            if wire.ControlRecord.parse(next(iter(whole.records())).key) == wire.ABORT_MARKER:
                self._gone.discard(batch.producer_id)
            return False
        return not (batch.is_transactional and batch.producer_id in self._gone)

    def _behind(self, batch: Any) -> int:
        behind: int = max(self.position, batch.next_offset)
        return behind if self._stop is None else max(self.position, min(behind, self._stop))


def _batches(data: bytes) -> Iterator[RecordBatch]:
    """Finds the complete batches."""
    try:
        yield from record_batches(data)
    except Exception as error:
        raise _corrupt(None, error) from error


def _corrupt(offset: int | None, error: Exception) -> CorruptRecordsError:
    if isinstance(error, CorruptRecordsError):
        return error
    return CorruptRecordsError(offset, f"{type(error).__name__}: {error}")
