"""A slow keyed function, of which checkpoints have what waits: killed at random times, its counts are exact."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, JobHome, RunningJob, a_home, a_seed, is_full_run
from tests.recovery.test_worker_kills import until_all_are_gone, workers_of

pytestmark = pytest.mark.timeout(300)

JOB = PROJECT / "tests" / "recovery" / "slow_counting.py"
COUNT, KEYS, FANS = 60, 20, 5  # as in the job
KILLS = 20 if is_full_run() else 4
SHAPES = ((3, 2), (1, 1), (4, 2), (2, 2))
"""Subtasks and processes, another one after each kill."""


def _start(home: JobHome, number: int) -> RunningJob:
    parallelism, processes = SHAPES[number % len(SHAPES)]
    return home.start("--parallelism", str(parallelism), "--processes", str(processes))


def test_counts_behind_a_slow_function_are_exact_though_it_is_killed_and_goes_on_in_other_shapes(
    tmp_path: Path,
) -> None:
    chance = random.Random(a_seed())
    with a_home(JOB, tmp_path, {"COUNT": str(COUNT), "KEYS": str(KEYS)}) as home:
        for number in range(KILLS):
            job = _start(home, number)
            job.wait_until(lambda job=job: job.has_restored or job.has_ended, "it runs")  # type: ignore[misc]
            time.sleep(chance.uniform(0.2, 0.9))
            workers = workers_of(job) if not job.has_ended else []
            if job.has_ended:
                break
            if number % 2 and workers:  # the job goes on by itself, until it is killed as a whole
                os.kill(chance.choice(workers), signal.SIGKILL)
                time.sleep(chance.uniform(0.2, 0.6))
                workers = workers_of(job) if not job.has_ended else []
            job.kill()
            until_all_are_gone(workers)
        last = _start(home, KILLS)
        assert last.wait() == 0, last.said
        check_counts(home.state_dir / "out", (number * 7919 % KEYS for number in range(COUNT * FANS)), key="key")
