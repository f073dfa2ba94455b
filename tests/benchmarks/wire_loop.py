"""What a person writes by hand for speed on Kafka's wire protocol: the loop around a piece of work.

One loop: an answer of the broker is asked for while the last one is worked on; results go into record batches, one
growing batch per partition; now and then the transaction is committed and the next one begun.  Nothing is recoverable:
neither state nor positions are kept.  It is the yardstick of the benchmarks, not an example to follow.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvloop
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from tests.benchmarks.output_topic import PARTITIONS

BATCH_BYTES = 900_000
_WAIT = {14, 15, 16, 51}
"""The coordinator loads, is being chosen, has moved, or still ends the transaction before."""
_AGAIN = {3, 5, 6, 7, 19, 20, 56}
"""A leader that is not there yet, or a partition that the broker has not yet joined to the transaction."""


Append = Callable[[int, int, bytes | None, bytes], None]
"""(partition, epoch ms, key, value): puts a record into the open transaction."""
Work = Callable[[Any, Append], None]
"""Takes one record batch of the input, and appends what comes of it."""


class Output:
    """The transactional producer of one topic."""

    def __init__(self, client: Any, topic: str, name: str) -> None:
        self._client, self._topic, self._name = client, topic, name
        self._sequences = [0] * PARTITIONS
        self._builders: list[Any] = [None] * PARTITIONS
        self._sizes = [0] * PARTITIONS
        self._sending: list[asyncio.Task[None] | None] = [None] * PARTITIONS
        self._is_open = False

    async def open(self) -> None:
        """Gets a producer id; an older process of the same name is shut out."""
        await self._client.set_topics([self._topic])
        self._leader = self._client.cluster.leader_for_partition(TopicPartition(self._topic, 0))
        while True:
            try:
                self._coordinator = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self._name)
                break
            except GroupCoordinatorNotAvailableError:
                await asyncio.sleep(0.1)
        given = await self._ask(InitProducerIdRequest, self._name, 60_000)
        self._id, self._epoch = given.producer_id, given.producer_epoch

    async def begin(self) -> None:
        """Opens a transaction if none is open."""
        if not self._is_open:
            places = [(self._topic, list(range(PARTITIONS)))]
            await self._ask(AddPartitionsToTxnRequest, self._name, self._id, self._epoch, places)
            self._is_open = True

    def append(self, partition: int, now_ms: int, key: bytes | None, value: bytes) -> None:
        """Adds a record; a batch that is full is sent behind the one before it."""
        builder = self._builders[partition]
        if builder is None or builder.append(self._sizes[partition], now_ms, key, value, []) is None:
            if builder is not None:
                self._send(partition)
            builder = DefaultRecordBatchBuilder(2, 0, 1, self._id, self._epoch, 0, BATCH_BYTES)
            self._builders[partition] = builder
            builder.append(0, now_ms, key, value, [])
        self._sizes[partition] += 1

    async def commit(self) -> None:
        """Sends what is left and commits."""
        if not self._is_open:
            return
        for partition in range(PARTITIONS):
            if self._sizes[partition]:
                self._send(partition)
        await asyncio.gather(*filter(None, self._sending))
        self._sending = [None] * PARTITIONS
        await self._ask(EndTxnRequest, self._name, self._id, self._epoch, True)
        self._is_open = False

    def _send(self, partition: int) -> None:
        builder, size = self._builders[partition], self._sizes[partition]
        builder.set_producer_state(self._id, self._epoch, self._sequences[partition])
        self._sequences[partition] += size
        self._builders[partition], self._sizes[partition] = None, 0
        work = self._produce(partition, bytes(builder.build()), self._sending[partition])
        self._sending[partition] = asyncio.ensure_future(work)

    async def _produce(self, partition: int, data: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        request = ProduceRequest(self._name, -1, 30_000, [(self._topic, [(partition, data)])])
        while True:
            # A connection for each partition: their batches do not wait for each other.
            answer = await self._client.send(self._leader, request, group=10 + partition)
            code = answer.topics[0][1][0][1]
            if code == 0:
                return
            if code not in _AGAIN:
                raise RuntimeError(f"partition {partition} refuses a batch with code {code}")
            await asyncio.sleep(0.01)

    async def _ask(self, request: Any, *arguments: Any) -> Any:
        while True:
            answer = await self._client.send(self._coordinator, request(*arguments), group=1)
            codes = (
                {answer.error_code} if hasattr(answer, "error_code") else {p[1] for _, ps in answer.errors for p in ps}
            )
            if codes == {0}:
                return answer
            if not codes - {0} <= _WAIT:
                raise RuntimeError(f"{request.__name__} is answered with {codes}")
            await asyncio.sleep(0.01)


class Input:
    """Record batches of one topic, from its beginning; the next answer is always on its way."""

    def __init__(self, client: Any, topic: str) -> None:
        self._client, self._topic = client, topic
        self._positions = dict.fromkeys(range(PARTITIONS), 0)

    async def open(self) -> None:
        """Asks for the first records."""
        await self._client.set_topics([self._topic])
        self._leader = self._client.cluster.leader_for_partition(TopicPartition(self._topic, 0))
        self._next = self._fetch()

    async def batches(self) -> list[Any]:
        """The batches of the answer that was asked for last; asks for the next."""
        answer = await self._next
        found = list(self._unpack(answer))
        self._next = self._fetch()
        return found

    def _fetch(self) -> asyncio.Future[Any]:
        places = [(partition, position, 1 << 20) for partition, position in self._positions.items()]
        request = FetchRequest(100, 1, 4 << 20, 1, [(self._topic, places)])
        future: asyncio.Future[Any] = asyncio.ensure_future(self._client.send(self._leader, request))
        return future

    def _unpack(self, answer: Any) -> Iterator[Any]:
        for _, partitions in answer.topics:
            for fields in partitions:
                records = MemoryRecords(bytes(fields[-1] or b""))
                while records.has_next():
                    batch = records.next_batch()
                    if batch.next_offset > self._positions[fields[0]] and not batch.is_control_batch:
                        batch.validate_crc()
                        # Answers begin with a whole batch: positions here are always where one ends.
                        self._positions[fields[0]] = batch.next_offset
                        yield batch


async def _run(work: Work) -> None:
    bootstrap, interval_seconds = os.environ["BOOTSTRAP"], float(os.environ["INTERVAL_SECONDS"])
    clients = [AIOKafkaClient(bootstrap_servers=bootstrap) for _ in range(2)]
    for client in clients:
        await client.bootstrap()
    source = Input(clients[0], os.environ["IN_TOPIC"])
    output = Output(clients[1], os.environ["OUT_TOPIC"], f"handwritten-{os.environ['OUT_TOPIC']}")
    await asyncio.gather(source.open(), output.open())
    committed = time.monotonic()
    while True:
        batches = await source.batches()
        if batches:
            await output.begin()
        for batch in batches:
            work(batch, output.append)
            await asyncio.sleep(0)
        if time.monotonic() - committed >= interval_seconds:
            await output.commit()
            committed = time.monotonic()


def run(work: Work) -> None:
    """Does the work with every batch of the input until the process is killed."""
    uvloop.run(_run(work))
