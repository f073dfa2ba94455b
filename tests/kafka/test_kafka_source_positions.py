"""Where a KafkaSource starts, and that every position leads to exactly the records behind it."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from streamlet import Bytes, Text
from streamlet.errors import ConfigError
from streamlet_connectors.kafka.reading.source import KafkaSource
from tests.kafka.broker import Kafka
from tests.kafka.reading import fill_topic, read_committed
from tests.kafka.source_driving import batches_of, discovered, read_bounded, reading, transactional, values_until

pytestmark = pytest.mark.kafka


def _texts(first: int, count: int) -> list[bytes]:
    return [f"{number}".encode() for number in range(first, first + count)]


def test_earliest_gives_every_record_of_every_partition_in_order(kafka: Kafka) -> None:
    kafka.create_topic("in-earliest", 3)
    for partition in range(3):
        fill_topic(kafka.bootstrap, "in-earliest", _texts(partition * 1000, 700), partition=partition)
    batches = batches_of(KafkaSource(kafka.bootstrap, "in-earliest", value=Text(), stop="latest"))
    assert max(map(len, batches)) == 250
    for partition in range(3):
        values = [v for b in batches if b.split == f"in-earliest-{partition}" for v in b.values]
        assert values == [str(number) for number in range(partition * 1000, partition * 1000 + 700)]


def test_latest_is_resolved_once_and_then_stands_in_the_position(kafka: Kafka) -> None:
    kafka.create_topic("in-latest")
    fill_topic(kafka.bootstrap, "in-latest", _texts(0, 5))
    start = discovered(KafkaSource(kafka.bootstrap, "in-latest", value=Text(), start="latest"))
    fill_topic(kafka.bootstrap, "in-latest", _texts(5, 3))
    (offset, topic_id, stop), end = start["in-latest-0"], 8
    assert (offset, stop) == (5, None)
    bounded = KafkaSource(kafka.bootstrap, "in-latest", value=Text(), stop="latest")
    assert read_bounded(bounded, {"in-latest-0": [offset, topic_id, end]}) == ["5", "6", "7"]


def test_a_time_starts_at_the_first_record_that_is_not_older(kafka: Kafka) -> None:
    kafka.create_topic("in-time", 2, retention_ms=-1)  # records of 1970 are older than any other
    for second in (10, 20, 30):
        fill_topic(kafka.bootstrap, "in-time", [f"{second}".encode()], partition=0, timestamp=second * 1000)
    source = KafkaSource(kafka.bootstrap, "in-time", start=datetime.fromtimestamp(15, UTC))
    starts = discovered(source)
    assert (starts["in-time-0"][0], starts["in-time-1"][0]) == (1, 0)
    assert discovered(KafkaSource(kafka.bootstrap, "in-time", start=20_000))["in-time-0"][0] == 1
    assert discovered(KafkaSource(kafka.bootstrap, "in-time", start=30_001))["in-time-0"][0] == 3


def test_explicit_offsets_start_there_and_must_name_every_partition(kafka: Kafka) -> None:
    kafka.create_topic("in-offsets", 2)
    fill_topic(kafka.bootstrap, "in-offsets", _texts(0, 5), partition=0)
    source = KafkaSource(kafka.bootstrap, "in-offsets", value=Text(), start={0: 3, 1: 0}, stop="latest")
    assert read_bounded(source) == ["3", "4"]
    with pytest.raises(ConfigError, match=r"start names partitions \[0\], but the topic has 2"):
        discovered(KafkaSource(kafka.bootstrap, "in-offsets", start={0: 3}))


def test_a_bounded_source_ends_at_the_end_of_its_first_discovery(kafka: Kafka) -> None:
    kafka.create_topic("in-bounded", 2)
    fill_topic(kafka.bootstrap, "in-bounded", _texts(0, 5), partition=0)
    source = KafkaSource(kafka.bootstrap, "in-bounded", value=Text(), stop="latest")
    start = discovered(source)
    fill_topic(kafka.bootstrap, "in-bounded", _texts(5, 5), partition=0)
    fill_topic(kafka.bootstrap, "in-bounded", _texts(5, 5), partition=1)
    assert read_bounded(source, start) == ["0", "1", "2", "3", "4"]
    assert discovered(source, start) == {}


def test_an_empty_topic_ends_a_bounded_source_at_once(kafka: Kafka) -> None:
    kafka.create_topic("in-empty", 2)
    assert read_bounded(KafkaSource(kafka.bootstrap, "in-empty", stop="latest")) == []


def test_several_topics_are_one_source(kafka: Kafka) -> None:
    for name in ("in-several-a", "in-several-b"):
        kafka.create_topic(name)
        fill_topic(kafka.bootstrap, name, [name.encode()])
    source = KafkaSource(kafka.bootstrap, ["in-several-a", "in-several-b"], value=Text(), stop="latest")
    assert sorted(read_bounded(source)) == ["in-several-a", "in-several-b"]


def _fill_with_transactions(kafka: Kafka, topic: str) -> None:
    """Three transactional producers and a plain one, interleaved; about half of the transactions are aborted."""
    random_ = random.Random(7)
    producers = [transactional(kafka.bootstrap, f"{topic}-{number}") for number in range(3)]
    plain = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
    is_open = [False] * 3
    for step in range(60):
        number = random_.randrange(4)
        if number == 3:
            plain.produce(topic, f"plain-{step}")
            plain.flush(30)
            continue
        producer = producers[number]
        if not is_open[number]:
            producer.begin_transaction()
            is_open[number] = True
        for repeat in range(random_.randrange(1, 5)):
            producer.produce(topic, f"{number}-{step}-{repeat}")
        producer.flush(30)
        if random_.random() < 0.5:
            end = producer.commit_transaction if random_.random() < 0.5 else producer.abort_transaction
            end(30)
            is_open[number] = False
    for number, producer in enumerate(producers):
        if is_open[number]:
            producer.abort_transaction(30)


def test_i1_from_every_offset_and_every_position_exactly_the_rest_is_read(kafka: Kafka) -> None:
    topic = "in-transactions"
    kafka.create_topic(topic)
    _fill_with_transactions(kafka, topic)
    expected = [(record.offset, record.value) for record in read_committed(kafka.bootstrap, topic)]
    source = KafkaSource(kafka.bootstrap, topic, value=Bytes(), stop="latest")
    (first, topic_id, stop) = discovered(source)[f"{topic}-0"]
    batches = batches_of(source, batch_records=3)
    assert [value for batch in batches for value in batch.values] == [value for _, value in expected]
    assert max(map(len, batches)) == 3
    assert len(expected) < stop - first, "there must be gaps"
    positions = [batch.next_position[0] for batch in batches]
    assert positions == sorted(positions)
    assert positions[-1] == stop
    done = 0
    for batch in batches:
        done += len(batch)
        rest = read_bounded(source, {batch.split: batch.next_position})
        assert rest == [value for _, value in expected[done:]], f"from position {batch.next_position}"
    for offset in range(0, stop, 3):
        rest = read_bounded(source, {f"{topic}-0": [offset, topic_id, stop]})
        assert rest == [value for at, value in expected if at >= offset], f"from offset {offset}"


def test_an_open_transaction_holds_a_committed_reader_back_but_not_an_uncommitted_one(kafka: Kafka) -> None:
    kafka.create_topic("in-open")
    producer = transactional(kafka.bootstrap, "in-open")
    fill_topic(kafka.bootstrap, "in-open", [b"before"])
    producer.begin_transaction()
    producer.produce("in-open", b"inside")
    producer.flush(30)
    fill_topic(kafka.bootstrap, "in-open", [b"after"])
    try:
        committed = KafkaSource(kafka.bootstrap, "in-open", value=Text(), stop="latest")
        assert read_bounded(committed) == ["before"]
        uncommitted = KafkaSource(kafka.bootstrap, "in-open", value=Text(), stop="latest", isolation="read_uncommitted")
        assert read_bounded(uncommitted) == ["before", "inside", "after"]
    finally:
        producer.abort_transaction(30)
    assert read_bounded(committed) == ["before", "after"]
    assert read_bounded(uncommitted) == ["before", "inside", "after"]


def test_a_reader_that_is_held_back_goes_on_when_the_transaction_ends(kafka: Kafka) -> None:
    kafka.create_topic("in-held")
    producer = transactional(kafka.bootstrap, "in-held")
    producer.begin_transaction()
    producer.produce("in-held", b"inside")
    producer.flush(30)
    fill_topic(kafka.bootstrap, "in-held", [b"after"])

    async def run() -> None:
        async with reading(KafkaSource(kafka.bootstrap, "in-held", value=Text())) as reader:
            for _ in range(3):
                assert await reader.fetch() == []
            await asyncio.to_thread(producer.commit_transaction, 30)
            assert await values_until(reader, 2) == ["inside", "after"]

    asyncio.run(run())


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_records_are_read_from_the_middle_of_a_batch(kafka: Kafka, codec: str) -> None:
    topic = f"in-{codec}"
    kafka.create_topic(topic)
    fill_topic(kafka.bootstrap, topic, _texts(0, 1000), options={"compression.type": codec, "linger.ms": 100})
    source = KafkaSource(kafka.bootstrap, topic, value=Text(), stop="latest", start={0: 321})
    assert read_bounded(source, batch_records=100) == [str(number) for number in range(321, 1000)]
