"""What a KafkaSource does when the topic, a record or the broker is not as it should be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from streamlet import Json, Text
from streamlet.connect import Batch, Position
from streamlet.errors import DecodeError, StreamletError
from streamlet_connectors.kafka.protocol.errors import (
    BrokersUnreachableError,
    OffsetGoneError,
    TopicGoneError,
    TopicReplacedError,
    TopicUnknownError,
)
from streamlet_connectors.kafka.reading.decoding import KafkaRecord
from streamlet_connectors.kafka.reading.reader import KafkaReader
from streamlet_connectors.kafka.reading.source import KafkaSource
from tests.kafka.broker import Kafka, KafkaBroker, free_ports
from tests.kafka.reading import fill_topic
from tests.kafka.source_driving import batches_of, discovered, read_bounded, reading, values_until

pytestmark = pytest.mark.kafka


class Payment(msgspec.Struct, frozen=True):
    user: str
    amount: int


def _error_of(source: KafkaSource[Any], positions: Mapping[str, Position]) -> StreamletError:
    """The error that reading ends with."""

    async def run() -> StreamletError:
        async with asyncio.timeout(60), reading(source, positions) as reader:
            while True:
                try:
                    list(await reader.fetch() or ())
                except StreamletError as error:
                    return error

    return asyncio.run(run())


# -- topics


def test_a_replaced_topic_is_found_by_discovery_and_by_the_reader(kafka: Kafka) -> None:
    kafka.create_topic("bad-replaced")
    fill_topic(kafka.bootstrap, "bad-replaced", [b"old"] * 3)
    source = KafkaSource(kafka.bootstrap, "bad-replaced", value=Text())
    known = discovered(source)
    position = {"bad-replaced-0": [1, *known["bad-replaced-0"][1:]]}
    kafka.delete_topic("bad-replaced")
    kafka.create_topic("bad-replaced")
    fill_topic(kafka.bootstrap, "bad-replaced", [b"new"] * 3)
    with pytest.raises(TopicReplacedError, match="topic bad-replaced was deleted and created again") as found:
        discovered(source, position)
    assert found.value.final
    error = _error_of(source, position)
    assert isinstance(error, TopicReplacedError)
    assert "another uid" in (error.remedy or "")


def test_a_topic_that_is_replaced_while_it_is_read_stops_the_reader(kafka: Kafka) -> None:
    kafka.create_topic("bad-live")
    fill_topic(kafka.bootstrap, "bad-live", [b"old"] * 3)

    async def run() -> None:
        async with reading(KafkaSource(kafka.bootstrap, "bad-live", value=Text())) as reader:
            assert await values_until(reader, 3) == ["old"] * 3
            await asyncio.to_thread(kafka.delete_topic, "bad-live")
            await asyncio.to_thread(kafka.create_topic, "bad-live")
            async with asyncio.timeout(30):
                while True:
                    list(await reader.fetch() or ())

    with pytest.raises(TopicReplacedError):
        asyncio.run(run())


def test_a_missing_topic_is_a_final_error_that_says_how_to_create_it(kafka: Kafka) -> None:
    source = KafkaSource(kafka.bootstrap, "bad-missing", topic_timeout_seconds=0.5)
    with pytest.raises(TopicUnknownError, match=r"(?s)no topic 'bad-missing'.*kafka-topics\.sh .*--create") as found:
        discovered(source)
    assert found.value.final
    assert "bad-missing" not in kafka.admin().list_topics(timeout=10).topics, "asking must not create it"


def test_a_topic_that_is_deleted_while_it_is_read_is_a_final_error_after_a_while(kafka: Kafka) -> None:
    kafka.create_topic("bad-deleted")
    source = KafkaSource(kafka.bootstrap, "bad-deleted", topic_timeout_seconds=0.5)
    known = discovered(source)
    kafka.delete_topic("bad-deleted")
    assert isinstance(_error_of(source, known), TopicGoneError)


def test_new_partitions_are_discovered_and_read_from_their_first_record(kafka: Kafka) -> None:
    kafka.create_topic("bad-growing")
    source = KafkaSource(kafka.bootstrap, "bad-growing", value=Text(), start="latest")

    async def run() -> None:
        known = dict(await source.discover({}))
        async with reading(source, known) as reader:
            assert await source.discover(known) == {}
            await asyncio.to_thread(kafka.add_partitions, "bad-growing", 3)
            await asyncio.to_thread(fill_topic, kafka.bootstrap, "bad-growing", [b"a", b"b"], partition=2)
            new = await source.discover(known)
            assert {split: position[0] for split, position in new.items()} == {"bad-growing-1": 0, "bad-growing-2": 0}
            reader.add_splits(new)
            assert await values_until(reader, 2) == ["a", "b"]

    asyncio.run(run())


# -- positions


def test_a_position_that_was_deleted_is_an_error_that_counts_what_is_lost(kafka: Kafka) -> None:
    kafka.create_topic("bad-retention")
    fill_topic(kafka.bootstrap, "bad-retention", [str(number).encode() for number in range(10)])
    kafka.delete_records("bad-retention", {0: 6})
    source = KafkaSource(kafka.bootstrap, "bad-retention", value=Text(), start={0: 2}, stop="latest")
    error = _error_of(source, discovered(source))
    assert isinstance(error, OffsetGoneError)
    assert error.message.startswith(
        "topic bad-retention, partition 0: position 2 is gone, the first offset there is 6: 4 offsets were deleted"
    )
    for out_of_range, expected in (("earliest", ["6", "7", "8", "9"]), ("latest", [])):
        lenient = KafkaSource(
            kafka.bootstrap, "bad-retention", value=Text(), start={0: 2}, stop="latest", out_of_range=out_of_range
        )
        batches = batches_of(lenient)
        assert [value for batch in batches for value in batch.values] == expected
        assert batches[-1].next_position[0] == 10, "the position must move, or the next start would jump again"


def test_a_position_behind_the_end_is_an_error_that_names_the_end(kafka: Kafka) -> None:
    kafka.create_topic("bad-end")
    fill_topic(kafka.bootstrap, "bad-end", [b"only"])
    source = KafkaSource(kafka.bootstrap, "bad-end", start={0: 5})
    error = _error_of(source, discovered(source))
    assert isinstance(error, OffsetGoneError)
    assert "position 5 is not there, the topic ends at 1" in error.message


# -- records


def _poisoned(kafka: Kafka, topic: str, bad: bytes | None) -> None:
    kafka.create_topic(topic)
    good = [b'{"user": "a", "amount": %d}' % amount for amount in range(4)]
    fill_topic(kafka.bootstrap, topic, [(b"key", value) for value in (*good[:2], bad, *good[2:])])


def test_a_record_that_cannot_be_read_stops_behind_the_good_ones_and_names_its_place(kafka: Kafka) -> None:
    _poisoned(kafka, "bad-poison", b'{"user": "secret", "amount": "much"}')
    source = KafkaSource(kafka.bootstrap, "bad-poison", value=Json(Payment), stop="latest")

    async def run() -> None:
        async with reading(source) as reader:
            batches: list[Batch[Any]] = []
            with pytest.raises(DecodeError) as found:
                while True:
                    batches += await reader.fetch() or ()
            assert [value.amount for batch in batches for value in batch.values] == [0, 1]
            assert batches[-1].next_position[0] == 2, "a restart must meet the same record again"
            text = str(found.value)
            assert "topic bad-poison, partition 0, offset 2" in text
            assert "Expected `int`, got `str`" in text
            assert 'on_bad_record="skip"' in text
            assert "secret" not in text
            with pytest.raises(DecodeError):
                await reader.fetch()

    asyncio.run(run())
    shown = KafkaSource(kafka.bootstrap, "bad-poison", value=Json(Payment), stop="latest", show_records=True)
    assert "secret" in str(_error_of(shown, discovered(shown)))


def test_bad_records_are_skipped_counted_and_logged_when_told(kafka: Kafka, caplog: pytest.LogCaptureFixture) -> None:
    _poisoned(kafka, "bad-skipped", b"not json")
    source = KafkaSource(kafka.bootstrap, "bad-skipped", value=Json(Payment), stop="latest", on_bad_record="skip")

    async def run() -> tuple[list[int], int, str | None]:
        async with reading(source) as reader:
            batches: list[Batch[Any]] = []
            while (some := await reader.fetch()) is not None:
                batches += some
            return [v.amount for b in batches for v in b.values], reader.skipped, batches[0].describe_row(2)

    assert asyncio.run(run()) == ([0, 1, 2, 3], 1, "topic bad-skipped, partition 0, offset 3")
    assert "topic bad-skipped, partition 0, offset 2 cannot be read" in caplog.text
    assert "not json" not in caplog.text


@pytest.mark.parametrize(("null_values", "expected"), [("skip", [0, 1, 2, 3]), ("pass", [0, 1, None, 2, 3])])
def test_records_without_a_value_are_skipped_or_passed(kafka: Kafka, null_values: str, expected: list[Any]) -> None:
    topic = f"bad-null-{null_values}"
    _poisoned(kafka, topic, None)
    source: KafkaSource[Any] = KafkaSource(
        kafka.bootstrap, topic, value=Json(Payment), stop="latest", null_values=null_values
    )
    assert [value and value.amount for value in read_bounded(source)] == expected


def test_a_record_without_a_value_is_an_error_unless_told(kafka: Kafka) -> None:
    _poisoned(kafka, "bad-null", None)
    source = KafkaSource(kafka.bootstrap, "bad-null", value=Json(Payment), stop="latest", on_bad_record="skip")
    error = _error_of(source, discovered(source))
    assert "the record at topic bad-null, partition 0, offset 2 has no value" in error.message
    assert 'null_values="skip"' in (error.remedy or "")


def test_full_records_have_keys_headers_and_places(kafka: Kafka) -> None:
    kafka.create_topic("bad-full")
    fill_topic(kafka.bootstrap, "bad-full", [(b"k", b"v"), (None, b"w")], timestamp=5, headers=[("h", b"1")])
    source = KafkaSource(kafka.bootstrap, "bad-full", value=Text(), key=Text(), record="full", stop="latest")
    (batch,) = batches_of(source)
    assert batch.values == [
        KafkaRecord("k", "v", [("h", b"1")], 5, "bad-full", 0, 0),
        KafkaRecord(None, "w", [("h", b"1")], 5, "bad-full", 0, 1),
    ]
    assert batch.timestamps is None
    (batch,) = batches_of(KafkaSource(kafka.bootstrap, "bad-full", value=Text(), timestamps=True, stop="latest"))
    assert batch.timestamps == [5, 5]


def test_a_record_larger_than_every_limit_is_read(kafka: Kafka) -> None:
    kafka.create_topic("bad-large", max_message_bytes=3_000_000)
    large = b"x" * 2_000_000
    fill_topic(kafka.bootstrap, "bad-large", [b"a", large, b"b"], options={"message.max.bytes": 3_000_000})
    source = KafkaSource(
        kafka.bootstrap,
        "bad-large",
        value=Text(),
        stop="latest",
        partition_bytes=1024,
        request_bytes=2048,
        buffer_bytes=4096,
    )
    assert [len(value) for value in read_bounded(source)] == [1, 2_000_000, 1]


# -- brokers


def test_an_unreachable_broker_is_an_error_at_the_start_that_names_the_address() -> None:
    (port,) = free_ports(1)
    source = KafkaSource(f"127.0.0.1:{port}", "any", connect_timeout_seconds=0.5)
    with pytest.raises(BrokersUnreachableError, match=rf"127\.0\.0\.1:{port} could be reached"):
        discovered(source)


def test_a_reader_waits_for_a_broker_that_is_away_and_loses_nothing(
    kafka_broker_factory: Callable[..., KafkaBroker], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    broker = kafka_broker_factory()
    broker.create_topic("away", 2)
    fill_topic(broker.bootstrap, "away", [b"0", b"1"], partition=0)
    source = KafkaSource(broker.bootstrap, "away", value=Text())

    async def run() -> None:
        known = await source.discover({})
        async with reading(source, known) as reader:
            assert await values_until(reader, 2) == ["0", "1"]
            await asyncio.to_thread(broker.kill)
            tries = [len(caplog.records)]
            for _ in range(10):
                assert await reader.fetch() == []
            tries.append(len(caplog.records))
            assert tries[1] - tries[0] <= 2, "one warning per broker and episode"
            assert await source_is_patient(known)
            restarted = asyncio.create_task(asyncio.to_thread(_restart_and_fill, broker))
            assert await values_until(reader, 2) == ["2", "3"]
            await restarted

    async def source_is_patient(known: Mapping[str, Position]) -> bool:
        quick = KafkaSource(broker.bootstrap, "away", connect_timeout_seconds=0.3)
        return await quick.discover(known) == {}

    asyncio.run(run())
    assert f"Kafka at {broker.bootstrap}" in caplog.text
    assert "answers again" in caplog.text


def _restart_and_fill(broker: KafkaBroker) -> None:
    broker.start()
    fill_topic(broker.bootstrap, "away", [b"2", b"3"], partition=1)


def test_offsets_of_a_marked_checkpoint_are_committed_to_the_group(kafka: Kafka) -> None:
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    kafka.create_topic("bad-group")
    fill_topic(kafka.bootstrap, "bad-group", [b"a", b"b"])
    source = KafkaSource(kafka.bootstrap, "bad-group", value=Text(), group="lag-tools")

    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "lag-tools"})

    def committed() -> int:
        try:
            (partition,) = consumer.committed([TopicPartition("bad-group", 0)], timeout=30)
        except KafkaException:
            return -1
        return int(partition.offset)

    async def run() -> None:
        async with reading(source) as reader, asyncio.timeout(60):
            await values_until(reader, 2)
            assert reader.lag() == {"bad-group-0": 0}
            checkpoint_id = 0
            # A broker may need a moment for its first group; the next checkpoint tells it again.
            while await asyncio.to_thread(committed) != 2:
                checkpoint_id += 1
                await reader.marked(checkpoint_id, {"bad-group-0": [2, "00", None]})

    try:
        asyncio.run(run())
    finally:
        consumer.close()


def test_a_slow_job_bounds_what_is_fetched_ahead(kafka: Kafka) -> None:
    kafka.create_topic("bad-slow", 4)
    small = {"batch.size": 20_000}  # a record batch comes whole, whatever the bounds
    for partition in range(4):
        fill_topic(kafka.bootstrap, "bad-slow", [b"x" * 1000] * 2000, partition=partition, options=small)
    source = KafkaSource(
        kafka.bootstrap, "bad-slow", partition_bytes=100_000, request_bytes=200_000, buffer_bytes=300_000, value=Text()
    )

    async def run() -> None:
        async with reading(source, batch_records=10) as reader:
            seen = 0
            most = 0
            while seen < 8000:
                for batch in await reader.fetch() or ():
                    seen += len(batch)
                    most = max(most, _buffered(reader))
                    await asyncio.sleep(0)  # as the engine does between two batches
            assert 100_000 < most <= 500_000, "the buffer, and one answer more"

    asyncio.run(run())


def _buffered(reader: KafkaReader) -> int:
    return sum(part.buffered for part in reader._fetcher.partitions)


def test_closing_at_any_time_leaves_no_task_and_may_be_done_twice(kafka: Kafka) -> None:
    kafka.create_topic("bad-close")
    source = KafkaSource(kafka.bootstrap, "bad-close")

    async def run() -> None:
        before = asyncio.all_tasks()
        known = await source.discover({})
        assert asyncio.all_tasks() == before
        for fetches in range(4):
            async with reading(source, known) as reader:
                for _ in range(fetches):
                    await reader.fetch()
            await reader.close()
            assert asyncio.all_tasks() == before
        async with reading(source, known) as reader:
            fetching = asyncio.create_task(reader.fetch())
            await asyncio.sleep(0)
            await reader.close()
            await fetching
        assert asyncio.all_tasks() == before

    asyncio.run(run())
