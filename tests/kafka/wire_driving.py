"""A Kafka client without mercy: any request in any version, sent to one broker, and the bare answer."""

from __future__ import annotations

import asyncio
import io
import itertools
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer

from streamlet.testing.kafka import EmbeddedKafka
from streamlet.testing.kafka.apis.wire import built
from streamlet_connectors.kafka.protocol import requests
from tests.kafka.broker import Kafka
from tests.kafka.sink_driving import fresh

BUSY = (14, 15, 16, 51)
NO_LEADER_YET = (5, 6)


class Fetched(NamedTuple):
    error: int
    high_watermark: int
    last_stable_offset: int
    start_offset: int
    aborted: list[tuple[int, int]]
    records: bytes


class Described(NamedTuple):
    error: int
    state: str
    producer_id: int
    epoch: int
    partitions: list[tuple[str, int]]


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._correlations = itertools.count(1)

    async def ask(self, api: int, version: int, **values: Any) -> Any:
        """Sends a request of these fields and gives the answer, in `kio`'s types."""
        body = await self._exchange(api, version, values)
        return entity_reader(load_response_schema(api, version))(memoryview(body), 0)[0]

    async def _exchange(self, api: int, version: int, values: dict[str, Any]) -> bytes:
        kind: Any = load_request_schema(api, version)
        head = struct.pack(">hhih", api, version, next(self._correlations), 4) + b"wire"
        body = io.BytesIO()
        body.write(head + (b"\x00" if kind.__header_schema__.__version__ >= 2 else b""))
        entity_writer(kind)(body, built(kind, values))
        self._writer.write(struct.pack(">i", len(body.getvalue())) + body.getvalue())
        (size,) = struct.unpack(">i", await self._reader.readexactly(4))
        frame = await self._reader.readexactly(size)
        answer: Any = load_response_schema(api, version)
        start = 5 if answer.__header_schema__.__version__ >= 1 else 4
        return frame[start:]

    # -- transactions

    async def init(self, id: str, timeout_ms: int = 60_000, *, version: int = 0, **given: Any) -> tuple[int, int]:
        """Takes an id into use, and asks again while the coordinator is busy."""
        answer = await self.init_once(id, timeout_ms, version=version, **given)
        while answer[0] in BUSY:
            await asyncio.sleep(0.005)
            answer = await self.init_once(id, timeout_ms, version=version, **given)
        assert answer[0] == 0, answer
        return answer[1:]

    async def init_once(
        self, id: str | None, timeout_ms: int = 60_000, *, version: int = 0, **given: Any
    ) -> tuple[int, int, int]:
        answer = await self.ask(22, version, transactional_id=id, transaction_timeout=timeout_ms, **given)
        return answer.error_code, answer.producer_id, answer.producer_epoch

    async def add_once(self, id: str, pid: int, epoch: int, topics: dict[str, Sequence[int]]) -> dict[Any, int]:
        named = [{"name": topic, "partitions": partitions} for topic, partitions in topics.items()]
        answer = await self.ask(
            24, 0, v3_and_below_transactional_id=id, v3_and_below_producer_id=pid,
            v3_and_below_producer_epoch=epoch, v3_and_below_topics=named,
        )  # fmt: skip
        return {
            (topic.name, part.partition_index): int(part.partition_error_code)
            for topic in answer.results_by_topic_v3_and_below
            for part in topic.results_by_partition
        }

    async def add(self, id: str, pid: int, epoch: int, topic: str, partitions: Sequence[int] = (0,)) -> int:
        """Adds partitions, and asks again while the coordinator is busy; gives the one error code."""
        while True:
            answers = set((await self.add_once(id, pid, epoch, {topic: partitions})).values())
            if not answers & set(BUSY):
                (code,) = answers
                return code
            await asyncio.sleep(0.005)

    async def end_once(self, id: str, pid: int, epoch: int, *, commit: bool = True, version: int = 0) -> int:
        answer = await self.ask(
            26, version, transactional_id=id, producer_id=pid, producer_epoch=epoch, committed=commit
        )
        return int(answer.error_code)

    async def end(self, id: str, pid: int, epoch: int, *, commit: bool = True, version: int = 0) -> int:
        """Ends a transaction and waits until its markers are written; gives the first code that is not "busy"."""
        while (code := await self.end_once(id, pid, epoch, commit=commit, version=version)) in BUSY:  # noqa: ASYNC110 - a broker tells nobody
            await asyncio.sleep(0.005)
        await self.settled(id)
        return code

    async def describe(self, id: str) -> Described:
        # `kio` cannot read the start time -1 of a transaction that has not started.
        request = requests.describe_transaction(id)
        body = await self._exchange(65, 0, {"transactional_ids": [id]})
        one = request.api.read(request.struct.RESPONSE_TYPE.decode(io.BytesIO(body)))
        return Described(one.error, one.state, one.producer_id, one.epoch, sorted(one.partitions))

    async def settled(self, id: str, seconds: float = 20) -> Described:
        """Waits until no transaction is open under the id."""
        async with asyncio.timeout(seconds):
            while (seen := await self.describe(id)).state in ("Ongoing", "PrepareCommit", "PrepareAbort"):  # noqa: ASYNC110 - a broker tells nobody
                await asyncio.sleep(0.01)
        return seen

    async def opened(self, id: str, topic: str, *values: bytes, timeout_ms: int = 60_000) -> tuple[int, int, int]:
        """An open transaction with records in partition 0: (pid, epoch, first offset)."""
        pid, epoch = await self.init(id, timeout_ms)
        assert await self.add(id, pid, epoch, topic) == 0
        code, first = await self.produce(topic, values or (b"v",), id=id, pid=pid, epoch=epoch)
        assert code == 0, code
        return pid, epoch, first

    # -- records

    async def produce(self, topic: str, values: Iterable[bytes], partition: int = 0, **given: Any) -> tuple[int, int]:
        """Produces one batch; gives (error, base offset)."""
        return await self.produce_bytes(topic, a_batch(values, **given), partition, id=given.get("id"))

    async def produce_bytes(
        self, topic: str, batch: bytes, partition: int = 0, *, id: str | None = None
    ) -> tuple[int, int]:
        data = [{"name": topic, "partition_data": [{"index": partition, "records": batch}]}]
        answer = await self.ask(0, 7, transactional_id=id, acks=-1, timeout=5000, topic_data=data)
        (part,) = answer.responses[0].partition_responses
        return int(part.error_code), part.base_offset

    async def fetch(
        self, topic: str, offset: int, partition: int = 0, *, committed: bool = True, max_bytes: int = 1 << 20,
        wait_ms: int = 0,
    ) -> Fetched:  # fmt: skip
        part = {"partition": partition, "fetch_offset": offset, "partition_max_bytes": max_bytes}
        answer = await self.ask(
            1, 11, max_wait=wait_ms, min_bytes=1, max_bytes=max_bytes, isolation_level=int(committed),
            topics=[{"topic": topic, "partitions": [part]}], forgotten_topics_data=[],
        )  # fmt: skip
        (one,) = answer.responses[0].partitions
        aborted = [(each.producer_id, each.first_offset) for each in one.aborted_transactions or ()]
        return Fetched(
            int(one.error_code), one.high_watermark, one.last_stable_offset, one.log_start_offset, aborted,
            bytes(one.records or b""),
        )  # fmt: skip

    async def led(self, topic: str, partitions: int) -> None:
        """Waits until a new topic can be used: Metadata names leaders before they know it themselves."""
        for partition in range(partitions):
            while (await self.fetch(topic, 0, partition)).error in (3, *NO_LEADER_YET):  # noqa: ASYNC110 - a broker tells nobody
                await asyncio.sleep(0.01)

    async def offset(self, topic: str, timestamp: int, partition: int = 0, *, committed: bool = False) -> Any:
        """ListOffsets: (error, timestamp, offset)."""
        part = {"partition_index": partition, "timestamp": timestamp}
        topics = [{"name": topic, "partitions": [part]}]
        answer = await self.ask(2, 3, replica_id=-1, isolation_level=int(committed), topics=topics)
        (one,) = answer.topics[0].partitions
        return int(one.error_code), one.timestamp, one.offset

    async def visible(self, topic: str, offset: int = 0, partition: int = 0) -> list[bytes]:
        """What a read_committed reader sees from an offset on, by the rule of the protocol."""
        values: list[bytes] = []
        while True:
            fetched = await self.fetch(topic, offset, partition)
            assert fetched.error == 0, fetched
            if not fetched.records:
                return values
            aborted = sorted((first, pid) for pid, first in fetched.aborted)
            gone: set[int] = set()
            for batch in batches_in(fetched.records):
                while aborted and aborted[0][0] <= batch.base_offset:
                    gone.add(aborted.pop(0)[1])
                if batch.is_control_batch:
                    if ControlRecord.parse(next(iter(batch)).key) == ABORT_MARKER:
                        gone.discard(batch.producer_id)
                elif not (batch.is_transactional and batch.producer_id in gone):
                    values += [record.value for record in batch if record.offset >= offset]
                offset = batch.next_offset


def batches_in(records: bytes) -> Iterable[Any]:
    """The batches of a Fetch, with their checksums checked."""
    memory = MemoryRecords(records)
    while memory.has_next():
        batch = memory.next_batch()
        assert batch.validate_crc()
        yield batch


def a_batch(
    values: Iterable[bytes],
    *,
    id: str | None = None,
    pid: int = -1,
    epoch: int = -1,
    sequence: int | None = None,
    timestamps: Iterable[int] | None = None,
    transactional: bool | None = None,
    key: bytes | None = None,
    codec: int = 0,
) -> bytes:
    """A record batch; transactional when an id is named, unless said otherwise."""
    sequence = (-1 if pid < 0 else 0) if sequence is None else sequence
    flag = id is not None if transactional is None else transactional
    builder = DefaultRecordBatchBuilder(2, codec, int(flag), pid, epoch, sequence, 1 << 22)
    # Apache Kafka starts a new segment where times are far apart, and one Fetch reads one segment.
    times = itertools.repeat(time.time_ns() // 1_000_000) if timestamps is None else timestamps
    for index, (value, timestamp) in enumerate(zip(values, times, strict=False)):
        assert builder.append(index, timestamp, key, value, []) is not None
    return bytes(builder.build())


@asynccontextmanager
async def a_wire(bootstrap: str) -> AsyncIterator[Wire]:
    """A connection to the only broker, whose coordinators are ready."""
    host, _, port = bootstrap.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    wire = Wire(reader, writer)
    try:
        async with asyncio.timeout(60):
            for kind in (0, 1):
                while (await wire.ask(10, 1, key="wire", key_type=kind)).error_code:  # noqa: ASYNC110 - a broker tells nobody
                    await asyncio.sleep(0.05)
            yield wire
    finally:
        writer.close()
        await writer.wait_closed()


Scenario = Callable[[Wire, str, str], Awaitable[None]]
Play = Callable[[Scenario], None]


def _each_broker(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    if request.param == "apache":
        yield request.getfixturevalue("kafka")
    else:
        with EmbeddedKafka() as embedded:
            yield Kafka(embedded.bootstrap)


each_broker = pytest.fixture(
    scope="module", params=[pytest.param("apache", marks=pytest.mark.kafka), "embedded"], name="broker"
)(_each_broker)
"""A fixture: Apache Kafka, then the embedded broker."""


@pytest.fixture(name="play")
def each_play(broker: Kafka) -> Play:
    """Plays a scenario with a connection, a new topic of two partitions and a new transactional id."""

    def run(scenario: Scenario) -> None:
        topic = fresh("contract")
        broker.create_topic(topic, 2)

        async def body() -> None:
            async with a_wire(broker.bootstrap) as wire, asyncio.timeout(60):
                await wire.led(topic, 2)
                await scenario(wire, topic, fresh("id"))

        asyncio.run(body())

    return run
