"""A log that is not the one that was read is never read on in silence: a new topic of that name, or one cut off."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from streamlet import Text
from streamlet.connect import Position
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.kafka import KafkaSource
from streamlet_connectors.kafka.protocol.errors import OffsetGoneError, TopicReplacedError
from tests.kafka.source_driving import discovered, reading, values_until


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"in": 1}) as kafka:
        yield kafka


def _fill(kafka: EmbeddedKafka, *values: str) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0, "linger.ms": 0})
    for value in values:
        producer.produce("in", value)
        assert producer.flush(10) == 0  # a batch each, as an election keeps whole batches


async def _read(source: KafkaSource[Any], start: dict[str, Position], count: int) -> tuple[list[str], Position]:
    """So many values, and the position behind them."""
    async with reading(source, start) as reader:
        values: list[str] = []
        position: Position = []
        async with asyncio.timeout(20):
            while len(values) < count:
                for batch in await reader.fetch() or ():
                    values += batch.values
                    position = batch.next_position
        return values, position


def _source(kafka: EmbeddedKafka, **options: Any) -> KafkaSource[Any]:
    return KafkaSource(kafka.bootstrap, "in", value=Text(), **options)


def _after_a_truncation(kafka: EmbeddedKafka) -> dict[str, Position]:
    """Four records were read; an election lost the last two, and three others are there now."""
    _fill(kafka, "a", "b")
    kafka.elect("in")
    _fill(kafka, "c", "d")
    source = _source(kafka)
    values, position = asyncio.run(_read(source, dict(discovered(source)), 4))
    assert values == ["a", "b", "c", "d"]
    assert position[0] == 4
    assert position[3] == 1
    kafka.elect("in", has_upto=2)
    _fill(kafka, "x", "y", "z")
    return {"in-0": position}


def test_a_log_that_was_cut_off_and_has_grown_again_is_named_with_what_is_gone(kafka: EmbeddedKafka) -> None:
    at = _after_a_truncation(kafka)
    with pytest.raises(OffsetGoneError) as found:
        asyncio.run(_read(_source(kafka), at, 1))
    said = found.value.message
    assert "topic in, partition 0: the log was truncated: it was read to offset 4 (leader epoch 1)" in said
    assert "another one from offset 2 on (leader epoch 0): 2 offsets that were read are gone" in said


def test_out_of_range_earliest_goes_on_where_the_logs_part(kafka: EmbeddedKafka) -> None:
    at = _after_a_truncation(kafka)
    values, position = asyncio.run(_read(_source(kafka, out_of_range="earliest"), at, 3))
    assert values == ["x", "y", "z"]
    assert position[3] == 2


def test_records_that_were_fetched_and_not_given_are_fetched_again_from_the_new_leader(kafka: EmbeddedKafka) -> None:
    _fill(kafka, *"abcdef")

    async def run() -> list[str]:
        source = _source(kafka)
        async with reading(source, batch_records=1) as reader:
            values: list[str] = []
            async with asyncio.timeout(20):
                while not values:  # the first one; the others are fetched and wait
                    batches = iter(await reader.fetch() or ())
                    values += [value for batch in [next(batches, None)] if batch is not None for value in batch.values]
                await asyncio.to_thread(kafka.elect, "in", has_upto=2)
                await asyncio.to_thread(_fill, kafka, "x", "y")
                await asyncio.sleep(0.3)  # the reader's own long poll finds the new leader meanwhile
                while len(values) < 4:
                    for batch in await reader.fetch() or ():
                        values += batch.values
            return values

    assert asyncio.run(run()) == ["a", "b", "x", "y"]


def test_other_leaders_of_the_same_log_change_nothing(kafka: EmbeddedKafka) -> None:
    async def run() -> list[str]:
        async with reading(_source(kafka)) as reader:
            values = []
            for number in range(6):
                await asyncio.to_thread(_fill, kafka, str(number))
                values += await values_until(reader, 1)
                await asyncio.to_thread(kafka.elect, "in")
            return values

    assert asyncio.run(run()) == [str(number) for number in range(6)]


def test_a_position_without_a_leader_epoch_is_read_from_as_before(kafka: EmbeddedKafka) -> None:
    at = _after_a_truncation(kafka)
    assert asyncio.run(_read(_source(kafka), {"in-0": at["in-0"][:3]}, 1))[0] == ["z"]


def test_a_topic_that_is_created_again_between_two_fetches_gives_none_of_its_records(kafka: EmbeddedKafka) -> None:
    _fill(kafka, "a", "b")

    async def run() -> None:
        async with reading(_source(kafka)) as reader:
            assert await values_until(reader, 2) == ["a", "b"]
            await asyncio.to_thread(_replace, kafka)
            async with asyncio.timeout(20):
                while True:
                    for batch in await reader.fetch() or ():
                        assert not batch.values

    began = time.monotonic()
    with pytest.raises(TopicReplacedError, match="topic in was deleted and created again"):
        asyncio.run(run())
    assert time.monotonic() - began < 5  # the fetch says so, and nobody waits for the next look at the topic


def _replace(kafka: EmbeddedKafka) -> None:
    kafka.delete_topic("in")
    kafka.create_topic("in")
    _fill(kafka, "new a", "new b", "new c")


def test_a_transaction_that_holds_records_back_is_told_with_their_number(
    kafka: EmbeddedKafka, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlet_connectors.kafka.reading.held_back.LONG_SECONDS", 0.2)
    monkeypatch.setattr("streamlet_connectors.kafka.reading.leaders._LOOK_SECONDS", 0.05)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "open", "log_level": 0})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("in", "inside")
    producer.flush(10)
    _fill(kafka, *"abcd")

    async def run() -> None:
        async with reading(_source(kafka)) as reader:
            assert await reader.fetch() == []
            async with asyncio.timeout(20):
                while "holds back" not in caplog.text:
                    assert await reader.fetch() == []
            assert reader.lag() == {"in-0": 5}
            await asyncio.to_thread(producer.commit_transaction, 10)
            assert await values_until(reader, 5) == ["inside", *"abcd"]
            async with asyncio.timeout(20):
                while "has ended" not in caplog.text:
                    await reader.fetch()
            assert reader.lag() == {"in-0": 0}

    with caplog.at_level(logging.WARNING, "streamlet.kafka"):
        asyncio.run(run())
    assert "topic in, partition 0: an open transaction holds back 5 offsets (from offset 0 on), for 0 s" in caplog.text
