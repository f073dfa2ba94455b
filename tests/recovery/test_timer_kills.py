"""Timers of both kinds survive kill -9: each fires once, in its order, whatever was killed when."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.recovery.part_files import hidden_files, part_files
from tests.recovery.running_jobs import PROJECT, JobHome, a_home, is_full_run

pytestmark = pytest.mark.timeout(240)

TIMING = PROJECT / "tests" / "recovery" / "timing.py"
KEYS, COUNT = 50, 12_000
SETTINGS = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "6000"}
KILLS = 30 if is_full_run() else 3


def _check(folder: Path) -> None:
    seen: dict[tuple[str, int], list[int]] = defaultdict(list)
    for path in part_files(folder):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)
            seen[record["domain"], record["key"]].append(record["number"])
    for key in range(KEYS):
        numbers = list(range(key, COUNT, KEYS))
        assert seen["processing", key] == numbers
        assert seen["event", key] == [number for number in numbers if number % 7 or number == numbers[-1]]
    assert len(seen) == 2 * KEYS
    assert hidden_files(folder) == []


def _kill_when_more_is_visible(home: JobHome) -> bool:
    """False when the job was quicker."""
    out = home.state_dir / "out"
    known = len(part_files(out)) if out.exists() else 0
    job = home.start()
    job.wait_until(lambda: job.has_ended or (out.exists() and len(part_files(out)) >= known + 2), "more is visible")
    if job.has_ended:
        return False
    job.kill()
    return True


def test_each_timer_fires_once_however_often_the_job_is_killed(tmp_path: Path) -> None:
    with a_home(TIMING, tmp_path, SETTINGS) as home:
        kills = 0
        while kills < KILLS and _kill_when_more_is_visible(home):
            kills += 1
        assert kills > 1
        job = home.start()
        assert job.wait() == 0, job.said
        _check(tmp_path / "out")


@pytest.mark.parametrize("fault", ["before_manifest@4", "after_manifest_durable@4", "file_committed@3"])
def test_each_timer_fires_once_after_a_kill_at_a_named_instant(fault: str, tmp_path: Path) -> None:
    with a_home(TIMING, tmp_path, SETTINGS) as home:
        home.start(fault=fault).wait_until_killed()
        job = home.start("--parallelism", "2")
        assert job.wait() == 0, job.said
        _check(tmp_path / "out")
