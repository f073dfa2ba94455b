"""Processes that fold logs, killed at work: the job goes on, and its state stays in its logs until the next fold."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, JobHome, RunningJob, a_home

pytestmark = pytest.mark.timeout(120)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT, KILLS = 5000, 60_000, 3
KILLED = "was ended by signal 9"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[JobHome]:
    settings = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "15000", "OUT": str(tmp_path / "out")}
    with a_home(COUNTING, tmp_path / "state", settings) as home:
        yield home


class StoppedFolds:
    """Folds stop at their fault point; the first ones are killed there, the others go on, or stay there."""

    def __init__(self, job: RunningJob, *, goes_on: bool = True) -> None:
        self._job = job
        self._goes_on = goes_on
        self.met: set[int] = set()

    @property
    def are_gone(self) -> bool:
        return all(self._state(str(pid)) in ("", "Z") for pid in self.met)

    def look(self) -> bool:
        """True once more folds than are killed have come."""
        for pid in self._stopped():
            self.met.add(pid)
            if len(self.met) <= KILLS:
                os.kill(pid, signal.SIGKILL)
            elif self._goes_on:
                os.kill(pid, signal.SIGCONT)
        return len(self.met) > KILLS

    def _stopped(self) -> list[int]:
        found = []
        for task in Path(f"/proc/{self._job.pid}/task").iterdir():
            try:
                children = (task / "children").read_text().split()
                found += [int(one) for one in children if self._state(one) == "T" and int(one) not in self.met]
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has ended between the two looks
        return found

    @staticmethod
    def _state(pid: str) -> str:
        """The letter of a process; "" when it is gone."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # before the file is opened, or while it is
            return ""


def test_a_job_goes_on_when_its_folds_are_killed(home: JobHome, tmp_path: Path) -> None:
    job = home.start(fault="during_fold", stops=True)
    folds = StoppedFolds(job)
    job.wait_until(folds.look, "a fold comes behind those that were killed")
    job.wait_until(lambda: job.has_ended or not folds.look(), "it has read everything")
    assert job.process.returncode == 0, job.said
    assert job.said.count(KILLED) == KILLS
    assert "stays in its logs" in job.said
    assert "restart" not in job.said
    check_all(tmp_path)


def test_a_job_that_is_killed_behind_its_killed_folds_has_its_state_from_its_logs(
    home: JobHome, tmp_path: Path
) -> None:
    job = home.start(fault="during_fold", stops=True)
    folds = StoppedFolds(job, goes_on=False)
    job.wait_until(folds.look, "its first folds are killed, and one is at work")
    assert not folds.are_gone
    job.kill()
    second = home.start()
    second.wait_until(lambda: folds.are_gone, "the fold that was at work has ended with the job")
    assert second.wait() == 0, second.said
    assert "restored checkpoint" in second.said
    check_all(tmp_path)


def check_all(folder: Path) -> None:
    check_counts(folder / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")
