"""A job in several processes: whichever of them is killed, the lines are those of a job that never was."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, SECONDS, JobHome, RunningJob, a_home, a_seed, is_full_run

pytestmark = pytest.mark.timeout(300)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 1000, 20_000
SETTINGS = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "10000"}
KILLS = 20 if is_full_run() else 3


def workers_of(job: RunningJob) -> list[int]:
    """The processes that host the job's subtasks, but for those that have ended."""
    found = []
    for text in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split():
        if is_worker(int(text)):
            found.append(int(text))
    return found


def is_worker(pid: int) -> bool:
    try:
        return b"streamlet.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_for_workers(job: RunningJob, count: int) -> None:
    job.wait_until(lambda: len(workers_of(job)) == count, f"it has {count} workers")


def until_all_are_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + SECONDS
    while left := [pid for pid in pids if is_worker(pid)]:
        assert time.monotonic() < deadline, f"workers {left} outlive their parent"
        time.sleep(0.005)


def options(processes: int) -> tuple[str, ...]:
    return "--parallelism", "3", "--processes", str(processes)


def finish(home: JobHome, processes: int) -> None:
    job = home.start(*options(processes))
    assert job.wait() == 0, job.said
    check_counts(home.state_dir / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[JobHome]:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        yield home


@pytest.mark.parametrize("processes", [2, 3])
def test_a_job_in_processes_writes_every_line_once(home: JobHome, processes: int) -> None:
    finish(home, processes)


@pytest.mark.parametrize("processes", [2, 3])
def test_workers_killed_at_random_times_cost_no_line(home: JobHome, processes: int) -> None:
    chance = random.Random(a_seed())
    job, kills = home.start(*options(processes)), 0
    job.wait_until(lambda: job.has_restored, "it runs")
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, 0.7))
        workers = workers_of(job)
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            kills += 1
    assert kills
    assert job.wait() == 0, job.said
    assert "was killed by signal 9" in job.said
    check_counts(home.state_dir / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")


def test_the_parent_killed_at_random_times_takes_its_workers_along_and_costs_no_line(home: JobHome) -> None:
    chance = random.Random(a_seed())
    for _ in range(KILLS):
        job = home.start(*options(2))
        wait_for_workers(job, 2)
        time.sleep(chance.uniform(0, 0.8))
        workers = workers_of(job)
        if job.has_ended:
            break
        job.kill()
        until_all_are_gone(workers)
    finish(home, 2)


def test_a_parent_that_dies_without_a_word_ends_workers_that_are_stopped(home: JobHome) -> None:
    job = home.start(*options(2))
    job.wait_until(lambda: job.has_restored, "it runs")
    workers = workers_of(job)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    job.kill()
    until_all_are_gone(workers)
    finish(home, 2)


def test_ctrl_c_stops_all_processes_with_a_last_checkpoint(home: JobHome) -> None:
    job = home.start(*options(2))
    job.wait_until(lambda: job.has_restored, "it runs")
    workers = workers_of(job)
    assert job.stop() == 0, job.said
    assert "stopped" in job.said
    until_all_are_gone(workers)
    finish(home, 2)


def test_a_signal_to_all_processes_stops_the_job_with_a_last_checkpoint(home: JobHome) -> None:
    job = home.start(*options(2))
    job.wait_until(lambda: job.has_restored, "it runs")
    for pid in [*workers_of(job), job.pid]:
        os.kill(pid, signal.SIGTERM)
    assert job.wait() == 0, job.said
    assert "stopped" in job.said
    finish(home, 2)


def test_the_number_of_processes_may_change_from_run_to_run(home: JobHome) -> None:
    first = home.start(*options(2), fault="after_manifest_durable@3")
    first.wait_until_killed()
    second = home.start(*options(1), fault="after_marker@3")
    second.wait_until_killed()
    finish(home, 3)


def test_an_error_in_a_worker_is_shown_as_the_jobs_own(home: JobHome, tmp_path: Path) -> None:
    job_file = tmp_path / "failing.py"
    job_file.write_text(
        "from streamlet import Job\n"
        "from streamlet.config import Restart\n"
        "from streamlet_connectors.generator import Generator\n"
        "from streamlet_connectors.print import Print\n"
        "def divide(number):\n"
        "    return 1 // (number - 3)\n"
        "job = Job('failing', parallelism=2, processes=2, restart=Restart.none())\n"
        "numbers = job.source(Generator(lambda n: n, count=10), uid='numbers')\n"
        "numbers.map(divide, uid='divide').sink(Print(), uid='out')\n"
    )
    with a_home(job_file, tmp_path / "state") as failing:
        job = failing.start()
        assert job.wait() == 1
        first = next(line for line in job.said.splitlines() if "ZeroDivisionError" in line)
        assert f"{job_file}:6 in divide: ZeroDivisionError" in first
        assert "return 1 // (number - 3)" in job.said
        assert "Traceback" not in job.said
