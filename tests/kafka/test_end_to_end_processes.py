"""A job over two processes from Kafka to Kafka, whose workers and parent are killed, has the output of one that never
was."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.recovery.running_jobs import a_seed, is_full_run
from tests.recovery.spending import QUICK, Feeder, a_spending
from tests.recovery.test_worker_kills import until_all_are_gone, workers_of

RECORDS, KILLS = (200_000, 16) if is_full_run() else (20_000, 4)
_LONGEST_LIFE_SECONDS = 2.5
OPTIONS = ("--parallelism", "2", "--processes", "2")

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600 if is_full_run() else 180)]


def test_output_is_exact_after_kills_of_workers_and_of_the_parent(kafka: Kafka, tmp_path: Path) -> None:
    chance = random.Random(a_seed())
    with a_spending(kafka, tmp_path, users=300) as spending:
        feeder = Feeder(spending.feed, RECORDS, 500, RECORDS / (KILLS * _LONGEST_LIFE_SECONDS))
        job = spending.home.start(*QUICK, *OPTIONS)
        killed = {"workers": 0, "parents": 0}
        for number in range(KILLS):
            job.wait_until(lambda: job.has_restored, "it runs")  # noqa: B023 - called here
            time.sleep(chance.uniform(0, _LONGEST_LIFE_SECONDS))
            workers = workers_of(job)
            if number % 2 == 0 and workers:
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed["workers"] += 1
            else:
                job.kill()
                killed["parents"] += 1
                until_all_are_gone(workers)
                job = spending.home.start(*QUICK, *OPTIONS)
        feeder.finish()
        spending.wait_for_output(job)
        assert job.stop() == 0, job.said
        spending.check()
        assert killed["workers"]
        print(killed)


def test_output_is_exact_over_one_process_then_two_then_one(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path, users=300) as spending:
        for options in (("--parallelism", "2"), OPTIONS):
            spending.feed(2000)
            job = spending.home.start(*QUICK, *options)
            spending.wait_for_output(job)
            job.kill()
        spending.feed(2000)
        spending.finish("--parallelism", "3")
