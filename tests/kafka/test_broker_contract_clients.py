"""Clients that know nothing of streamlet work the same with Apache Kafka and with the embedded broker."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition as AioTopicPartition
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.kafka.broker import Kafka
from tests.kafka.jars import kafka_jars
from tests.kafka.reading import fill_topic, read_committed
from tests.kafka.sink_driving import fresh, visible_now
from tests.kafka.source_driving import transactional
from tests.kafka.wire_driving import each_broker

__all__ = ["each_broker"]


@pytest.fixture
def topic(broker: Kafka) -> str:
    name = fresh("clients")
    broker.create_topic(name, 3)
    return name


def a_group_consumer(broker: Kafka, group: str, **given: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "heartbeat.interval.ms": 300,
            "log_level": 0,
            **given,
        }
    )


def poll(consumers: list[Consumer], count: int, *, seconds: float = 40) -> list[Any]:
    """Polls in turn until this many messages came."""
    messages: list[Any] = []
    deadline = time.monotonic() + seconds
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} messages"
        for consumer in consumers:
            message = consumer.poll(0.05)
            if message is not None:
                assert message.error() is None, message.error()
                messages.append(message)
    return messages


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_librdkafka_writes_and_reads_every_codec(broker: Kafka, topic: str, compression: str) -> None:
    values = [b"%d" % number * 20 for number in range(3000)]
    fill_topic(broker.bootstrap, topic, values, partition=0, options={"compression.type": compression})
    read = read_committed(broker.bootstrap, topic)
    assert sorted(record.value or b"" for record in read) == sorted(values)
    consumer = a_group_consumer(broker, fresh("times"))
    try:
        middle = next(record for record in read if record.offset > 1000)
        asked = [TopicPartition(topic, 0, middle.timestamp)]
        (found,) = consumer.offsets_for_times(asked, timeout=20)
        assert found.offset <= middle.offset
        assert [record.timestamp for record in read if (record.partition, record.offset) == (0, found.offset)] == [
            middle.timestamp
        ]
    finally:
        consumer.close()


def test_librdkafka_commits_and_aborts_transactions(broker: Kafka, topic: str) -> None:
    producer = transactional(broker.bootstrap, fresh("tx"))
    for step in range(6):
        producer.begin_transaction()
        for number in range(10):
            producer.produce(topic, b"%d.%d" % (step, number), partition=number % 3)
        producer.flush(20)
        if step % 2:
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    values = [record.value for record in read_committed(broker.bootstrap, topic)]
    assert sorted(values, key=str) == [b"%d.%d" % (step, number) for step in (0, 2, 4) for number in range(10)]


def test_librdkafka_is_fenced_by_the_next_owner_of_its_id(broker: Kafka, topic: str) -> None:
    id = fresh("tx")
    zombie = transactional(broker.bootstrap, id)
    zombie.begin_transaction()
    zombie.produce(topic, b"lost", partition=0)
    zombie.flush(20)
    owner = transactional(broker.bootstrap, id)
    with pytest.raises(KafkaException) as fenced:
        zombie.commit_transaction(20)
    assert fenced.value.args[0].fatal()
    owner.begin_transaction()
    owner.produce(topic, b"kept", partition=0)
    owner.commit_transaction(20)
    assert visible_now(broker.bootstrap, topic) == [b"kept"]


def test_librdkafka_consumes_in_a_group_and_goes_on_from_its_offsets(broker: Kafka, topic: str) -> None:
    group = fresh("group")
    fill_topic(broker.bootstrap, topic, [b"%d" % number for number in range(30)])
    consumer = a_group_consumer(broker, group)
    consumer.subscribe([topic])
    first = poll([consumer], 30)
    consumer.commit(asynchronous=False)
    consumer.close()
    fill_topic(broker.bootstrap, topic, [b"more"])
    consumer = a_group_consumer(broker, group)
    consumer.subscribe([topic])
    (more,) = poll([consumer], 1)
    consumer.close()
    assert len({(message.partition(), message.offset()) for message in first}) == 30
    assert more.value() == b"more"


def test_two_members_of_a_group_share_the_partitions_and_one_takes_over(broker: Kafka, topic: str) -> None:
    group = fresh("group")
    one, two = (a_group_consumer(broker, group) for _ in range(2))
    for consumer in (one, two):
        consumer.subscribe([topic])
    deadline = time.monotonic() + 40
    while not (one.assignment() and two.assignment()):
        assert time.monotonic() < deadline, "no assignment"
        one.poll(0.05)
        two.poll(0.05)
    shared = {part.partition for part in one.assignment()}, {part.partition for part in two.assignment()}
    assert shared[0] | shared[1] == {0, 1, 2}
    assert not shared[0] & shared[1]
    two.close()
    while len(one.assignment()) < 3:
        assert time.monotonic() < deadline, "no take-over"
        one.poll(0.05)
    one.close()


def test_a_consumed_offset_and_the_output_are_committed_together(broker: Kafka, topic: str) -> None:
    group, out = fresh("group"), fresh("out")
    broker.create_topic(out)
    fill_topic(broker.bootstrap, topic, [b"%d" % number for number in range(5)], partition=0)
    consumer = a_group_consumer(broker, group, **{"isolation.level": "read_committed"})
    consumer.subscribe([topic])
    producer = transactional(broker.bootstrap, fresh("tx"))
    for is_committed in (False, True):
        producer.begin_transaction()
        for message in poll([consumer], 5):
            producer.produce(out, message.value())
        positions = consumer.position([TopicPartition(topic, 0)])
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 20)
        if is_committed:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
            (stored,) = consumer.committed([TopicPartition(topic, 0)], timeout=20)
            assert stored.offset < 0
            consumer.seek(TopicPartition(topic, 0, 0))
    (stored,) = consumer.committed([TopicPartition(topic, 0)], timeout=20)
    consumer.close()
    assert stored.offset == 5
    assert visible_now(broker.bootstrap, out) == [b"%d" % number for number in range(5)]


def test_aiokafka_writes_transactions_and_reads_them_in_a_group(broker: Kafka, topic: str) -> None:
    async def scenario() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=fresh("aio"))
        await producer.start()
        try:
            for step in range(4):
                await producer.begin_transaction()
                for number in range(10):
                    await producer.send(topic, b"%d.%d" % (step, number), partition=number % 3)
                await (producer.abort_transaction() if step % 2 else producer.commit_transaction())
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap,
            group_id=fresh("group"),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            values: list[bytes] = []
            async with asyncio.timeout(40):
                while len(values) < 20:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        values += [record.value for record in records]
            assert sorted(values) == [b"%d.%d" % (step, number) for step in (0, 2) for number in range(10)]
            await consumer.commit()
            parts = [AioTopicPartition(topic, part) for part in range(3)]
            ends = await consumer.end_offsets(parts)
            assert [await consumer.committed(part) for part in parts] == [ends[part] for part in parts]
        finally:
            await consumer.stop()

    asyncio.run(scenario())


@pytest.mark.kafka
def test_the_java_client_writes_transactions_and_reads_them_in_a_group(broker: Kafka, topic: str) -> None:
    where = ["--bootstrap-server", broker.bootstrap]
    java("ProducerPerformance", "--topic", topic, "--num-records", "2000", "--record-size", "50", "--throughput", "-1",
         "--transactional-id", fresh("java"), "--transaction-duration-ms", "100",
         "--producer-props", f"bootstrap.servers={broker.bootstrap}")  # fmt: skip
    read = java("consumer.ConsoleConsumer", *where, "--topic", topic, "--from-beginning", "--group", fresh("java"),
                "--isolation-level", "read_committed", "--max-messages", "2000", "--timeout-ms", "30000")  # fmt: skip
    assert len(read.split()) == 2000
    assert sorted(read.split()) == sorted(
        (record.value or b"").decode() for record in read_committed(broker.bootstrap, topic)
    )


def java(tool: str, *arguments: str) -> str:
    """Runs one of Kafka's own tools; gives what it printed."""
    options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{kafka_jars()}/*"]
    command = ["java", *options, f"org.apache.kafka.tools.{tool}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_producer_without_acknowledgements_is_heard(broker: Kafka, topic: str) -> None:
    for partition in range(3):  # what reaches a leader that does not know it yet is lost without a word
        fill_topic(broker.bootstrap, topic, [b"first"], partition=partition)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": 0, "log_level": 0})
    for number in range(100):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(20) == 0
    deadline = time.monotonic() + 20
    while len(visible_now(broker.bootstrap, topic)) < 103:
        assert time.monotonic() < deadline
