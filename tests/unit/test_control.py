"""`streamlet status`, `savepoint` and `stop` against a job that runs in a process of its own, and against none."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet.inspect import open_checkpoint
from tests.unit.cli_kit import JOB, cli, environment, write_job

pytestmark = pytest.mark.outside

ENDLESS = JOB.replace("count=COUNT, rate_per_second=RATE", "count=10**9, rate_per_second=2000").replace(
    "milliseconds=20", "milliseconds=100"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose path is longer than a socket's address."""
    deep = tmp_path / ("a" * 100)
    deep.mkdir()
    write_job(deep, ENDLESS)
    return deep


@pytest.fixture
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A job that has committed something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlet", "run", "job.py"],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "a new start" in process.stderr.readline()
    while not list(folder.glob("out/part-*")):
        assert process.poll() is None
    yield process
    process.kill()
    process.communicate()


def kept(path: Path) -> tuple[int, dict[Any, Any]]:
    """The position of a checkpoint, and the counts that it has."""
    with open_checkpoint(path) as checkpoint:
        return checkpoint.manifest.positions["numbers"]["0/1"], dict(checkpoint["count"]["accumulator"].items())


def expected(count: int) -> dict[int, int]:
    return {rest: len(range(rest, count, 7)) for rest in range(7)}


def visible(folder: Path) -> list[list[int]]:
    return [json.loads(line) for path in sorted(folder.glob("out/part-*")) for line in path.read_text().splitlines()]


def test_a_running_job_tells_its_status_is_saved_and_stopped_and_its_savepoints_start_others(
    folder: Path, running: subprocess.Popen[str]
) -> None:
    found = json.loads(cli(folder, "status", "job", "--json").stdout)
    assert (found["state"], found["pid"], found["restarts"]) == ("running", running.pid, 0)
    assert found["records"] > 0
    assert found["checkpoint"] is not None

    taken = cli(folder, "savepoint", "job.py", "--to", "kept")
    assert (taken.returncode, taken.stdout) == (0, f"savepoint {folder / 'kept'}\n"), taken.stderr
    assert running.poll() is None
    position, counts = kept(folder / "kept")
    assert counts == expected(position)
    again = cli(folder, "savepoint", "job.py", "--to", "kept")
    assert again.returncode == 2
    assert "has a checkpoint in it, so no savepoint can be made there\n  -> name a new folder" in again.stderr

    stopped = cli(folder, "stop", "job.py", "--savepoint", "last")
    assert stopped.returncode == 0, stopped.stderr
    assert running.wait(10) == 0
    assert stopped.stdout.splitlines()[0] == f"savepoint {folder / 'last'}"
    assert stopped.stdout.splitlines()[1].startswith("job: stopped; checkpoint ")
    end, counts = kept(folder / "last")
    assert counts == expected(end)
    assert len(visible(folder)) == end, "the savepoint of a stop has all that was written"
    assert not (folder / "streamlet-state" / "job" / "control").exists()

    shown = cli(folder, "status", "job.py")
    assert shown.returncode == 1
    assert shown.stdout.startswith("job: not running; checkpoint ")
    refused = cli(folder, "stop", "job.py")
    assert refused.returncode == 2
    assert "job 'job' does not run on streamlet-state/job\n  -> nothing to stop" in refused.stderr
    unnamed = cli(folder, "savepoint", "job.py")
    assert unnamed.stdout == f"savepoint {folder / 'streamlet-state' / 'job' / 'savepoints' / '0001'}\n"
    assert kept(folder / "streamlet-state" / "job" / "savepoints" / "0001") == (end, counts)

    (folder / "out").rename(folder / "out-of-the-first")
    (folder / "streamlet-state").rename(folder / "gone")
    (folder / "kept").rename(folder / "elsewhere")
    write_job(folder, JOB)
    other = cli(folder, "run", "job.py", "--state-dir", "other", "--from", "elsewhere", "--", str(position + 500))
    assert other.returncode == 0, other.stderr
    counted = [[number % 7, number // 7 + 1] for number in range(position, position + 500)]
    assert sorted(visible(folder)) == sorted(counted)


def test_a_job_that_was_killed_leaves_a_socket_that_stops_nobody(folder: Path, running: subprocess.Popen[str]) -> None:
    control = folder / "streamlet-state" / "job" / "control"
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    running.kill()
    running.wait()
    assert control.exists()
    assert "not running" in cli(folder, "status", "job.py").stdout
    write_job(folder, JOB)
    again = cli(folder, "run", "job.py", "--", "3")
    assert again.returncode == 0, again.stderr
    assert not control.exists()


def test_nothing_is_asked_of_a_job_that_never_ran(folder: Path) -> None:
    done = cli(folder, "stop", "job.py")
    assert done.returncode == 2
    assert done.stderr.startswith("streamlet: job 'job' never ran on streamlet-state/job\n")
    assert not (folder / "streamlet-state").exists()
