"""How a job ends when it is asked to, and when its input ends."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path

import pytest

from tests.kafka.broker import free_ports
from tests.recovery.part_files import check_counts, hidden_files
from tests.recovery.running_jobs import PROJECT, JobHome, RunningJob, a_home
from tests.recovery.spending import JOB

pytestmark = pytest.mark.timeout(180)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
KEYS, COUNT = 100, 30_000
SETTINGS = {"KEYS": str(KEYS), "COUNT": str(COUNT), "RATE": "20000"}


def check(home: JobHome) -> None:
    check_counts(home.state_dir / "out", (number * 7919 % KEYS for number in range(COUNT)), key="key")


def wait_for_marker(home: JobHome, job: RunningJob) -> None:
    job.wait_until(lambda: len(list(home.state_dir.glob("counting/chk-*/committed"))) >= 2, "two are committed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_makes_a_last_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        job = home.start()
        wait_for_marker(home, job)
        job.send(number)
        assert job.wait() == 0, job.said
        newest = max(tmp_path.glob("counting/chk-*"))
        assert (newest / "committed").exists()
        assert hidden_files(tmp_path / "out") == []
        checkpoint = int(newest.name.removeprefix("chk-"))
        command = f"streamlet run {shlex.quote(str(COUNTING))} --state-dir {shlex.quote(str(tmp_path))}"
        assert f"checkpoint {checkpoint} is kept; go on with: {command}" in job.said
        following = home.start()
        assert following.wait() == 0, following.said
        assert f"restored checkpoint {checkpoint} " in following.said
        check(home)


def test_a_second_interrupt_ends_the_job_at_once_and_loses_nothing(tmp_path: Path) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        job = home.start(fault="before_manifest@4", stops=True)  # stands still inside a checkpoint
        job.wait_until(lambda: job.stands_still, "it stands still")
        job.send(signal.SIGINT)
        job.send(signal.SIGTERM)
        job.send(signal.SIGCONT)
        assert job.wait() == 130, job.said
        following = home.start()
        assert following.wait() == 0, following.said
        check(home)


def test_a_job_whose_input_ended_says_so_when_it_is_started_again(tmp_path: Path) -> None:
    with a_home(COUNTING, tmp_path, {**SETTINGS, "RATE": "1000000"}) as home:
        for words in ("counting: finished", "finished before, in checkpoint"):
            job = home.start()
            assert job.wait() == 0, job.said
            assert words in job.said
            check(home)


def test_an_interrupt_while_a_job_waits_for_its_broker_to_restore_ends_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with a_home(JOB, tmp_path, {"BOOTSTRAP": f"127.0.0.1:{port}"}) as home:
        job = home.start()
        job.wait_until(lambda: any(tmp_path.glob("spend-per-user/attempt-*")), "the attempt has begun")
        job.send(signal.SIGINT)
        assert job.wait(10) == 0, job.said
        assert "no checkpoint was made" in job.said


def test_an_interrupt_while_a_job_waits_for_its_next_attempt_ends_it(tmp_path: Path) -> None:
    with a_home(COUNTING, tmp_path, SETTINGS) as home:
        (tmp_path / "away").touch()
        job = home.start()
        job.wait_until_it_says("restart 4 in")
        job.send(signal.SIGINT)
        assert job.wait(10) == 0, job.said
        assert "the store is away" in job.said
        assert "restart 5" not in job.said
        assert "go on with" in job.said
        (tmp_path / "away").unlink()
        following = home.start()
        assert following.wait() == 0, following.said
        check(home)
