"""Ctrl-C while a function of the job does not return: the first says what it waits for, the second ends the process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.recovery.running_jobs import PROJECT, RunningJob, a_home

pytestmark = pytest.mark.timeout(60)

BLOCKING = PROJECT / "tests" / "recovery" / "blocking_ways.py"
AT_ONCE_SECONDS = 3.0
"""One second, and what a machine that does other things takes in between."""


def line_of(text: str, number: int = 0) -> int:
    return [line for line, found in enumerate(BLOCKING.read_text().splitlines(), 1) if text in found][number]


def end_at_once(job: RunningJob) -> int:
    begun = time.monotonic()
    job.send(signal.SIGINT)
    code = job.wait()
    assert time.monotonic() - begun < AT_ONCE_SECONDS, job.said
    return code


@pytest.mark.parametrize(
    ("way", "place"),
    [
        ("sleep", f"{line_of('time.sleep(3600)')} in block"),
        ("swallow", f"{line_of('time.sleep(3600)', 1)} in block"),
        ("async", f"{line_of('time.sleep(3600)', 2)} in waiting"),
    ],
)
def test_an_interrupt_names_the_function_that_it_waits_for_and_the_next_ends_the_process(
    tmp_path: Path, way: str, place: str
) -> None:
    with a_home(BLOCKING, tmp_path, {"WAY": way}) as home:
        job = home.start()
        job.wait_until((tmp_path / "blocks").exists, "it blocks")
        job.send(signal.SIGINT)
        job.wait_until_it_says(f"stopping as soon as {BLOCKING}:{place} returns")
        assert end_at_once(job) == 130, job.said


def test_a_function_in_a_worker_process_is_named_and_the_worker_ends_with_the_job(tmp_path: Path) -> None:
    with a_home(BLOCKING, tmp_path, {"WAY": "sleep"}) as home:
        job = home.start("--processes", "2", "--parallelism", "2")
        job.wait_until((tmp_path / "blocks").exists, "it blocks")
        workers = children_of(job.pid)
        job.send(signal.SIGINT)
        job.wait_until_it_says("stopping with a last checkpoint")
        job.wait_until_it_says(f"stopping as soon as {BLOCKING}:{line_of('time.sleep(3600)')} in block returns")
        assert end_at_once(job) == 130, job.said
        assert len(workers) == 2
        deadline = time.monotonic() + AT_ONCE_SECONDS
        while any(is_alive(pid) for pid in workers):
            assert time.monotonic() < deadline, "workers live on"
            time.sleep(0.01)


def test_a_thread_of_a_function_that_does_not_end_is_told_and_the_next_interrupt_ends_the_process(
    tmp_path: Path,
) -> None:
    with a_home(BLOCKING, tmp_path, {"WAY": "thread"}) as home:
        job = home.start()
        job.wait_until((tmp_path / "blocks").exists, "it blocks")
        job.send(signal.SIGINT)
        job.wait_until_it_says("still stopping, as soon as threads of the job have ended")
        assert "blocking: stopped" in job.said
        assert end_at_once(job) == 130, job.said


def test_the_second_interrupt_ends_a_process_whose_interpreter_gives_no_thread_a_turn(tmp_path: Path) -> None:
    with a_home(BLOCKING, tmp_path, {"WAY": "lock"}) as home:
        job = home.start()
        job.wait_until((tmp_path / "blocks").exists, "it blocks")
        job.send(signal.SIGINT)
        job.wait_until(lambda: not is_pending(job.pid, signal.SIGINT), "the first has come")
        assert end_at_once(job) in (130, -signal.SIGINT), job.said


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in task.joinpath("children").read_text().split()
    ]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_pending(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in pending)
