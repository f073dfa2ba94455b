"""A job that is killed at random times, and whose broker is too, has the output of one that never was."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka.broker import Kafka, KafkaBroker
from tests.recovery.running_jobs import RunningJob, a_seed, is_full_run
from tests.recovery.spending import QUICK, Feeder, Spending, Witness, a_spending, a_witness

RECORDS, KILLS, BROKER_KILLS = (300_000, 20, 5) if is_full_run() else (60_000, 4, 2)
LONGEST_LIFE_SECONDS = 3.0
_PORTION = 2_000

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900 if is_full_run() else 240)]


class Campaign:
    """Lives of random length, each ended by SIGKILL, while the input goes on coming."""

    def __init__(self, spending: Spending, witness: Witness, *options: str) -> None:
        self._spending, self._witness, self._options = spending, witness, options
        self._random = random.Random(a_seed())
        self.restart_to_output: list[float] = []
        self.kills = 0

    def start(self) -> RunningJob:
        return self._spending.home.start(*QUICK, *self._options)

    def live(self, job: RunningJob) -> None:
        """Lets the job run for a random time."""
        life = self._random.uniform(0.1, LONGEST_LIFE_SECONDS)
        first = self._witness.look_until(time.monotonic() + life)
        if first is not None:
            self.restart_to_output.append(first - job.started)

    def kill_job(self) -> None:
        job = self.start()
        self.live(job)
        job.kill()
        self.kills += 1

    def kill_broker(self, broker: KafkaBroker) -> None:
        """The job is left running: it must come through by itself."""
        job = self.start()
        self.live(job)
        broker.kill()
        time.sleep(self._random.uniform(0, 1))
        broker.start()
        self.live(job)
        job.kill()
        self.kills += 1

    def end(self) -> None:
        job = self.start()
        total = len(self._spending.fed)
        job.wait_until(lambda: self._witness.look(0.05) >= total, f"{total} records are committed")
        self.restart_to_output.append(self._witness.last_at - job.started)
        assert job.stop() == 0, job.said
        self._spending.check()

    def describe(self, seconds: float) -> str:
        waits = self.restart_to_output
        return (
            f"{len(self._spending.fed)} records, {self.kills} kills of the job, {seconds:.1f} s; start to output: "
            f"median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s"
        )


def feed_over(spending: Spending, kills: int) -> Feeder:
    expected_seconds = (kills + 1) * LONGEST_LIFE_SECONDS / 2
    return Feeder(spending.feed, RECORDS, _PORTION, RECORDS / expected_seconds)


@pytest.mark.parametrize("parallelism", [1, 3])
def test_output_is_exact_after_random_kills_of_the_job(kafka: Kafka, tmp_path: Path, parallelism: int) -> None:
    began = time.monotonic()
    with a_spending(kafka, tmp_path, users=500) as spending, a_witness(kafka, spending.out_topic) as witness:
        campaign = Campaign(spending, witness, "--parallelism", str(parallelism))
        feeder = feed_over(spending, KILLS)
        for _ in range(KILLS):
            campaign.kill_job()
        feeder.finish()
        campaign.end()
        print(campaign.describe(time.monotonic() - began))


def test_output_is_exact_after_random_kills_of_job_and_broker(
    kafka_broker_factory: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    broker = kafka_broker_factory()
    began = time.monotonic()
    with (
        a_spending(broker, tmp_path, users=500, outages=True) as spending,
        a_witness(broker, spending.out_topic) as witness,
    ):
        campaign = Campaign(spending, witness)
        feeder = feed_over(spending, KILLS)
        for number in range(KILLS):
            if number % (KILLS // BROKER_KILLS) == 0 and number // (KILLS // BROKER_KILLS) < BROKER_KILLS:
                campaign.kill_broker(broker)
            else:
                campaign.kill_job()
        feeder.finish()
        campaign.end()
        print(f"{campaign.describe(time.monotonic() - began)}; {BROKER_KILLS} kills of the broker")
