"""A job from generator to files that is killed anywhere leaves the lines of one that never was, and nothing else."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, JobHome, a_home, a_seed, is_full_run

pytestmark = pytest.mark.timeout(240)

QUICKSTART = PROJECT / "examples" / "quickstart.py"
COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 1000, 30_000
SETTINGS = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "30000"}
KILLS = 20 if is_full_run() else 5


def finish(home: JobHome) -> None:
    job = home.start()
    assert job.wait() == 0, job.said
    check_counts(home.state_dir / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")


def test_the_quickstart_writes_every_line_once_after_random_kills(tmp_path: Path) -> None:
    chance = random.Random(a_seed())
    with a_home(QUICKSTART, tmp_path) as home:
        kills = 0
        while kills < KILLS:
            job = home.start("--checkpoint-interval", "150ms")
            time.sleep(chance.uniform(0.2, 1.2))
            if job.has_ended:
                break  # it was quicker than the kills
            job.kill()
            kills += 1
        job = home.start("--checkpoint-interval", "150ms")
        assert job.wait() == 0, job.said
        check_counts(tmp_path / "out", (f"/page/{number * number % 7}" for number in range(300_000)), key="page")
        print(f"{kills} kills")


@pytest.mark.parametrize(
    "fault",
    [
        "file_prepared",
        "file_prepared@3",
        "before_manifest@3",
        "after_manifest_written@3",
        "after_manifest_renamed@3",
        "after_manifest_durable@3",
        "file_committed",
        "file_committed@3",
        "before_marker@3",
        "after_marker@3",
        "during_release@2",
    ],
)
def test_a_kill_at_a_named_instant_leaves_every_line_once(tmp_path: Path, fault: str) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        home.start(fault=fault).wait_until_killed()
        finish(home)


@pytest.mark.parametrize("second", ["before_settling", "file_committed", "after_settling", "during_restore"])
def test_a_second_kill_while_the_first_is_settled_leaves_every_line_once(tmp_path: Path, second: str) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        home.start(fault="after_manifest_durable@4").wait_until_killed()
        home.start(fault=second).wait_until_killed()
        finish(home)


def test_three_subtasks_after_one_and_before_two_leave_every_line_once(tmp_path: Path) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        home.start(fault="after_manifest_durable@4").wait_until_killed()
        home.start("--parallelism", "3", fault="file_committed@5").wait_until_killed()
        home.start("--parallelism", "2", fault="during_restore").wait_until_killed()
        home.start("--parallelism", "2", fault="before_manifest").wait_until_killed()
        job = home.start("--parallelism", "2")
        assert job.wait() == 0, job.said
        check_counts(tmp_path / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")
