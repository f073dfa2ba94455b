"""Savepoints of a job that runs under load: moved away, and gone on from where nothing of their origin is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlet.inspect import open_checkpoint
from tests.recovery.running_jobs import PROJECT, JobHome, a_home
from tests.unit.cli_kit import environment

pytestmark = pytest.mark.timeout(300)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 5000, 40_000
SETTINGS = {"KEYS": str(KEYS), "RATE": "8000"}
IN_TWO = ("--parallelism", "2", "--processes", "2")
IN_THREE = ("--parallelism", "3", "--processes", "3")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[JobHome]:
    with a_home(COUNTING, tmp_path / "first", {**SETTINGS, "COUNT": str(10**9)}) as home:
        yield home


def streamlet(folder: Path, *arguments: str) -> str:
    """Runs a command to its end; gives what it wrote."""
    done = subprocess.run(
        [sys.executable, "-m", "streamlet", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def counts_of(place: Path) -> tuple[int, Counter[int]]:
    """How many numbers a checkpoint covers, and its counts."""
    with open_checkpoint(place) as checkpoint:
        positions = checkpoint.manifest.positions["numbers"].values()
        return sum(positions), Counter(dict(checkpoint["count"]["accumulator"].items()))


@pytest.mark.parametrize("stops", [False, True])
def test_a_savepoint_taken_under_load_goes_on_exactly_elsewhere(home: JobHome, tmp_path: Path, stops: bool) -> None:
    job = home.start(*IN_TWO)
    job.wait_until(lambda: len(list(home.state_dir.glob("out/part-*"))) > 20, "it has written")
    kept = tmp_path / "kept"
    if stops:
        streamlet(tmp_path, "stop", "counting", "--state-dir", str(home.state_dir), "--savepoint", str(kept))
        assert job.wait() == 0
    else:
        streamlet(tmp_path, "savepoint", "counting", "--state-dir", str(home.state_dir), "--to", str(kept))
        written = len(list(home.state_dir.glob("out/part-*")))
        job.wait_until(lambda: len(list(home.state_dir.glob("out/part-*"))) > written + 10, "it goes on")
        job.kill()
    moved = tmp_path / "another" / "place"
    moved.parent.mkdir()
    kept.rename(moved)
    shutil.rmtree(home.state_dir)

    covered, before = counts_of(moved)
    assert before.total() == covered > 0
    assert streamlet(tmp_path, "checkpoints", "verify", str(moved)).endswith(": whole\n")
    other = tmp_path / "other"
    with a_home(COUNTING, other, {**SETTINGS, "RATE": "100000", "COUNT": str(covered + COUNT)}) as one:
        again = one.start(*IN_THREE, "--from", str(moved))
        assert again.wait() == 0, again.said
        expected = Counter(number * 7919 % KEYS for number in range(covered + COUNT))
        lines: dict[int, list[int]] = defaultdict(list)
        for path in one.state_dir.glob("out/part-*"):
            for line in map(json.loads, path.read_text().splitlines()):
                lines[line["key"]].append(line["count"])
        for key, count in expected.items():
            assert sorted(lines[key]) == list(range(before[key] + 1, count + 1)), f"key {key}"
        assert counts_of(one.state_dir / "counting")[1] == expected
