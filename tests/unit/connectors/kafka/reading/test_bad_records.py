"""Kafka records that cannot be decoded, given beside the stream: each once, as it lay in the topic."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamlet import Json, OutputTag, Restart, WatermarkStrategy
from streamlet.errors import JobDefinitionError
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.files import FileSink
from streamlet_connectors.kafka import BadRecord, KafkaSource
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.reading.decoding import Decoder
from streamlet_connectors.kafka.reading.partition_fetch import FetchLimits, PartitionFetch
from streamlet_connectors.kafka.reading.reader import KafkaReader, ReadingOptions
from tests.kafka.source_driving import reader_context
from tests.unit.connectors.kafka.reading.test_source_records import _rows
from tests.unit.job_kit import Failing, lines, make_job, run

BAD = OutputTag[BadRecord]("bad")
COUNT = 200


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"numbers": 2}) as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        for number in range(COUNT):
            producer.produce(
                "numbers", key=str(number), value=_value(number), partition=number % 2, headers={"h": b"x"}
            )
        assert not producer.flush(30)
        yield kafka


def _is_bad(number: int) -> bool:
    return number % 10 in (3, 4, 5) or 50 <= number < 70


def _value(number: int) -> bytes:
    return b"\xff{%d" % number if _is_bad(number) else b"%d" % number


@pytest.mark.parametrize("is_timed", [False, True])
def test_each_bad_record_is_given_once_as_it_is_over_a_restart(
    is_timed: bool, kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    job = make_job(tmp_path, restart=Restart.fixed(timedelta(milliseconds=1), attempts=3), batch_records=7)
    source = KafkaSource(kafka.bootstrap, "numbers", value=Json(int), stop="latest", on_bad_record=BAD)
    times = WatermarkStrategy[int].monotonic().with_timestamps(lambda number: number) if is_timed else None
    numbers = job.source(source, uid="numbers", watermarks=times)
    failing = Failing(120)
    numbers.map(failing, uid="failing").sink(FileSink(tmp_path / "out"), uid="out")
    numbers.side_output(BAD).sink(FileSink(tmp_path / "bad"), uid="bad")
    ran = run(job)
    assert ran.code == 0, ran
    assert failing.failures == 1
    assert sorted(lines(tmp_path / "out")) == [number for number in range(COUNT) if not _is_bad(number)]
    letters = lines(tmp_path / "bad")
    for letter in letters:
        assert letter.pop("message").startswith("not JSON of int: ")
        assert letter.pop("timestamp") > 0
    assert sorted(letters, key=lambda one: (one["offset"], one["partition"])) == [
        {
            "topic": "numbers",
            "partition": number % 2,
            "offset": number // 2,
            "key": base64.b64encode(b"%d" % number).decode(),
            "value": base64.b64encode(_value(number)).decode(),
            "headers": [["h", base64.b64encode(b"x").decode()]],
            "error": "DecodeError",
        }
        for number in range(COUNT)
        if _is_bad(number)
    ]


@pytest.mark.parametrize("null_values", ["fail", "skip", "pass"])
def test_the_position_of_each_batch_is_behind_its_own_records(null_values: str) -> None:
    """For every column of five rows out of good, bad and null."""
    for column in itertools.product([b"1", b"{", None], repeat=5):
        decoder = Decoder(Json(), null_values=null_values, on_bad_record=BAD)  # type: ignore[arg-type]
        options = ReadingOptions(isolation=1, out_of_range="fail", group=None, timestamps=True, limits=FetchLimits())
        reader = KafkaReader(
            KafkaOptions.of("localhost:1", {}, where="test"), options, decoder, reader_context(), {}, bounded=True
        )
        part = PartitionFetch("t-0", "t", 0, 0, "id", None)
        part.given = 5
        stop = column.index(None) if null_values == "fail" and None in column else 5
        if stop == 0:
            continue
        at = 0
        for batch in reader._cut(part, _rows(*column)):
            behind, _, _ = batch.next_position
            kinds = [one for one in column[at:behind] if one is not None or null_values == "pass"]
            assert len(batch) == len(kinds), column
            assert all((one == b"{") == (batch.tag is BAD) for one in kinds), column
            at = behind
        assert at == stop
        assert (reader._failure is not None) == (stop < 5)


def test_a_source_has_only_the_side_outputs_that_it_says(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    numbers = job.source(KafkaSource("localhost:1", "numbers", value=Json(int), on_bad_record=BAD), uid="numbers")
    with pytest.raises(JobDefinitionError, match="is not a side output of source 'numbers'"):
        numbers.side_output(OutputTag[int]("other"))
