"""PartitionFetch: one partition, what was fetched of it and is not taken yet, and how fetching it goes."""

from __future__ import annotations

from collections import deque

import msgspec

from streamlet.connect import StreamletError
from streamlet_connectors.kafka.protocol.errors import CorruptRecordsError, RecordsDamagedError
from streamlet_connectors.kafka.protocol.fetch_api import UNKNOWN_EPOCH, Diverging
from streamlet_connectors.kafka.reading.records import Chunk, Row

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


class FetchLimits(msgspec.Struct, frozen=True):
    """How much is asked for at once and kept ready. One record batch may be larger: it comes whole."""

    partition_bytes: int = 1 << 20
    request_bytes: int = 8 << 20
    buffer_bytes: int = 32 << 20
    max_wait_ms: int = 100


class PartitionFetch:
    """One partition of one reader. The leader task adds chunks, the reader takes rows, in one event loop."""

    def __init__(
        self,
        split: str,
        topic: str,
        partition: int,
        offset: int,
        topic_id: str,
        stop: int | None,
        epoch: int = UNKNOWN_EPOCH,
    ) -> None:
        self.split, self.topic, self.partition = split, topic, partition
        self.topic_id, self.stop = topic_id, stop
        self.offset = self.given = offset
        """Where the next fetch goes on, and the offset behind what was taken."""
        self.epoch = self.given_epoch = epoch
        """The leader epochs in which the records before `offset` and before `given` were written."""
        self.end = offset
        """How far a reader may read, as last heard: the last stable offset under read_committed."""
        self.high = offset
        """How far the log goes, as last heard."""
        self.held_since: float | None = None
        """When a transaction that is still open was first seen to end what may be read."""
        self.buffered = 0
        """Bytes that wait to be taken."""
        self.leader: int | None = None
        """The node to fetch from; None while it is looked for."""
        self.leader_epoch = UNKNOWN_EPOCH
        """The partition's epoch when that node was found to lead it."""
        self.is_asked = False
        self.is_out_of_range = False
        """The leader does not hold the position: what that means is to be found out."""
        self.diverging: Diverging | None = None
        """Where the log that was read and the leader's part, before the position."""
        self.tries = 0
        """What failed in a row: requests, answers, and looking for the leader."""
        self.missing_since: float | None = None
        self.failure: StreamletError | None = None
        """Raised once everything that was fetched before has been taken."""
        self._chunks, self._damages = deque[Chunk](), 0

    def __str__(self) -> str:
        return f"topic {self.topic}, partition {self.partition}"

    @property
    def is_done(self) -> bool:
        """True when everything up to `stop` was taken."""
        return self.stop is not None and self.given >= self.stop

    @property
    def is_fetched(self) -> bool:
        """True when nothing more is to be fetched."""
        return self.failure is not None or (self.stop is not None and self.offset >= self.stop)

    @property
    def is_lost(self) -> bool:
        """True while it has no leader and needs one."""
        return self.leader is None and not self.is_fetched

    @property
    def has_something(self) -> bool:
        """True when `take` has rows or a failure."""
        return bool(self._chunks) or self.failure is not None

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next try."""
        if not self.tries:
            return 0.0
        longest: float = _FIRST_PAUSE_SECONDS * 2 ** min(self.tries - 1, 10)
        return min(longest, _LONGEST_PAUSE_SECONDS)

    def add(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self.buffered += chunk.size
        self.offset = chunk.end
        self.epoch = chunk.last_epoch

    def lose_leader(self) -> None:
        """Something failed: the leader is to be looked for, after a pause."""
        self.leader = None
        self.tries += 1

    def fetched_well(self, end: int, high: int, now: float) -> None:
        """A leader answered: a reader may read to `end`, and the log goes to `high`."""
        self.tries = 0
        self.missing_since = None
        if high <= end:
            self.held_since = None
        elif end != self.end or self.held_since is None:
            self.held_since = now
        self.end, self.high = end, high

    def parts(self, diverging: Diverging) -> None:
        """The leader's log parts from the one that was read: what was fetched and not given yet is fetched again; the
        position itself is out of range when even records were given that the leader does not have."""
        if self.offset != self.given:
            self._fetch_again()
        elif diverging.end >= self.offset:
            self.epoch = self.given_epoch = diverging.epoch
        else:
            self.is_out_of_range = True
            self.diverging = diverging

    def damaged(self, error: CorruptRecordsError) -> None:
        """Drops what is ready and fetches it again; the second time in a row it is a failure."""
        self._damages += 1
        self._fetch_again()
        if self._damages > 1:
            self.failure = RecordsDamagedError(
                f"{self}: {error.message}, also when fetched again",
                remedy="compare with another replica (kafka-dump-log.sh --verify-index-only), or start a new job "
                "behind the damage with start={partition: offset}",
            )

    def _fetch_again(self) -> None:
        self._chunks.clear()
        self.buffered = 0
        self.offset, self.epoch = self.given, self.given_epoch

    def take(self, limit: int) -> list[Row] | None:
        """Gives rows, [] when only the position moved, or None when nothing is ready. Raises the failure."""
        before = self.given
        while self._chunks:
            chunk = self._chunks[0]
            try:
                rows = chunk.take(limit)
            except CorruptRecordsError as error:
                self.damaged(error)
                break
            self.given, self.given_epoch = chunk.position, chunk.epoch
            if chunk.is_exhausted:
                self._chunks.popleft()
                self.buffered -= chunk.size
            if rows or self.given != before:
                self._damages = 0
                return rows
        if not self._chunks and self.failure is not None:
            raise self.failure
        return None
