"""What the functions of a KafkaSink give, times, and values that are None: right in the topic, or told by record."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Bytes, Json, Text, TumblingWindows, WatermarkStrategy
from streamlet.connect import Batch
from streamlet.errors import ConfigError, EncodeError
from streamlet.testing.kafka import EmbeddedKafka
from streamlet.testing.kafka.model.batches import Record
from streamlet.windows import EveryRecords
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from streamlet_connectors.kafka.protocol.codes import code_name
from streamlet_connectors.kafka.protocol.errors import AccessDeniedError
from streamlet_connectors.kafka.writing.extras import TimeLimits, header_column, time_column
from streamlet_connectors.kafka.writing.refusals import refusal
from tests.kafka.sink_driving import a_writer, fresh, prepare
from tests.unit.job_kit import Ran, make_job, run

HOUR_MS = 3_600_000


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"in": 1, "out": 1}) as kafka:
        yield kafka


def written(kafka: EmbeddedKafka, topic: str = "out") -> list[Record]:
    log = kafka.broker.topics.log(topic, 0)
    assert log is not None
    return log.committed_records()


def ran(kafka: EmbeddedKafka, folder: Path, function: Any = lambda number: {"n": number}, **options: Any) -> Ran:
    """A job that writes three records with these options of the sink."""
    job = make_job(folder)
    made = job.source(Generator(function, count=3), uid="numbers")
    made.sink(KafkaSink(kafka.bootstrap, "out", **options), uid="written")
    return run(job)


# -- functions of the sink


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            [("source", "app")],
            r"header 'source' is 'app', which is str: header values are bytes[\s\S]*'app'.encode\(\)",
        ),
        ({"n": 5}, r"header 'n' is 5, which is int: header values are bytes"),
        ({"n": True}, r"header 'n' is True, which is bool"),
        ({"n": bytearray(b"x")}, r"bytearray: header values are bytes[\s\S]*bytes\(value\)"),
        ([(b"n", b"v")], r"the name b'n' is not a str"),
        ([(None, b"v")], r"the name None is not a str"),
        ([("n",)], r"\('n',\) is no pair of a name and a value"),
        ([["n", b"v"]], r"\['n', b'v'\] is no pair"),
        ("text", r"headers are pairs of a str and bytes, but they are 'text'"),
        (5, r"headers are pairs of a str and bytes, but they are 5"),
        ([("\ud800", b"v")], r"is not text: it has half a character"),
    ],
)
def test_headers_that_kafka_cannot_hold_are_told_with_their_line(headers: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message) as caught:
        header_column(lambda row: headers if row else None, [], Batch([0, 1]))
    assert caught.value.index == 1
    assert "headers= (" in caught.value.message and "test_sink_records.py:" in caught.value.message
    with pytest.raises(ConfigError, match=message):
        KafkaSink("localhost", "out", headers=headers)


def test_a_job_whose_headers_are_wrong_stops_at_the_record(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    done = ran(kafka, tmp_path, headers=lambda value: [("source", "app")] if value["n"] == 1 else None)
    assert done.code == 1
    assert "sink 'written', topic 'out': generator, index 1: headers= (" in done.said
    assert "header values are bytes" in done.said and "b'app' or 'app'.encode()" in done.said


def test_headers_may_be_pairs_a_mapping_or_nothing(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    choices = [[("a", b"1"), ("größe", None)], {"b": b"2"}, None]
    assert ran(kafka, tmp_path, headers=lambda value: choices[value["n"]]).code == 0
    assert len(written(kafka)) == 3


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (None, "timestamp= gave None, which is NoneType"),
        ("2026", "timestamp= gave '2026', which is str"),
        (1.5, r"timestamp= gave 1.5, which is float[\s\S]*int\(value\)"),
        (True, "timestamp= gave True, which is bool"),
        (-1, "timestamp= gave -1, which Kafka cannot hold"),
        (1 << 63, "which Kafka cannot hold"),
        (datetime(2026, 1, 1), r"which is datetime[\s\S]*value.timestamp\(\) \* 1000"),
        (4_102_444_800_000, r"its time 4102444800000 ms \(2100-01-01 00:00:00 UTC\) is [\d,]+ s ahead of now, and the "
                            r"topic has message.timestamp.after.max.ms=3600000\s*-> write it with timestamp='now'"),
    ],
)  # fmt: skip
def test_a_time_that_kafka_does_not_take_is_told_with_its_line(time: Any, message: str) -> None:
    limits = TimeLimits(None, HOUR_MS)
    with pytest.raises(EncodeError, match=message) as caught:
        time_column(lambda row: time if row else 1_000, Batch([0, 1]), 1_796_000_000_000, limits)
    assert caught.value.index == 1
    assert "timestamp= (" in caught.value.message and "test_sink_records.py:" in caught.value.message


def test_a_job_whose_times_are_wrong_stops_at_the_record(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    done = ran(kafka, tmp_path, timestamp=lambda value: None if value["n"] == 1 else 1_000)
    assert done.code == 1
    assert "sink 'written', topic 'out': generator, index 1: timestamp= (" in done.said


def test_a_partition_that_is_not_there_is_told_with_line_and_record(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    done = ran(kafka, tmp_path, partition=lambda key, value, count: value["n"])
    assert done.code == 1 and "test_sink_records.py:" in done.said and "generator, index 1" in done.said
    assert "gave 1 for key None, but the topic has the partitions 0 to 0" in done.said


def test_a_record_without_key_for_a_compacted_topic_is_told(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    kafka.create_topic("out2", cleanup_policy="compact,delete")
    job = make_job(tmp_path)
    made = job.source(Generator(lambda number: number, count=3), uid="numbers")
    made.sink(KafkaSink(kafka.bootstrap, "out2", key=lambda number: None if number == 1 else "k"), uid="written")
    done = run(job)
    assert done.code == 1 and "generator, index 1" in done.said
    assert "it has no key, and the topic is compacted (cleanup.policy=compact)" in done.said


@pytest.mark.parametrize("large", [0, 1])
@pytest.mark.parametrize("key", ["stream", "k"])
def test_each_record_is_held_to_the_sinks_own_limit(large: int, key: str, kafka: EmbeddedKafka) -> None:
    """The first of a batch on its way, and those that are put behind it."""

    async def scenario() -> None:
        chosen: Any = key if key == "stream" else lambda _: key
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out", value=Text(), key=chosen, max_record_bytes=11)
        async with a_writer(sink, fresh("i"), owns_memo=True) as writer:
            await prepare(writer, ["x" * 10], key="k")
            with pytest.raises(EncodeError, match=r"has 12 bytes, but max_record_bytes of the sink is 11") as caught:
                await prepare(writer, ["x" * (11 if row == large else 1) for row in range(2)], key="k")
            assert caught.value.index == large

    asyncio.run(scenario())


# -- the time of an event


def test_early_results_of_a_window_that_is_not_over_are_written_as_now(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    job = make_job(tmp_path)
    strategy: WatermarkStrategy[Any] = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5)).with_timestamps(
        lambda e: e["at"]
    )
    source = Generator(lambda i: {"k": "a", "at": now - 60_000 + i * 1000}, count=50)
    stream = job.source(source, uid="in", watermarks=strategy)
    counts = stream.key_by(lambda e: e["k"]).window(TumblingWindows(timedelta(days=7)))
    counts.trigger(EveryRecords(10)).count(uid="w").sink(KafkaSink(kafka.bootstrap, "out", value=Json()), uid="o")
    done = run(job)
    assert done.code == 0, done
    records = written(kafka)
    assert len(records) >= 5
    assert all(now <= record.timestamp <= time.time() * 1000 for record in records)


def test_an_event_ahead_of_the_clock_or_before_1970_is_written_all_the_same(
    kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    now = int(time.time() * 1000)
    times = [now - 500, now + 2 * HOUR_MS, -86_400_000]
    job = make_job(tmp_path)
    strategy: WatermarkStrategy[Any] = WatermarkStrategy.monotonic().with_timestamps(lambda e: e["at"])
    source = job.source(Generator(lambda i: {"at": times[i]}, count=3), uid="in", watermarks=strategy)
    source.sink(KafkaSink(kafka.bootstrap, "out", value=Json()), uid="o")
    assert run(job).code == 0
    past, ahead, old = [record.timestamp for record in written(kafka)]
    assert past == now - 500 and now <= ahead <= time.time() * 1000 and old == 0


def test_a_column_of_times_in_the_past_is_taken_as_it_is() -> None:
    times = [1, 2, 3]
    assert time_column("event", Batch([0, 0, 0], times), 10, TimeLimits(None, 5)) is times


def test_an_event_that_is_too_old_for_the_topic_is_told_by_its_row() -> None:
    with pytest.raises(
        EncodeError, match=r"s behind now, and the topic has message.timestamp.before.max.ms=5"
    ) as caught:
        time_column("event", Batch([0, 0], [10_000, 1]), 10_000, TimeLimits(5, None))
    assert caught.value.index == 1


# -- what the broker refuses all the same


def test_a_refused_time_names_the_record_and_is_final(kafka: EmbeddedKafka) -> None:
    """The topic's setting is lowered while the sink writes."""

    async def scenario() -> str:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out", timestamp=lambda value: value)
        async with a_writer(sink, fresh("i")) as writer:
            topic = kafka.broker.topics.get("out")
            assert topic is not None
            topic.settings["message.timestamp.after.max.ms"] = "1000"
            with pytest.raises(EncodeError) as caught:
                await prepare(writer, [int(time.time() * 1000) + 60_000], key="red")
            assert caught.value.final
            return str(caught.value)

    said = asyncio.run(scenario())
    assert "writing to topic 'out', partition 0: the broker answered 32 INVALID_TIMESTAMP" in said
    assert "the record of key 'red', time " in said and "message.timestamp.after.max.ms=1000" in said
    assert "timestamp='now'" in said


FINAL = [17, 29, 31, 32, 35, 43, 44, 53, 76, 87]
RETRIABLE = [-1, 2, 10, 18, 45, 46, 47, 48, 49, 59, 90, 120]


@pytest.mark.parametrize("code", FINAL + RETRIABLE)
def test_a_code_for_a_batch_is_final_or_not_and_names_topic_and_remedy(code: int) -> None:
    error: Any = refusal("writing to topic 'out', partition 3", code, b"", {"cleanup.policy": "delete"}, 0)
    assert error.final is (code in FINAL)
    assert "topic 'out', partition 3" in error.message and code_name(code) in error.message
    assert error.remedy
    assert isinstance(error, AccessDeniedError) is (code in (29, 31, 53))


# -- values that are None


def test_none_is_a_deletion_and_passes_from_topic_to_topic(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    assert ran(kafka, tmp_path / "1", lambda number: None if number == 1 else number, key=lambda _: "k").code == 0
    assert [record.value for record in written(kafka)] == [b"0", None, b"2"]
    job = make_job(tmp_path / "2", name="copy")
    source = KafkaSource(kafka.bootstrap, "out", key=Text(), record="full", null_values="pass", stop="latest")
    copied = job.source(source, uid="in").key_by(lambda record: record.key).map(lambda record: record.value, uid="m")
    copied.sink(KafkaSink(kafka.bootstrap, "in", value=Json()), uid="o")
    assert run(job).code == 0
    assert [(record.key, record.value) for record in written(kafka, "in")] == [(b"k", b"0"), (b"k", None), (b"k", b"2")]


@pytest.mark.parametrize("format", [Json(), Text(), Bytes()], ids=["json", "text", "bytes"])
def test_a_column_of_nothing_but_none_is_written_by_every_format(
    format: Any, kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    assert ran(kafka, tmp_path, lambda _: None, value=format).code == 0
    assert [record.value for record in written(kafka)] == [None, None, None]


def test_none_may_be_a_value_of_the_format_instead(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    assert ran(kafka, tmp_path, lambda _: None, none_as="value").code == 0
    assert [json.loads(record.value or b"") for record in written(kafka)] == [None, None, None]
    with pytest.raises(ConfigError, match="none_as is 'nothing'"):
        KafkaSink("localhost", "out", none_as="nothing")  # type: ignore[arg-type]


def test_a_value_that_cannot_be_written_is_named_by_its_own_row_beside_none(
    kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    done = ran(kafka, tmp_path, lambda number: object() if number == 2 else None)
    assert done.code == 1 and "generator, index 2" in done.said
