"""A broker that is away for longer than every patience of the job: the job waits, says so, and is back by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from streamlet.testing.kafka import EmbeddedKafka
from tests.kafka.broker import Kafka, KafkaBroker
from tests.recovery.running_jobs import PROJECT, RunningJob
from tests.recovery.spending import Spending, a_spending

pytestmark = pytest.mark.timeout(180)

JOB = PROJECT / "tests" / "recovery" / "outlasting.py"
RECORDS = 300
MORE_LINES_THAN_STATES = 25


class InMemory(Kafka):
    """The embedded broker, in the words of the others."""

    def __init__(self, broker: EmbeddedKafka) -> None:
        super().__init__(broker.bootstrap)


def run_over_an_outage(spending: Spending, away: Callable[[], AbstractContextManager[object]], said: str) -> RunningJob:
    """Takes the broker away, with output that is decided and not committed, until the job has said something."""
    job = spending.home.start(fault="after_manifest_durable@4", stops=True)
    spending.feed_until_it_stands(job)
    with away():
        job.send(signal.SIGCONT)
        job.wait_until_it_says(said)
    spending.feed(RECORDS)
    spending.wait_for_output(job)
    assert job.stop() == 0, job.said
    spending.check()
    return job


def check_what_it_said(job: RunningJob, bootstrap: str) -> None:
    said = job.said.splitlines()
    assert len(said) <= MORE_LINES_THAN_STATES, job.said
    cluster = f"Kafka at {bootstrap}"
    assert [line for line in said if line.startswith(f"warning: {cluster} does not answer: ")], job.said
    assert [line for line in said if line.startswith(f"warning: {cluster} answers again, after ")], job.said


@pytest.mark.kafka
def test_a_job_outlasts_a_broker_that_is_away_for_longer_than_its_transactions_may_wait(
    kafka_broker_factory: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    broker = kafka_broker_factory()

    @contextmanager
    def away() -> Iterator[None]:
        broker.kill()
        yield
        broker.start()

    with a_spending(broker, tmp_path, JOB, outages=True) as spending:
        job = run_over_an_outage(spending, away, f", unhealthy: Kafka at {broker.bootstrap} has not answered for ")
        check_what_it_said(job, broker.bootstrap)


def test_a_job_outlasts_an_outage_of_a_simulated_broker(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker, a_spending(InMemory(broker), tmp_path, JOB, outages=True) as spending:
        job = run_over_an_outage(spending, broker.down, "restart 1 in ")
        check_what_it_said(job, broker.bootstrap)


def test_an_outage_while_nothing_is_read_or_written_is_said_too(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker, a_spending(InMemory(broker), tmp_path, JOB, outages=True) as spending:
        job = spending.home.start()
        spending.feed(RECORDS)
        spending.wait_for_output(job)
        with broker.down():
            job.wait_until_it_says(f"Kafka at {broker.bootstrap} does not answer")
        job.wait_until_it_says("answers again")
        assert job.stop() == 0, job.said
        spending.check()
