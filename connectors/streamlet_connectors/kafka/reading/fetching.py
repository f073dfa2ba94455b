"""Prefetching: one task per leader keeps a bounded number of bytes ready; one more task finds leaders.

```text
  task of leader 1 --+                                  +-- part payments-0 --+
  task of leader 2 --+--> Fetch --> policy of errors -->+-- part payments-1 --+--> take(), in turn
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
from streamlet_connectors.kafka.reading.leaders import LeaderFinder, OutOfRange
from streamlet_connectors.kafka.reading.partition_fetch import FetchLimits, PartitionFetch
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
        self._partitions: list[PartitionFetch] = []
        self._tasks: dict[int | None, asyncio.Task[None]] = {}
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._failure: BaseException | None = None
        self._is_closed = False
        self._finder = LeaderFinder(
            connection,
            clock,
            self._partitions,
            isolation=isolation,
            out_of_range=out_of_range,
            found=self._start_leader,
            failed=self._arrived.set,
        )

    @property
    def partitions(self) -> Sequence[PartitionFetch]:
        """The partitions, in no particular order."""
        return self._partitions

    def add(self, partitions: Iterable[PartitionFetch]) -> None:
        """Takes further partitions; their leaders are looked for."""
        self._partitions.extend(partitions)
        self._finder.look_soon()

    def start(self) -> None:
        """Starts to fetch, if it has not."""
        if None not in self._tasks and not self._is_closed:
            self._start(None, self._finder.run())

    def take(self, limit: int) -> tuple[PartitionFetch, list[Row]] | None:
        """Gives rows of the next partition that has some, or none of one whose position moved; None: nothing is ready.

        Raises what went wrong, a partition's own failure when all its rows before it were taken.
        """
        if self._failure is not None:
            raise self._failure
        for turn, part in enumerate(self._partitions):
            if part.has_something:
                buffered = part.buffered
                rows = part.take(limit)
                if part.buffered != buffered:  # a chunk was used up; else there is no more room than before
                    self._room.set()
                if rows is not None:
                    self._partitions.append(self._partitions.pop(turn))
                    return part, rows
        return None

    async def wait(self, seconds: float) -> None:
        """Waits until something arrives, but not longer; to be called when `take` has just given nothing."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def held_back(self, part: PartitionFetch) -> int:
        """How many offsets of it wait for the end of a transaction that has been open for long."""
        return self._finder.held_back.offsets(part)

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
            for part in asked:
                part.is_asked = True
            offsets = {(part.topic, part.partition): (part, part.offset) for part in asked}
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
                for part in asked:
                    part.is_asked = False
            if 0 < brought < min(_LITTLE_BYTES, self._limits.partition_bytes):
                await asyncio.sleep(_PAUSE_SECONDS)

    def _wanted(self, node: int) -> list[PartitionFetch]:
        if sum(part.buffered for part in self._partitions) >= self._limits.buffer_bytes:
            return []
        return [
            part
            for part in self._partitions
            if part.leader == node
            and not part.is_asked
            and not part.is_fetched
            and part.buffered < self._limits.partition_bytes
        ]

    def _request(self, node: int, asked: Sequence[PartitionFetch]) -> Request[tuple[Fetched, ...]]:
        places: dict[str, list[Place]] = {}
        for part in asked:
            place = Place(part.partition, part.offset, part.leader_epoch, part.epoch)
            places.setdefault(part.topic, []).append(place)
        # A partition that is left out now must not wait behind the others' long poll.
        led = sum(part.leader == node and not part.is_fetched for part in self._partitions)
        return fetch(
            places,
            {part.topic: bytes.fromhex(part.topic_id) for part in asked},
            max_wait_ms=self._limits.max_wait_ms if led == len(asked) else _SHORT_WAIT_MS,
            max_bytes=self._limits.request_bytes,
            partition_max_bytes=self._limits.partition_bytes,
            isolation=self._isolation,
        )

    # -- answers

    def _accept(self, answers: Iterable[Fetched], asked: Mapping[tuple[str, int], tuple[PartitionFetch, int]]) -> None:
        answers = list(answers)
        nothing_at_all = not any(answer.records or answer.error for answer in answers)
        for answer in answers:
            part, offset = asked[answer.topic, answer.partition]
            if part.offset != offset:
                continue  # it was sent back to read again while this was on its way
            if answer.error:
                self._refused(part, answer)
                continue
            if answer.diverging is not None:
                part.parts(answer.diverging)
                self._room.set()
                if part.is_out_of_range:
                    self._lose([part])
                continue
            end = answer.last_stable_offset if self._isolation else answer.high_watermark
            part.fetched_well(end, answer.high_watermark, self._clock.monotonic())
            if answer.records:
                self._add(part, answer)
            elif nothing_at_all and part.stop is not None and part.end >= part.stop:
                # Compaction has removed the last records before `stop`: none will come.
                part.add(Chunk.jump(offset, part.stop, part.epoch))
                self._arrived.set()

    def _add(self, part: PartitionFetch, answer: Fetched) -> None:
        try:
            chunk = Chunk(answer.records, part.offset, answer.aborted, part.stop)
            if chunk.end <= part.offset:
                raise CorruptRecordsError(part.offset, "the answer holds no complete batch")
        except CorruptRecordsError as error:
            part.damaged(error)
        else:
            part.add(chunk)
        self._arrived.set()

    def _refused(self, part: PartitionFetch, answer: Fetched) -> None:
        code = answer.error
        if code == codes.OFFSET_OUT_OF_RANGE:
            part.is_out_of_range = True
            self._lose([part])
        elif code == codes.CORRUPT_MESSAGE:
            part.damaged(CorruptRecordsError(part.offset, "the broker says so"))
        elif code in _GO_AWAY:
            self._lose([part])
        elif code in codes.ACCESS_DENIED:
            remedy = "give this user the ACLs Describe and Read on the topic"
            part.failure = AccessDeniedError(f"{part}: {codes.code_name(code)}", remedy=remedy)
        else:
            part.failure = BrokerAnswerError(f"fetching {part} at offset {part.offset}", code)
        self._arrived.set()

    def _lose(self, partitions: Iterable[PartitionFetch]) -> None:
        for part in partitions:
            part.lose_leader()
        self._finder.look_soon()
