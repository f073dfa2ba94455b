"""Savepoints of a job that runs under load: moved away, and gone on from where nothing of their origin is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
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


NOBODY = 65534


def as_another_user() -> list[str]:
    """What stands before a command to have another user run it, who may read everything, for Python may lie in a home,
    and may write what is his own.  Nothing, where the system does not let a process become another user: run the tests
    as root for it, with all its capabilities."""
    right = "+dac_read_search"
    options = f"--reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps={right} --ambient-caps={right}"
    user = ["setpriv", *options.split()]
    try:
        tried = subprocess.run([*user, sys.executable, "-c", ""], capture_output=True, check=False)
    except OSError:
        return []
    return user if tried.returncode == 0 else []


def hand_over(folder: Path) -> None:
    """Gives a folder and all in it to that user."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that every user may enter, as none of pytest's is."""
    with tempfile.TemporaryDirectory(prefix="streamlet-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("stops", [False, True])
def test_a_savepoint_taken_under_load_goes_on_exactly_elsewhere(
    home: JobHome, tmp_path: Path, common: Path, stops: bool
) -> None:
    """Moved and started by its own user; or copied to, and started by, another one."""
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
    moved = common / "another" / "place"
    moved.parent.mkdir()
    shutil.copytree(kept, moved)
    shutil.rmtree(kept)
    shutil.rmtree(home.state_dir)

    covered, before = counts_of(moved)
    assert before.total() == covered > 0
    assert streamlet(tmp_path, "checkpoints", "verify", str(moved)).endswith(": whole\n")
    other = common / "other"
    other.mkdir()
    user = as_another_user() if stops else []
    for folder in (moved, other) if user else ():
        hand_over(folder)
    settings = {**SETTINGS, "RATE": "100000", "COUNT": str(covered + COUNT)}
    command = ["run", str(COUNTING), "--state-dir", str(other), *IN_THREE, "--from", str(moved)]
    again = subprocess.run(
        [*user, sys.executable, "-m", "streamlet", *command],
        cwd=other,
        env=environment() | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    owners = {path.stat().st_uid for path in other.rglob("*")}
    assert owners == {NOBODY if user else os.geteuid()}
    expected = Counter(number * 7919 % KEYS for number in range(covered + COUNT))
    lines: dict[int, list[int]] = defaultdict(list)
    for path in other.glob("out/part-*"):
        for line in map(json.loads, path.read_text().splitlines()):
            lines[line["key"]].append(line["count"])
    for key, count in expected.items():
        assert sorted(lines[key]) == list(range(before[key] + 1, count + 1)), f"key {key}"
    assert counts_of(other / "counting")[1] == expected


def test_another_user_may_ask_nothing_of_a_running_job(home: JobHome) -> None:
    """Its folder is closed to him; who may read it all the same is refused by the system's word of who he is."""
    job = home.start()
    job.wait_until(lambda: job.has_restored, "it runs")
    user = as_another_user()
    for command in ("status", "savepoint", "stop"):
        asked = subprocess.run(
            [*user, sys.executable, "-m", "streamlet", command, "counting", "--state-dir", home.state_dir],
            cwd=home.state_dir,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if user:
            said = f"job 'counting': this job belongs to user 0; user {NOBODY} may not ask anything of it\n"
            assert asked.stderr == f"streamlet: {said}  -> ask as the user who runs the job\n"
        assert asked.returncode == (2 if user else 0), asked.stderr
    if user:
        assert not job.has_ended
    else:
        assert job.wait() == 0
