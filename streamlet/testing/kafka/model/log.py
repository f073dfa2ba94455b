"""The log of one partition."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.batches import NO_PRODUCER, Record, RecordBatch, is_commit, marker, records_of
from streamlet.testing.kafka.model.producers import ProducerState
from streamlet.testing.kafka.model.settings import NODE

LATEST, EARLIEST, NEWEST_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED = -1, -2, -3, -4, -5


class Appended(NamedTuple):
    error: int
    base_offset: int = -1


class EpochEnd(NamedTuple):
    """Where an epoch of a log's leader ends; both -1 when that is not known."""

    epoch: int
    end: int


class Slice(NamedTuple):
    """What a Fetch gives of a partition. On an error every offset is -1."""

    error: int
    high_watermark: int = -1
    last_stable_offset: int = -1
    start_offset: int = -1
    aborted: tuple[tuple[int, int], ...] = ()
    records: bytes = b""
    parting: EpochEnd | None = None
    """Where the log of the reader and this one part: then there are no records."""


class AbortedTransaction(NamedTuple):
    producer_id: int
    first_offset: int
    last_offset: int


class LeaderEpochs:
    """Which leader wrote what: each time another broker leads, an epoch begins at the end of the log."""

    def __init__(self) -> None:
        self._starts: list[tuple[int, int]] = [(0, 0)]

    @property
    def current(self) -> int:
        return self._starts[-1][0]

    def begin(self, offset: int) -> None:
        """The next epoch begins, in a log that ends there; earlier ones that have nothing in it are forgotten."""
        epoch = self.current + 1
        self._starts = [*(one for one in self._starts if one[1] < offset), (epoch, offset)]

    def refusal(self, asked: int) -> int:
        """An error code when a client has another epoch in mind; -1: it has none."""
        if asked < 0 or asked == self.current:
            return codes.NONE
        return codes.FENCED_LEADER_EPOCH if asked < self.current else codes.UNKNOWN_LEADER_EPOCH

    def end_of(self, epoch: int, log_end: int) -> EpochEnd:
        """Where that epoch ends, or the newest before it."""
        if epoch == self.current:
            return EpochEnd(epoch, log_end)
        later = next((start for number, start in self._starts if number > epoch), None)
        if later is None:
            return EpochEnd(-1, -1)
        return EpochEnd(max((number for number, _ in self._starts if number <= epoch), default=epoch), later)


class FoundOffset(NamedTuple):
    timestamp: int
    offset: int


class PartitionLog:
    """Batches in the order of their offsets, between `start_offset` and `end_offset` (the high watermark).

    Markers take offsets too. Batches never change, so what was read stays true until it is deleted.
    """

    def __init__(self, leader: int = NODE) -> None:
        self.leader = leader
        self.start_offset = 0
        self.end_offset = 0
        self.epochs = LeaderEpochs()
        self.producers: dict[int, ProducerState] = {}
        self._batches: list[RecordBatch] = []
        self._bases: list[int] = []
        self.aborted: list[AbortedTransaction] = []
        """Transactions that were aborted, as far as anything of them is left, in the order of their markers."""

    @property
    def last_stable_offset(self) -> int:
        """Everything before it is decided."""
        firsts = [state.first_offset for state in self.producers.values() if state.first_offset is not None]
        return min(firsts, default=self.end_offset)

    def has_open_transaction(self, producer_id: int, epoch: int) -> bool:
        """True when this producer has written here since its last marker."""
        state = self.producers.get(producer_id)
        return state is not None and state.epoch == epoch and state.first_offset is not None

    def append(self, batch: RecordBatch) -> Appended:
        """Appends a client's batch, or says which earlier one it repeats."""
        if batch.producer_id == NO_PRODUCER:
            return Appended(codes.NONE, self._write(batch).base_offset)
        state = self.producers.get(batch.producer_id)
        if state is not None and (earlier := state.duplicate_of(batch)) is not None:
            return Appended(codes.NONE, earlier.base_offset)
        if state is not None and (error := state.refusal(batch)):
            return Appended(error)
        written = self._write(batch)
        self.producers.setdefault(batch.producer_id, ProducerState()).appended(written)
        return Appended(codes.NONE, written.base_offset)

    def end_transaction(self, producer_id: int, epoch: int, *, commit: bool, now_ms: int) -> None:
        """Writes the marker that decides what this producer has written."""
        written = self._write(marker(producer_id, epoch, commit=commit, now_ms=now_ms))
        state = self.producers.setdefault(producer_id, ProducerState())
        state.take_epoch(epoch)
        first, state.first_offset = state.first_offset, None
        if first is not None and not commit:
            self.aborted.append(AbortedTransaction(producer_id, first, written.last_offset))

    def _write(self, batch: RecordBatch) -> RecordBatch:
        written = batch.at(self.end_offset, self.epochs.current)
        self._batches.append(written)
        self._bases.append(written.base_offset)
        self.end_offset = written.last_offset + 1
        return written

    def read(self, offset: int, max_bytes: int, *, committed: bool, is_first: bool) -> Slice:
        """Reads whole batches; the first one is given however large it is when `is_first`."""
        if not self.start_offset <= offset <= self.end_offset:
            return Slice(codes.OFFSET_OUT_OF_RANGE)
        stable = self.last_stable_offset
        limit = stable if committed else self.end_offset
        parts: list[bytes] = []
        size, upto = 0, offset
        for batch in self._batches[self._index(offset) :]:
            if batch.base_offset >= limit or (size + len(batch.data) > max_bytes and (parts or not is_first)):
                break
            parts.append(batch.data)
            size += len(batch.data)
            upto = batch.last_offset + 1
        aborted = self._aborted_between(offset, upto) if committed else ()
        return Slice(codes.NONE, self.end_offset, stable, self.start_offset, aborted, b"".join(parts))

    def parting(self, offset: int, last_epoch: int) -> EpochEnd | None:
        """Where a reader's log and this one part, if they do before the reader's position."""
        if last_epoch < 0 or not self.start_offset <= offset:
            return None
        known = self.epochs.end_of(last_epoch, self.end_offset)
        return known if known.epoch < last_epoch or known.end < offset else None

    def change_leader(self, leader: int, *, has_upto: int | None = None) -> None:
        """That broker leads from now on. With `has_upto` the election is unclean: it has records before that offset
        only, and what others had is gone."""
        if has_upto is not None:
            self._cut_off(has_upto)
        self.leader = leader
        self.epochs.begin(self.end_offset)

    def _cut_off(self, offset: int) -> None:
        keep = next((i for i, batch in enumerate(self._batches) if batch.last_offset >= offset), len(self._batches))
        kept = self._batches[:keep]
        self.end_offset = max(self.start_offset, kept[-1].last_offset + 1 if kept else 0)
        self._batches, self._bases = kept, self._bases[:keep]
        self.aborted = [one for one in self.aborted if one.last_offset < self.end_offset]
        self.producers = {}
        for batch in kept:
            if batch.producer_id != NO_PRODUCER:
                state = self.producers.setdefault(batch.producer_id, ProducerState())
                state.appended(batch)
                if batch.is_control:
                    state.written.pop()
                    state.first_offset = None

    def committed_records(self) -> list[Record]:
        """What a read_committed reader sees, found without what a Fetch says: by the marker that follows."""
        open_batches: dict[int, list[RecordBatch]] = {}
        found: list[Record] = []
        stable = self.last_stable_offset
        for batch in self._batches:
            if batch.is_control:
                decided = open_batches.pop(batch.producer_id, [])
                if is_commit(batch):
                    found += [record for one in decided for record in records_of(one)]
            elif batch.is_transactional:
                open_batches.setdefault(batch.producer_id, []).append(batch)
            else:
                found += records_of(batch)
        return sorted(record for record in found if self.start_offset <= record.offset < stable)

    def readable_bytes(self, offset: int, *, committed: bool, enough: int) -> int:
        """How much could be read at least, counted up to `enough`."""
        limit = self.last_stable_offset if committed else self.end_offset
        size = 0
        if offset < limit:
            for batch in self._batches[self._index(offset) :]:
                if size >= enough or batch.base_offset >= limit:
                    break
                size += len(batch.data)
        return size

    def _index(self, offset: int) -> int:
        """The first batch that ends behind the offset."""
        index = max(0, bisect_right(self._bases, offset) - 1)
        if index < len(self._batches) and self._batches[index].last_offset < offset:
            index += 1
        return index

    def _aborted_between(self, offset: int, upto: int) -> tuple[tuple[int, int], ...]:
        return tuple(
            (one.producer_id, one.first_offset)
            for one in self.aborted
            if one.last_offset >= offset and one.first_offset < upto
        )

    def find(self, timestamp: int, *, committed: bool) -> FoundOffset:
        """Finds the first record that is not older, or one of the named places; offset -1 when there is none."""
        limit = self.last_stable_offset if committed else self.end_offset
        if timestamp == LATEST:
            return FoundOffset(-1, limit)
        if timestamp in (EARLIEST, EARLIEST_LOCAL):
            return FoundOffset(-1, self.start_offset)
        if timestamp == NEWEST_TIMESTAMP:
            found = max((FoundOffset(one.timestamp, -one.offset) for one in self._records(-1, limit)), default=None)
            return FoundOffset(-1, -1) if found is None else FoundOffset(found.timestamp, -found.offset)
        if timestamp < 0:
            return FoundOffset(-1, -1)
        for one in self._records(timestamp, limit):
            return one
        return FoundOffset(-1, -1)

    def _records(self, timestamp: int, limit: int) -> list[FoundOffset]:
        """The records of the first batch that is young enough; of all when the timestamp is -1."""
        found: list[FoundOffset] = []
        for batch in self._batches:
            if batch.is_control or batch.max_timestamp < timestamp or batch.last_offset < self.start_offset:
                continue
            found += [
                FoundOffset(record.timestamp, record.offset)
                for record in records_of(batch)
                if record.timestamp >= timestamp and self.start_offset <= record.offset < limit
            ]
            if found and timestamp >= 0:
                break
        return found

    def delete_before(self, offset: int) -> bool:
        """Deletes the records before an offset (-1: all of them). False when it is not in the log."""
        offset = self.end_offset if offset == -1 else offset
        if not 0 <= offset <= self.end_offset:
            return False
        self.start_offset = max(self.start_offset, offset)
        keep = self._index(self.start_offset)
        del self._batches[:keep], self._bases[:keep]
        self.aborted = [one for one in self.aborted if one.last_offset >= self.start_offset]
        return True

    def expire(self, before_ms: int) -> None:
        """Deletes leading batches whose newest record is older, never what is undecided."""
        offset = self.start_offset
        for batch in self._batches:
            if batch.max_timestamp >= before_ms or batch.last_offset >= self.last_stable_offset:
                break
            offset = batch.last_offset + 1
        self.delete_before(offset)
