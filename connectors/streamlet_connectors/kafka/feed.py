"""A Feed: one partition, what was fetched of it and is not taken yet, and how fetching it goes."""

from __future__ import annotations

from collections import deque

import msgspec

from streamlet import StreamletError
from streamlet_connectors.kafka.errors import CorruptRecordsError, RecordsDamagedError
from streamlet_connectors.kafka.records import Chunk, Row

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


class FetchLimits(msgspec.Struct, frozen=True):
    """How much is asked for at once and kept ready. One record batch may be larger: it comes whole."""

    partition_bytes: int = 1 << 20
    request_bytes: int = 8 << 20
    buffer_bytes: int = 32 << 20
    max_wait_ms: int = 100


class Feed:
    """One partition of one reader. The leader task adds chunks, the reader takes rows, in one event loop."""

    def __init__(self, split: str, topic: str, partition: int, offset: int, topic_id: str, stop: int | None) -> None:
        self.split = split
        self.topic = topic
        self.partition = partition
        self.topic_id = topic_id
        self.stop = stop
        self.offset = offset
        """Where the next fetch goes on."""
        self.given = offset
        """The offset behind what was taken."""
        self.end = offset
        """How far a reader may read, as last heard: the last stable offset under read_committed."""
        self.buffered = 0
        """Bytes that wait to be taken."""
        self.leader: int | None = None
        """The node to fetch from; None while it is looked for."""
        self.is_asked = False
        self.is_out_of_range = False
        self.tries = 0
        """What failed in a row: requests, answers, and looking for the leader."""
        self.missing_since: float | None = None
        self.failure: StreamletError | None = None
        """Raised once everything that was fetched before has been taken."""
        self._chunks: deque[Chunk] = deque()
        self._damages = 0

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

    def lose_leader(self) -> None:
        """Something failed: the leader is to be looked for, after a pause."""
        self.leader = None
        self.tries += 1

    def fetched_well(self) -> None:
        self.tries = 0
        self.missing_since = None

    def damaged(self, error: CorruptRecordsError) -> None:
        """Drops what is ready and fetches it again; the second time in a row it is a failure."""
        self._damages += 1
        self._chunks.clear()
        self.buffered = 0
        self.offset = self.given
        if self._damages > 1:
            self.failure = RecordsDamagedError(
                f"{self}: {error.message}, also when fetched again",
                remedy="compare with another replica (kafka-dump-log.sh --verify-index-only), or start a new job "
                "behind the damage with start={partition: offset}",
            )

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
            self.given = chunk.position
            if chunk.is_exhausted:
                self._chunks.popleft()
                self.buffered -= chunk.size
            if rows or self.given != before:
                self._damages = 0
                return rows
        if not self._chunks and self.failure is not None:
            raise self.failure
        return None
