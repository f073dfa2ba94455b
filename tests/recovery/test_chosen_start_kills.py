"""A start with `--from ID` that is killed at any durable step has chosen, or has not: nothing in between."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.recovery.part_files import part_files
from tests.recovery.running_jobs import PROJECT, JobHome, a_home, is_full_run

pytestmark = pytest.mark.timeout(180)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 100, 10_000
SETTINGS = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "12000", "RETAIN": "50"}

FIRST = ["after_manifest_durable@6", *(["before_manifest@6"] if is_full_run() else [])]
BEFORE = ["after_attempt_begun", "before_settling", "after_settling", "before_manifest", "after_manifest_written"]
BEHIND = ["after_manifest_renamed", "after_manifest_durable", "after_start_checkpoint", "during_restore"]


def counts(home: JobHome) -> dict[int, list[int]]:
    """What was written of each key, in order."""
    seen: dict[int, list[int]] = defaultdict(list)
    for path in part_files(home.state_dir / "out"):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)
            seen[record["key"]].append(record["count"])
    return seen


def a_middle_checkpoint(home: JobHome) -> int:
    """A checkpoint that is neither the first nor the newest marked one."""
    marked = [
        info.id for info in CheckpointStorage(home.state_dir, "counting", LocalDisk()).checkpoints() if info.is_marked
    ]
    return marked[len(marked) // 2]


def kill_twice(home: JobHome, first: str, second: str) -> int:
    """A kill in the middle of work, then one of a start that goes back; gives the checkpoint that it chose."""
    home.start(fault=first).wait_until_killed()
    chosen = a_middle_checkpoint(home)
    home.start("--from", str(chosen), fault=second).wait_until_killed()
    return chosen


def check(home: JobHome, *, went_back: bool) -> None:
    """Every key has its counts 1..n; where the job went back, it went back once, and what follows is there again."""
    wanted = COUNT // KEYS
    for key, seen in counts(home).items():
        falls = [at for at in range(1, len(seen)) if seen[at] <= seen[at - 1]]
        assert len(falls) <= went_back, f"key {key}: {seen}"
        runs = [seen[start:end] for start, end in zip([0, *falls], [*falls, len(seen)], strict=True)]
        assert all(run == list(range(run[0], run[-1] + 1)) for run in runs), f"key {key}: {seen}"
        assert (runs[0][0], runs[-1][-1]) == (1, wanted), f"key {key}: {seen}"
    assert len(counts(home)) == KEYS


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("second", BEFORE)
def test_a_choice_that_was_not_pinned_is_forgotten_and_costs_nothing(tmp_path: Path, first: str, second: str) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        kill_twice(home, first, second)
        following = home.start()
        assert following.wait() == 0, following.said
        check(home, went_back=False)


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("second", BEHIND)
def test_a_choice_that_was_pinned_holds_for_the_next_start(tmp_path: Path, first: str, second: str) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        chosen = kill_twice(home, first, second)
        newest = CheckpointStorage(home.state_dir, "counting", LocalDisk()).checkpoints()[-1]
        assert newest.manifest is not None
        assert (newest.manifest.kind, newest.manifest.parent, newest.is_marked) == ("start", chosen, True)
        following = home.start()
        assert following.wait() == 0, following.said
        assert f"restored checkpoint {newest.id} " in following.said
        check(home, went_back=True)


@pytest.mark.parametrize("second", ["after_settling", "after_start_checkpoint"])
def test_the_same_choice_again_after_the_kill_is_taken(tmp_path: Path, second: str) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        chosen = kill_twice(home, "after_manifest_durable@6", second)
        following = home.start("--from", str(chosen))
        assert following.wait() == 0, following.said
        assert f"restored checkpoint {chosen} " in following.said
        check(home, went_back=True)
