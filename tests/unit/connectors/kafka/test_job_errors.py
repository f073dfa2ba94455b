"""What goes wrong with one record between two topics names that record: topic, partition and offset."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet import Json
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from tests.kafka.sink_driving import fresh, write_and_commit
from tests.unit.job_kit import Ran, make_job, run

BAD = 7


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"in": 1, "out": 2}) as kafka:
        asyncio.run(write_and_commit(kafka.bootstrap, "in", fresh("i"), range(10)))
        yield kafka


def ran(kafka: EmbeddedKafka, folder: Path, function: Callable[[int], Any], *, key: Any = None) -> Ran:
    """A job that maps what is in the one topic and writes it to the other."""
    job = make_job(folder)
    mapped = job.source(KafkaSource(kafka.bootstrap, "in", value=Json(int)), uid="in").map(function, uid="mapped")
    mapped.sink(KafkaSink(kafka.bootstrap, "out", value=Json(), key=key), uid="written")
    done = run(job)
    assert done.code == 1, done
    return done


def test_a_value_that_the_sink_cannot_encode_is_named(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    said = ran(kafka, tmp_path, lambda number: object() if number == BAD else number).said
    assert "sink 'written', topic 'out': topic in, partition 0, offset 7: cannot be written as JSON" in said


def test_a_record_that_is_larger_than_the_topic_takes_is_named(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    said = ran(kafka, tmp_path, lambda number: "x" * 2_000_000 if number == BAD else number).said
    assert "sink 'written', topic 'out': topic in, partition 0, offset 7: the record without key for partition" in said
    assert "bytes, but max.message.bytes of topic 'out' is 1048588" in said
    assert "raise max.message.bytes of the topic" in said
    assert "xxx" not in said


def test_a_key_that_the_sink_cannot_encode_is_named(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    said = ran(kafka, tmp_path, int, key=lambda number: object() if number == BAD else "k").said
    assert "sink 'written', topic 'out': topic in, partition 0, offset 7: the key " in said


def test_a_function_of_the_sink_that_raises_is_told_with_the_record_and_shows_none(
    kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    said = ran(kafka, tmp_path, int, key=lambda number: str(1 // (number - BAD))).said
    assert "the function key= of a KafkaSink" in said and "ZeroDivisionError" in said
    assert "record: topic in, partition 0, offset 7" in said


def test_a_function_that_raises_behind_the_source_is_told_with_the_record(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    said = ran(kafka, tmp_path, lambda number: json.dumps(1 // (number - BAD))).said
    assert "ZeroDivisionError" in said and "test_job_errors.py" in said
    assert "map 'mapped'" in said and "record: topic in, partition 0, offset 7" in said
