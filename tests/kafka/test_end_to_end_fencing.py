"""What a killed attempt left open is ended by the next that has its sink; attempts that wrote nothing cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.kafka.writing.transaction_pool import POOL_SIZE
from tests.kafka.sink_driving import visible_now
from tests.recovery.running_jobs import JobHome, RunningJob, a_home

pytestmark = pytest.mark.timeout(120)

JOB = """
import os
from datetime import timedelta
from streamlet import Job, Json
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink

job = Job("fencing", checkpoint_interval=timedelta(milliseconds=200))
numbers = job.source(Generator(lambda number: number, rate_per_second=200), uid="numbers")
for topic in os.environ["TOPICS"].split():
    numbers.sink(KafkaSink(os.environ["BOOTSTRAP"], topic, value=Json()), uid=topic)
"""


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"a": 1, "b": 1}) as kafka:
        yield kafka


@pytest.fixture
def home(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[JobHome]:
    job_file = tmp_path / "job.py"
    job_file.write_text(JOB)
    with a_home(job_file, tmp_path / "state", {"BOOTSTRAP": kafka.bootstrap}) as home:
        yield home


def is_seen(kafka: EmbeddedKafka, job: RunningJob, topic: str) -> None:
    """A transaction that was left open would hide everything behind it for 900 s."""
    job.wait_until(lambda: len(visible_now(kafka.bootstrap, topic)) > 50, f"output in topic {topic} is seen")


def test_only_attempts_that_may_have_written_are_fenced(kafka: EmbeddedKafka, home: JobHome) -> None:
    home.start(fault="produce_sent", TOPICS="a").wait_until_killed()
    for fault in ("after_attempt_begun", "before_settling", "after_settling") * 2:
        home.start(fault=fault, TOPICS="a").wait_until_killed()
    before = kafka.requests("InitProducerId")
    job = home.start(TOPICS="a")
    is_seen(kafka, job, "a")
    assert job.stop() == 0, job.said
    taken = kafka.requests("InitProducerId") - before
    assert POOL_SIZE <= taken <= 2 * POOL_SIZE + 1, "those of the attempt that wrote, and its own"


@pytest.mark.parametrize("fault", ["after_opening_recorded", "during_restore", "produce_sent", "produce_sent@2"])
def test_a_kill_around_the_opening_of_writers_leaves_nothing_open(
    kafka: EmbeddedKafka, home: JobHome, fault: str
) -> None:
    for one in (fault, "produce_sent", fault):
        home.start(fault=one, TOPICS="a").wait_until_killed()
    job = home.start(TOPICS="a")
    is_seen(kafka, job, "a")
    assert job.stop() == 0, job.said


def test_what_a_sink_left_open_is_ended_when_the_job_has_that_sink_again(kafka: EmbeddedKafka, home: JobHome) -> None:
    home.start(fault="produce_sent", TOPICS="a").wait_until_killed()
    without = home.start(TOPICS="b")
    is_seen(kafka, without, "b")
    assert without.stop() == 0, without.said
    assert visible_now(kafka.bootstrap, "a") == []
    again = home.start(TOPICS="a b")
    is_seen(kafka, again, "a")
    assert again.stop() == 0, again.said
