"""streamlet's own source, sink and probe work the same with Apache Kafka and with the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamlet import Bytes, Json
from streamlet.connect import Outcome
from streamlet.errors import SinkError
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.writing.outcome import Finding, probe
from streamlet_connectors.kafka.writing.transaction import PROTOCOL, Prepared
from tests.kafka.broker import Kafka
from tests.kafka.reading import fill_topic, read_committed
from tests.kafka.sink_driving import a_committer, a_writer, fresh, prepare, until, visible_now
from tests.kafka.source_driving import read_bounded
from tests.kafka.wire_driving import Play, Wire, each_broker, each_play

__all__ = ["each_broker", "each_play"]


@pytest.fixture
def topic(broker: Kafka) -> str:
    name = fresh("streamlet")
    broker.create_topic(name, 2)
    return name


class Probing:
    """Makes a transaction of one partition, and asks what became of it."""

    def __init__(self, wire: Wire, connection: KafkaConnection, topic: str, id: str) -> None:
        self.wire = wire
        self._connection = connection
        self._topic = topic
        self._id = id
        self._made = 0

    async def made(self, timeout_ms: int = 60_000) -> Prepared:
        self._made += 1
        id = f"{self._id}-{self._made}"
        pid, epoch, first = await self.wire.opened(id, self._topic, b"a", b"b", timeout_ms=timeout_ms)
        info = (await self._connection.look([self._topic]))[self._topic]
        where = [(self._topic, info.id.hex(), 0, first)]
        return Prepared(PROTOCOL, id, pid, epoch, where, self._connection.options.bootstrap, "", 0)

    async def find(self, prepared: Prepared) -> Finding:
        return await probe(self._connection, prepared)

    async def outcome(self, prepared: Prepared) -> Outcome:
        return (await self.find(prepared)).outcome

    async def end(self, prepared: Prepared, *, commit: bool) -> None:
        code = await self.wire.end(prepared.transactional_id, prepared.producer_id, prepared.epoch, commit=commit)
        assert code == 0


@pytest.fixture
def probing(play: Play, broker: Kafka) -> Callable[[Callable[[Probing, str], Any]], None]:
    def run(scenario: Callable[[Probing, str], Any]) -> None:
        async def body(wire: Wire, topic: str, id: str) -> None:
            connection = KafkaConnection(KafkaOptions.of(broker.bootstrap, {}, where="probing"))
            try:
                await connection.open()
                await scenario(Probing(wire, connection, topic, id), topic)
            finally:
                await connection.close()

        play(body)

    return run


Probe = Callable[[Callable[[Probing, str], Any]], None]


def test_the_probe_knows_how_a_transaction_ended_also_when_its_id_was_taken_again(probing: Probe) -> None:
    async def scenario(given: Probing, topic: str) -> None:
        late = await given.made(timeout_ms=500)
        committed, aborted, fenced = await given.made(), await given.made(), await given.made()
        await given.end(committed, commit=True)
        await given.end(aborted, commit=False)
        await given.wire.init(fenced.transactional_id)
        assert (await given.wire.settled(late.transactional_id)).state == "CompleteAbort"
        open_ = await given.made()
        expected = {Outcome.COMMITTED: [committed], Outcome.ABORTED: [aborted, fenced, late], Outcome.OPEN: [open_]}
        for _ in range(2):
            for outcome, transactions in expected.items():
                for transaction in transactions:
                    assert await given.outcome(transaction) is outcome
            for again in (committed, late):
                await given.wire.init(again.transactional_id)
        await given.end(open_, commit=True)
        assert await given.outcome(open_) is Outcome.COMMITTED

    probing(scenario)


def test_the_probe_does_not_guess_when_the_records_or_their_topic_are_gone(probing: Probe, broker: Kafka) -> None:
    async def scenario(given: Probing, topic: str) -> None:
        one, two = await given.made(), await given.made()
        await given.end(one, commit=True)
        await given.end(two, commit=False)
        await asyncio.to_thread(broker.delete_records, topic, {0: two.partitions[0][3]})
        assert await given.outcome(one) is Outcome.UNKNOWN
        assert await given.outcome(two) is Outcome.ABORTED
        await asyncio.to_thread(broker.delete_topic, topic)
        assert await given.outcome(two) is Outcome.UNKNOWN
        await asyncio.to_thread(broker.create_topic, topic)
        await given.wire.led(topic, 1)
        await given.wire.produce(topic, [b"new"] * 9)
        assert "not the same any more" in (await given.find(two)).reason
        assert await given.outcome(one) is Outcome.UNKNOWN

    probing(scenario)


def test_what_the_sink_commits_the_source_reads_and_nothing_else(broker: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(broker.bootstrap, topic)
        instance = fresh("i")
        async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
            kept = await prepare(writer, range(100), 1)
            lost = await prepare(writer, range(100, 200), 2)
            last = await prepare(writer, range(200, 300), 3)
            assert visible_now(broker.bootstrap, topic) == []
            for _ in range(2):
                await committer.commit(kept)
                await committer.abort(lost)
                await committer.commit(last)
            outcomes = await committer.outcomes([kept, lost, last])
            assert outcomes == [Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMMITTED]

    asyncio.run(scenario())
    source = KafkaSource(broker.bootstrap, topic, value=Json(), stop="latest")
    assert sorted(read_bounded(source)) == [*range(100), *range(200, 300)]


def test_a_new_sink_shuts_the_old_one_out(broker: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(broker.bootstrap, topic)
        instance = fresh("i")
        async with a_writer(sink, instance) as zombie, a_committer(sink, instance) as committer:
            spared = await prepare(zombie, range(10))
            await committer.fence(1, [spared])
            with pytest.raises(SinkError, match="47 INVALID_PRODUCER_EPOCH"):
                await prepare(zombie, range(10, 20))
                await prepare(zombie, range(20, 30))
            await committer.commit(spared)

    asyncio.run(scenario())
    assert len(read_committed(broker.bootstrap, topic)) == 10


def test_a_transaction_that_timed_out_is_lost_and_said_so(broker: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(broker.bootstrap, topic, transaction_timeout_seconds=1)
        instance = fresh("i")
        async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
            committable = await prepare(writer, range(10))

            async def is_aborted() -> bool:
                return (await committer.outcomes([committable]))[0] is Outcome.ABORTED

            await until(is_aborted)
            with pytest.raises(Exception, match="were aborted by the broker before they could be committed"):
                await committer.commit(committable)

    asyncio.run(scenario())
    assert visible_now(broker.bootstrap, topic) == []


def test_the_source_starts_where_it_is_told(broker: Kafka, topic: str) -> None:
    for step in range(4):
        values = [b"%d" % number for number in range(step * 10, step * 10 + 10)]
        fill_topic(broker.bootstrap, topic, values, partition=step % 2, timestamp=1_700_000_000_000 + step * 1000)

    def read(start: Any) -> list[int]:
        source = KafkaSource(broker.bootstrap, topic, value=Bytes(), start=start, stop="latest")
        return sorted(int(value) for value in read_bounded(source))

    assert read("earliest") == list(range(40))
    assert read("latest") == []
