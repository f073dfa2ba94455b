"""Prefetching: one task per leader keeps a bounded number of bytes ready; one more task finds leaders.

```text
  task of leader 1 --+                                  +-- feed payments-0 --+
  task of leader 2 --+--> Fetch --> policy of errors -->+-- feed payments-1 --+--> take(), in turn
        ^                                 |             +-- ...             --+
        |                                 v  not the leader, no answer
        +------------------------- LeaderFinder
```

A partition is in at most one request at a time.  The next one goes out while its last chunk waits to be decoded, but
not while more than a chunk waits: a slow job stops fetching, and nothing else stops.  The order of partitions in a
request rotates, for a broker fills its answer from the front.

Behind an answer that brings little the next request waits for 2 ms: records that come one by one would cost a request
each, which at a thousand a second is a third of what the whole job costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from streamlet.connect import Clock
from streamlet_connectors.kafka.protocol import codes, requests
from streamlet_connectors.kafka.protocol.client import Group, KafkaConnection
from streamlet_connectors.kafka.protocol.errors import (
    AccessDeniedError,
    BrokerAnswerError,
    CorruptRecordsError,
    TransportError,
)
from streamlet_connectors.kafka.protocol.fetch_api import Fetched, Place, fetch
from streamlet_connectors.kafka.protocol.wire import Request
from streamlet_connectors.kafka.reading.feed import Feed, FetchLimits
from streamlet_connectors.kafka.reading.leaders import LeaderFinder, OutOfRange
from streamlet_connectors.kafka.reading.records import Chunk, Row

_SHORT_WAIT_MS = 10
_LITTLE_BYTES = 16 << 10
_PAUSE_SECONDS = 0.002
_GO_AWAY = codes.STALE_LEADER | codes.OTHER_TOPIC | {-1, 7, 13, 78}
"""Errors of a partition that end by themselves: look for the leader, then ask again."""


class Fetcher:
    """Fetches some partitions until it is closed. What goes wrong for good is raised by `take`."""

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Clock,
        limits: FetchLimits,
        *,
        isolation: int = requests.READ_COMMITTED,
        out_of_range: OutOfRange = "fail",
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._limits = limits
        self._isolation = isolation
        self._feeds: list[Feed] = []
        self._tasks: dict[int | None, asyncio.Task[None]] = {}
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._failure: BaseException | None = None
        self._is_closed = False
        self._finder = LeaderFinder(
            connection,
            clock,
            self._feeds,
            isolation=isolation,
            out_of_range=out_of_range,
            found=self._start_leader,
            failed=self._arrived.set,
        )

    @property
    def feeds(self) -> Sequence[Feed]:
        """The partitions, in no particular order."""
        return self._feeds

    def add(self, feeds: Iterable[Feed]) -> None:
        """Takes further partitions; their leaders are looked for."""
        self._feeds.extend(feeds)
        self._finder.look_soon()

    def start(self) -> None:
        """Starts to fetch, if it has not."""
        if None not in self._tasks and not self._is_closed:
            self._start(None, self._finder.run())

    def take(self, limit: int) -> tuple[Feed, list[Row]] | None:
        """Gives rows of the next partition that has some, or none of one whose position moved; None: nothing is ready.

        Raises what went wrong, a partition's own failure when all its rows before it were taken.
        """
        if self._failure is not None:
            raise self._failure
        for turn, feed in enumerate(self._feeds):
            if feed.has_something:
                buffered = feed.buffered
                rows = feed.take(limit)
                if feed.buffered != buffered:  # a chunk was used up; else there is no more room than before
                    self._room.set()
                if rows is not None:
                    self._feeds.append(self._feeds.pop(turn))
                    return feed, rows
        return None

    async def wait(self, seconds: float) -> None:
        """Waits until something arrives, but not longer; to be called when `take` has just given nothing."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def held_back(self, feed: Feed) -> int:
        """How many offsets of it wait for the end of a transaction that has been open for long."""
        return self._finder.held_back.offsets(feed)

    async def close(self) -> None:
        """Ends every task; they are gone when it returns. May be called twice."""
        self._is_closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._finder.close()

    # -- tasks

    def _start_leader(self, node: int) -> None:
        if node not in self._tasks:
            self._start(node, self._fetch_from(node))
        self._room.set()

    def _start(self, node: int | None, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[node] = asyncio.create_task(work, name=f"kafka fetch {node}")
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._arrived.set()

    async def _fetch_from(self, node: int) -> None:
        while True:
            self._room.clear()
            asked = self._wanted(node)
            if not asked:
                await self._room.wait()
                continue
            request = self._request(node, asked)
            for feed in asked:
                feed.is_asked = True
            offsets = {(feed.topic, feed.partition): (feed, feed.offset) for feed in asked}
            brought = 0
            try:
                answers = await self._connection.send(node, request, group=Group.FETCH)
            except TransportError as error:
                self._finder.away(node, error)
                self._lose(asked)
            else:
                self._finder.back(node)
                self._accept(answers, offsets)
                brought = sum(len(answer.records) for answer in answers)
            finally:
                for feed in asked:
                    feed.is_asked = False
            if 0 < brought < min(_LITTLE_BYTES, self._limits.partition_bytes):
                await asyncio.sleep(_PAUSE_SECONDS)

    def _wanted(self, node: int) -> list[Feed]:
        if sum(feed.buffered for feed in self._feeds) >= self._limits.buffer_bytes:
            return []
        return [
            feed
            for feed in self._feeds
            if feed.leader == node
            and not feed.is_asked
            and not feed.is_fetched
            and feed.buffered < self._limits.partition_bytes
        ]

    def _request(self, node: int, asked: Sequence[Feed]) -> Request[tuple[Fetched, ...]]:
        places: dict[str, list[Place]] = {}
        for feed in asked:
            place = Place(feed.partition, feed.offset, feed.leader_epoch, feed.epoch)
            places.setdefault(feed.topic, []).append(place)
        # A partition that is left out now must not wait behind the others' long poll.
        led = sum(feed.leader == node and not feed.is_fetched for feed in self._feeds)
        return fetch(
            places,
            {feed.topic: bytes.fromhex(feed.topic_id) for feed in asked},
            max_wait_ms=self._limits.max_wait_ms if led == len(asked) else _SHORT_WAIT_MS,
            max_bytes=self._limits.request_bytes,
            partition_max_bytes=self._limits.partition_bytes,
            isolation=self._isolation,
        )

    # -- answers

    def _accept(self, answers: Iterable[Fetched], asked: Mapping[tuple[str, int], tuple[Feed, int]]) -> None:
        answers = list(answers)
        nothing_at_all = not any(answer.records or answer.error for answer in answers)
        for answer in answers:
            feed, offset = asked[answer.topic, answer.partition]
            if feed.offset != offset:
                continue  # it was sent back to read again while this was on its way
            if answer.error:
                self._refused(feed, answer)
                continue
            if answer.diverging is not None:
                feed.parts(answer.diverging)
                self._room.set()
                if feed.is_out_of_range:
                    self._lose([feed])
                continue
            end = answer.last_stable_offset if self._isolation else answer.high_watermark
            feed.fetched_well(end, answer.high_watermark, self._clock.monotonic())
            if answer.records:
                self._add(feed, answer)
            elif nothing_at_all and feed.stop is not None and feed.end >= feed.stop:
                # Compaction has removed the last records before `stop`: none will come.
                feed.add(Chunk.jump(offset, feed.stop, feed.epoch))
                self._arrived.set()

    def _add(self, feed: Feed, answer: Fetched) -> None:
        try:
            chunk = Chunk(answer.records, feed.offset, answer.aborted, feed.stop)
            if chunk.end <= feed.offset:
                raise CorruptRecordsError(feed.offset, "the answer holds no complete batch")
        except CorruptRecordsError as error:
            feed.damaged(error)
        else:
            feed.add(chunk)
        self._arrived.set()

    def _refused(self, feed: Feed, answer: Fetched) -> None:
        code = answer.error
        if code == codes.OFFSET_OUT_OF_RANGE:
            feed.is_out_of_range = True
            self._lose([feed])
        elif code == codes.CORRUPT_MESSAGE:
            feed.damaged(CorruptRecordsError(feed.offset, "the broker says so"))
        elif code in _GO_AWAY:
            self._lose([feed])
        elif code in codes.ACCESS_DENIED:
            remedy = "give this user the ACLs Describe and Read on the topic"
            feed.failure = AccessDeniedError(f"{feed}: {codes.code_name(code)}", remedy=remedy)
        else:
            feed.failure = BrokerAnswerError(f"fetching {feed} at offset {feed.offset}", code)
        self._arrived.set()

    def _lose(self, feeds: Iterable[Feed]) -> None:
        for feed in feeds:
            feed.lose_leader()
        self._finder.look_soon()
