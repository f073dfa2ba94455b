"""Delivers record batches: one Produce in flight per partition, in order, each until it is acknowledged or hopeless."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from streamlet.connect import Clock, EncodeError, RunBlocking, SinkError
from streamlet_connectors.kafka.protocol import codes, requests, wire
from streamlet_connectors.kafka.protocol.client import Group, KafkaConnection, Pauses
from streamlet_connectors.kafka.protocol.errors import NotAnsweredError, TransportError
from streamlet_connectors.kafka.writing.batching import seal
from streamlet_connectors.kafka.writing.refusals import SETTINGS, refusal
from streamlet_connectors.kafka.writing.transaction import Transaction

IN_FLIGHT_BYTES = 8 << 20
_LANES = 4
_BLOCKING_BYTES = 16 << 10
_REPLICATION_MS = 30_000
_AGAIN = codes.STALE_LEADER | {7, 13, codes.NOT_ENOUGH_REPLICAS, 20, codes.THROTTLING_QUOTA_EXCEEDED}
"""Not now, or not there. 19 is what Kafka 4 says while it verifies a partition that has just joined."""


class Producer(Protocol):
    """Who writes: a transaction, or an idempotent producer without one."""

    producer_id: int
    epoch: int


class Idempotent:
    """A producer without transactions: duplicates by retries are refused by the broker."""

    def __init__(self, producer_id: int, epoch: int) -> None:
        self.producer_id = producer_id
        self.epoch = epoch


class ProducerBatch:
    """A batch to deliver: `sequence` is the number of its first record in its partition, under this producer."""

    __slots__ = ("builder", "producer", "records", "sequence", "size")

    def __init__(self, builder: Any, records: int, producer: Transaction | Idempotent, sequence: int) -> None:
        self.builder = builder
        self.records = records
        self.producer = producer
        self.sequence = sequence
        self.size: int = builder.size()


class Delivery:
    """Sends what `ship` is given.  The first failure ends it: it is kept in `failure`, and nothing else is sent.

    What comes back is noted in the transaction: that all of it was acknowledged, and the offset of its first record in
    each partition.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        *,
        compression: str | None,
        run_blocking: RunBlocking,
        clock: Clock,
        seconds: float,
        limit_of: Callable[[], int],
    ) -> None:
        self.failure: BaseException | None = None
        self.in_flight = 0
        self._connection = connection
        self._topic = topic
        self._compression = compression
        self._run_blocking = run_blocking
        self._clock = clock
        self._seconds = seconds
        self._limit_of = limit_of
        self._queues: dict[int, deque[ProducerBatch]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._progress = asyncio.Event()

    def ship(self, partition: int, producer_batch: ProducerBatch) -> None:
        """Puts a batch behind the earlier ones of its partition."""
        self.in_flight += producer_batch.size
        self._queues.setdefault(partition, deque()).append(producer_batch)
        if partition not in self._tasks:
            self._tasks[partition] = asyncio.ensure_future(self._run(partition))

    @property
    def has_room(self) -> bool:
        """True when `room` would neither wait nor raise."""
        return self.in_flight < IN_FLIGHT_BYTES and self.failure is None

    async def room(self) -> None:
        """Waits until less than 8 MiB is on its way; raises the failure."""
        await self._wait_below(IN_FLIGHT_BYTES)

    async def flushed(self) -> None:
        """Waits until everything is acknowledged; raises the failure."""
        await self._wait_below(1)

    async def close(self) -> None:
        """Stops sending; who waits is told."""
        self.failure = self.failure or SinkError(f"the writer to topic {self._topic!r} was closed")
        self._progress.set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._queues.clear()

    def raise_failure(self) -> None:
        """Raises what went wrong, again at each call."""
        if self.failure is not None:
            raise self.failure

    async def _wait_below(self, limit: int) -> None:
        self.raise_failure()
        while self.in_flight >= limit:
            self._progress.clear()
            await self._progress.wait()
            self.raise_failure()

    async def _run(self, partition: int) -> None:
        queue = self._queues[partition]
        try:
            while queue and self.failure is None:
                producer_batch = queue[0]
                await self._deliver(partition, producer_batch)
                queue.popleft()
                self.in_flight -= producer_batch.size
                self._progress.set()
        except Exception as error:
            self.failure = self.failure or error
        finally:
            del self._tasks[partition]
            self._progress.set()

    async def _deliver(self, partition: int, producer_batch: ProducerBatch) -> None:
        producer = producer_batch.producer
        transaction = producer if isinstance(producer, Transaction) else None
        if transaction is not None:
            await transaction.join(self._topic, partition)
        data = await self._sealed(producer_batch)
        if len(data) > self._limit_of():
            raise EncodeError(  # only a batch of one record can be that large
                f"a record for topic {self._topic!r}, partition {partition} has {len(data)} bytes as it is sent, "
                f"but max.message.bytes of the topic is {self._limit_of()}",
                remedy="raise max.message.bytes of the topic, or make the record smaller",
            )
        request = requests.produce(
            transaction.id if transaction is not None else None,
            self._topic,
            [(partition, data)],
            timeout_ms=_REPLICATION_MS,
        )
        base_offset = await self._produce(partition, request, data)
        if transaction is not None and partition not in transaction.first_offsets:
            assert producer_batch.sequence == 0 and base_offset >= 0, (partition, producer_batch.sequence, base_offset)
            transaction.first_offsets[partition] = base_offset

    async def _sealed(self, producer_batch: ProducerBatch) -> bytearray:
        producer = producer_batch.producer
        is_transactional = isinstance(producer, Transaction)

        def build() -> bytearray:
            return seal(
                producer_batch.builder,
                producer.producer_id,
                producer.epoch,
                producer_batch.sequence,
                self._compression,
                is_transactional=is_transactional,
            )

        if self._compression is not None and producer_batch.size > _BLOCKING_BYTES:
            return await self._run_blocking(build)
        return build()

    async def _produce(
        self, partition: int, request: wire.Request[tuple[requests.Produced, ...]], data: bytearray
    ) -> int:
        """Gives the offset of the batch's first record. The same bytes may be sent many times: the broker knows them
        by their sequence and answers with the first one's offset."""
        last = "none"
        pauses = Pauses(0.005, 1.0)
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    try:
                        answer = await self._produce_once(partition, request)
                    except TransportError as error:
                        last = error.message
                        self._connection.outages.away(self._connection.name, last)
                        self._connection.forget_leaders(self._topic)
                    else:
                        self._connection.outages.back(self._connection.name)
                        if answer.error == codes.NONE:
                            return answer.base_offset
                        if answer.error not in _AGAIN:
                            raise await self._refused(partition, answer.error, data)
                        last = codes.code_name(answer.error)
                        if answer.error in codes.STALE_LEADER:
                            self._connection.forget_leaders(self._topic)
                    await pauses.pause()
        except TimeoutError:
            raise NotAnsweredError(
                f"topic {self._topic!r}, partition {partition} at {self._connection.options.bootstrap}: "
                f"{len(data)} bytes could not be written within {self._seconds:g} s; the last answer was: {last}",
                remedy="check that the brokers run, that the partition has a leader, and min.insync.replicas",
            ) from None

    async def _produce_once(
        self, partition: int, request: wire.Request[tuple[requests.Produced, ...]]
    ) -> requests.Produced:
        answers = await self._connection.send_to_leader(
            self._topic, partition, request, group=Group.PRODUCE + 16 * (partition % _LANES), sent="produce_sent"
        )
        return next(answer for answer in answers if answer.partition == partition)

    async def _refused(self, partition: int, code: int, data: bytearray) -> Exception:
        where = f"writing to topic {self._topic!r}, partition {partition}"
        settings = await self._connection.topic_settings(self._topic, SETTINGS)
        return refusal(where, code, data, settings, self._clock.now_ms())
