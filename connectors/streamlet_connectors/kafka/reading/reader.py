"""The reader of a subtask: takes rows from the fetcher, decodes them, and gives batches."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from streamlet.connect import Batch, DecodeError, Position, ReaderContext, StreamletError
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.offsets import commit_group_offsets, position_at, position_parts, split_parts
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.reading.decoding import BadRecord, Decoder, KafkaOrigin
from streamlet_connectors.kafka.reading.fetching import Fetcher
from streamlet_connectors.kafka.reading.leaders import OutOfRange
from streamlet_connectors.kafka.reading.partition_fetch import FetchLimits, PartitionFetch
from streamlet_connectors.kafka.reading.records import Row

_log = logging.getLogger("streamlet.kafka")
_WAIT_SECONDS = 0.15
_COMMIT_SECONDS = 10.0


class ReadingOptions(msgspec.Struct, frozen=True):
    """How records are read and given; what the words mean is said at `KafkaSource`."""

    isolation: int
    out_of_range: OutOfRange
    group: str | None
    timestamps: bool
    limits: FetchLimits


class KafkaReader:
    """Reads some partitions from their positions; nothing is connected or started before the first `fetch`.

    Each batch is of one partition, at most `context.batch_limit()` long, and cut from what is there.
    """

    def __init__(
        self,
        kafka: KafkaOptions,
        options: ReadingOptions,
        decoder: Decoder,
        context: ReaderContext,
        splits: Mapping[str, Position],
        *,
        bounded: bool,
    ) -> None:
        self._options = options
        self._decoder = decoder
        self._limit = context.batch_limit
        self._bounded = bounded
        self._connection = KafkaConnection(kafka, outages=context.outages)
        self._fetcher = Fetcher(
            self._connection,
            context.clock,
            options.limits,
            isolation=options.isolation,
            out_of_range=options.out_of_range,
        )
        self._gives_timestamps = options.timestamps or context.wants_timestamps
        self._failure: DecodeError | None = None
        self._is_closed = False
        self.add_splits(splits)

    # -- the contract

    async def fetch(self) -> Iterable[Batch[Any]] | None:
        if self._failure is not None:
            raise self._failure
        self._fetcher.start()
        taken = self._fetcher.take(self._limit())
        if taken is None:
            if self._bounded and all(part.is_done for part in self._fetcher.partitions):
                return None
            await self._fetcher.wait(_WAIT_SECONDS)
            taken = self._fetcher.take(self._limit())
        return [] if taken is None else self._batches(taken)

    def add_splits(self, splits: Mapping[str, Position]) -> None:
        partitions = []
        for split, position in splits.items():
            at = position_parts(position, split)
            partitions.append(PartitionFetch(split, *split_parts(split), at.offset, at.topic_id, at.stop, at.epoch))
        self._fetcher.add(partitions)

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        """Commits the offsets to the group, if one is named. Nobody reads them back, so a failure is only logged."""
        group = self._options.group
        if group is None or not positions or self._is_closed:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                if not self._connection.nodes:
                    await self._connection.open()
                await commit_group_offsets(self._connection, group, positions)
        except (StreamletError, TimeoutError) as error:
            reason = getattr(error, "message", f"no answer within {_COMMIT_SECONDS:g} s")
            _log.warning("checkpoint %d: offsets for lag tools were not committed: %s", checkpoint_id, reason)

    async def close(self) -> None:
        self._is_closed = True
        self._connection.shut()
        await self._fetcher.close()
        await self._connection.close()

    # -- for progress and metrics

    @property
    def skipped(self) -> int:
        """How many records were left out, by `null_values` and `on_bad_record`."""
        return self._decoder.skipped

    def lag(self) -> dict[str, int]:
        """How many offsets each split is behind what may be read, as last heard, and what an open transaction has held
        back for long. Markers count as offsets."""
        return {
            part.split: max(0, part.end - part.given) + self._fetcher.held_back(part)
            for part in self._fetcher.partitions
        }

    # -- from rows to a batch

    def _batches(self, taken: tuple[PartitionFetch, list[Row]] | None) -> Iterator[Batch[Any]]:
        """Cuts batches for as long as something is there; a bad record ends it, and the next `fetch` raises."""
        while taken is not None:
            batches = self._cut(*taken)
            taken = None  # The rows have no use from here on.
            yield from batches
            if self._failure is None and not self._is_closed:
                taken = self._fetcher.take(self._limit())

    def _cut(self, part: PartitionFetch, rows: list[Row]) -> list[Batch[Any]]:
        """One batch, or where records are bad that are given beside the stream, one for each run of good or bad ones:
        so the position of each is behind its own records."""
        values: list[Any] = []
        bad: Sequence[BadRecord] = ()
        end = part.given
        if rows:
            rows, values, error, bad = self._decoder.decode(part.topic, part.partition, rows)
            if error is not None:
                self._failure = error
                if not rows and not bad:
                    raise error
                end = max(one.offset for one in (*rows[-1:], *bad[-1:])) + 1
        if not bad:
            return [self._batch(part, rows, values, end)]
        batches: list[Batch[Any]] = []
        at = 0
        for start, stop in _runs(bad, rows):
            first = at
            while at < len(rows) and rows[at].offset < bad[start].offset:
                at += 1
            if at > first:
                batches.append(self._batch(part, rows[first:at], values[first:at], bad[start].offset))
            behind = rows[at].offset if at < len(rows) else end
            batches.append(self._beside(part, bad[start:stop], behind))
        if at < len(rows):
            batches.append(self._batch(part, rows[at:], values[at:], end))
        return batches

    def _beside(self, part: PartitionFetch, bad: Sequence[BadRecord], offset: int) -> Batch[Any]:
        tag = self._decoder.bad_tag
        return Batch(list(bad), split=part.split, next_position=_position(part, offset), tag=tag)

    def _batch(self, part: PartitionFetch, rows: list[Row], values: list[Any], offset: int) -> Batch[Any]:
        return Batch(
            values,
            [row.timestamp for row in rows] if self._gives_timestamps else None,
            split=part.split,
            next_position=_position(part, offset),
            origin=KafkaOrigin(part.topic, part.partition, rows),
        )


def _position(part: PartitionFetch, offset: int) -> Position:
    return position_at(offset, part.topic_id, part.stop, part.given_epoch)


def _runs(bad: Sequence[BadRecord], rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Where bad records begin and end between which no good one lies."""
    good = [row.offset for row in rows]
    start = 0
    for at in range(1, len(bad) + 1):
        if at == len(bad) or bisect_left(good, bad[start].offset) != bisect_left(good, bad[at].offset):
            yield start, at
            start = at
