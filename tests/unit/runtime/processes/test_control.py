"""`streamlet status`, `savepoint` and `stop` against a job that runs in a process of its own, and against none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet.checkpoint.lock import JobLock
from streamlet.inspect import open_checkpoint
from streamlet.machine.local import local_ports
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


def test_a_running_jobs_folder_is_copied_by_any_tool_and_its_copy_is_not_the_running_job(
    folder: Path, running: subprocess.Popen[str]
) -> None:
    state, kinds = folder / "streamlet-state", (stat.S_IFREG, stat.S_IFDIR)
    assert {stat.S_IFMT(path.lstat().st_mode) for path in state.rglob("*")} <= set(kinds), "nothing but plain files"
    running.send_signal(signal.SIGSTOP)  # so that no file goes away under the tools
    shutil.copytree(state, folder / "by-python")
    for tool in (["cp", "-r", "streamlet-state", "by-cp"], ["tar", "-cf", "all.tar", "streamlet-state"]):
        done = subprocess.run(tool, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stderr == ""
    running.send_signal(signal.SIGCONT)
    asked = cli(folder, "status", "job", "--state-dir", "by-cp")
    assert (asked.returncode, asked.stdout[:18]) == (1, "job: not running; "), asked.stderr
    assert cli(folder, "stop", "job", "--state-dir", "by-python").returncode == 2
    assert cli(folder, "status", "job").returncode == 0
    assert running.poll() is None


def test_a_job_that_was_killed_leaves_nothing_that_answers_or_stops_anybody(
    folder: Path, running: subprocess.Popen[str]
) -> None:
    running.kill()
    running.wait()
    assert "not running" in cli(folder, "status", "job.py").stdout
    write_job(folder, JOB)
    again = cli(folder, "run", "job.py", "--", "3")
    assert again.returncode == 0, again.stderr


def test_a_job_that_runs_out_of_reach_is_said_to(folder: Path) -> None:
    write_job(folder, JOB)
    assert cli(folder, "run", "job.py", "--", "3").returncode == 0
    lock = JobLock(folder / "streamlet-state" / "job", local_ports())
    lock.acquire()
    asked = cli(folder, "status", "job.py")
    assert asked.returncode == 2
    assert f"is run by process {os.getpid()} on " in asked.stderr
    assert "cannot be reached from here\n  -> ask on its machine and in its container" in asked.stderr
    lock.release()


def test_nothing_is_asked_of_a_job_that_never_ran(folder: Path) -> None:
    done = cli(folder, "stop", "job.py")
    assert done.returncode == 2
    assert done.stderr.startswith("streamlet: job 'job' never ran on streamlet-state/job\n")
    assert not (folder / "streamlet-state").exists()
