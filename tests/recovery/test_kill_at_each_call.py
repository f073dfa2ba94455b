"""A job from generator to files that is killed right before each fsync, rename and link writes every line once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, JobHome, a_home, is_full_run

pytestmark = pytest.mark.timeout(900 if is_full_run() else 120)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 1000, 120_000 if is_full_run() else 60_000
SETTINGS = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "20000"}
WALKS = [("fsync", 60), ("rename", 30), ("link", 8)] if is_full_run() else [("fsync", 10), ("rename", 5), ("link", 2)]


def kill_before(home: JobHome, call: str, number: int) -> None:
    home.start(main="tests.recovery.kill_at_each", KILL_AT=f"{call}@{number}").wait_until_killed()


def finish(home: JobHome) -> None:
    job = home.start(RATE="200000")
    assert job.wait() == 0, job.said
    check_counts(home.state_dir / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")


@pytest.mark.parametrize(("call", "calls"), WALKS)
def test_one_life_after_another_each_killed_one_call_later(tmp_path: Path, call: str, calls: int) -> None:
    """Each life finds what the one before it left half done."""
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        for number in range(1, calls + 1):
            kill_before(home, call, number)
        finish(home)


def test_a_first_life_that_is_killed_before_a_call(tmp_path: Path) -> None:
    every = [(call, number) for call, calls in WALKS for number in range(1, calls + 1)]
    for call, number in every if is_full_run() else every[-1:]:
        with a_home(COUNTING, tmp_path / f"{call}-{number}", SETTINGS) as home:
            kill_before(home, call, number)
            finish(home)
