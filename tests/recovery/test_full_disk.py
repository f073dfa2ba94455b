"""A state directory whose disk is full: checkpoints fail and say so, the old ones stay whole, the job goes on alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, SECONDS, JobHome, RunningJob, a_home
from tests.recovery.small_disk import SmallDisk, a_small_disk

pytestmark = pytest.mark.timeout(120)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 1000, 40_000
NO_SPACE = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with a_small_disk(tmp_path / "disk", megabytes=24) as disk:
        yield disk


@pytest.fixture
def home(disk: SmallDisk, tmp_path: Path) -> Iterator[JobHome]:
    """The job writes its output to another disk, and its messages too."""
    out = tmp_path / "out"
    settings = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "15000", "OUT": str(out)}
    with a_home(COUNTING, disk.folder / "state", settings, tmp_path) as home:
        yield home


def committed_files(tmp_path: Path) -> int:
    return len(list((tmp_path / "out").glob("part-*")))


def wait_for_output(job: RunningJob, tmp_path: Path) -> None:
    before = committed_files(tmp_path)
    job.wait_until(lambda: committed_files(tmp_path) > before, "something new is committed")


def check_checkpoints(home: JobHome) -> None:
    verify = [sys.executable, "-m", "streamlet", "checkpoints", "verify", "counting"]
    verify += ["--state-dir", str(home.state_dir)]
    done = subprocess.run(verify, cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0 and ": whole" in done.stdout, done.stdout + done.stderr


def checkpoints(home: JobHome) -> list[CheckpointInfo]:
    return CheckpointStorage(home.state_dir, "counting", LocalDisk()).checkpoints()


def finish(home: JobHome, job: RunningJob, tmp_path: Path) -> None:
    assert job.wait() == 0, job.said
    check_counts(tmp_path / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")


def test_a_job_goes_on_over_a_full_disk_and_recovers_when_there_is_space(
    disk: SmallDisk, home: JobHome, tmp_path: Path
) -> None:
    job = home.start()
    wait_for_output(job, tmp_path)
    with disk.filled():
        job.wait_until_it_says(NO_SPACE)
        check_checkpoints(home)
        assert not job.has_ended
    wait_for_output(job, tmp_path)
    finish(home, job, tmp_path)


def test_a_job_that_is_killed_on_a_full_disk_goes_on_from_its_last_checkpoint(
    disk: SmallDisk, home: JobHome, tmp_path: Path
) -> None:
    job = home.start()
    wait_for_output(job, tmp_path)
    with disk.filled():
        job.wait_until_it_says(NO_SPACE)
        job.kill()
        check_checkpoints(home)
        # A start on the full disk fails, names the disk, and harms nothing.
        on_full_disk = home.start()
        on_full_disk.wait_until_it_says(NO_SPACE)
        on_full_disk.close()
        check_checkpoints(home)
    again = home.start()
    finish(home, again, tmp_path)
    assert "restored checkpoint" in again.said


def test_a_disk_that_is_full_for_longer_than_a_job_may_go_without_a_checkpoint_is_waited_for(
    disk: SmallDisk, home: JobHome, tmp_path: Path
) -> None:
    home.environment = {**(home.environment or {}), "TIMEOUT": "1"}
    job = home.start()
    wait_for_output(job, tmp_path)
    with disk.filled():
        job.wait_until_it_says(" restarts")  # more than one, in the line that shows how it fares
        check_checkpoints(home)
    wait_for_output(job, tmp_path)
    finish(home, job, tmp_path)
    left = [path.name for path in (home.state_dir / "counting").iterdir()]
    assert not [name for name in left if name.startswith(("superseded-", "released-"))]
    assert len([name for name in left if name.startswith("attempt-")]) == 1
    named = {name for info in checkpoints(home) if info.manifest for name in info.manifest.file_names()}
    assert {path.name for path in (home.state_dir / "counting" / "files").iterdir()} == named
