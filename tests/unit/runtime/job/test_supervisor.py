"""Which failures are counted, which are waited for, and what a start was asked for over its retries."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
from collections.abc import Callable
from datetime import timedelta
from typing import cast

import pytest

from streamlet import Restart
from streamlet.connect import SystemClock
from streamlet.errors import SourceError, StateDirectoryError
from streamlet.outages import is_outage
from streamlet.runtime.job.attempt import Attempt, Ending
from streamlet.runtime.job.job_state import JobState
from streamlet.runtime.job.supervisor import Outcome, Supervisor

AT_ONCE = timedelta(microseconds=1)


class NoAnswerError(SourceError):
    is_outage = True


def full_disk() -> Exception:
    error = StateDirectoryError("the folder cannot be used")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


class PlayedAttempt:
    """Runs, or not, and fails or finishes as it is told."""

    def __init__(self, error: BaseException | None, *, runs: bool, opens: bool = True) -> None:
        self._error = error
        self._runs = runs
        self._opens = opens

    async def run(self, on_running: Callable[[], None]) -> Ending:
        if self._runs:
            on_running()
        if self._error is not None:
            raise self._error
        return Ending.FINISHED

    def has_opened(self) -> bool:
        return self._runs and self._opens

    def healthy_seconds(self) -> float:
        return 0.0

    def stop(self) -> None: ...


class Played:
    """A supervisor over attempts that a test plays, in their order."""

    def __init__(self, strategy: Restart, *attempts: tuple[BaseException | None, bool], opens: bool = True) -> None:
        self.firsts: list[bool] = []
        left = iter(attempts)

        def make(is_first: bool) -> Attempt:
            self.firsts.append(is_first)
            error, runs = next(left)
            return cast(Attempt, PlayedAttempt(error, runs=runs, opens=opens))

        self.supervisor = Supervisor(make, strategy, SystemClock(), random.Random(1))
        self.outcome: Outcome = asyncio.run(self.supervisor.run())


RAN, DONE = (SourceError("broke"), True), (None, True)


@pytest.mark.parametrize("outage", [NoAnswerError("no answer"), full_disk()], ids=["no answer", "full disk"])
def test_an_outage_of_what_has_answered_before_is_waited_for_without_being_counted_or_flooding_the_log(
    outage: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    played = Played(Restart.fixed(AT_ONCE, attempts=1), (outage, True), *[(outage, False)] * 50, DONE)
    assert played.outcome.state is JobState.FINISHED
    assert played.supervisor.restarts == 51
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_other_failures_count_also_between_outages() -> None:
    away = (NoAnswerError("no answer"), True)
    played = Played(Restart.fixed(AT_ONCE, attempts=2), RAN, away, RAN, away, RAN)
    assert played.outcome.state is JobState.FAILED
    assert played.supervisor.restarts == 4


def test_what_has_never_answered_may_be_a_wrong_address_and_is_counted() -> None:
    played = Played(Restart.fixed(AT_ONCE, attempts=2), *[(NoAnswerError("no answer"), False)] * 3)
    assert played.outcome.state is JobState.FAILED


def test_an_outage_of_a_sink_that_never_opened_is_counted_though_the_attempts_had_begun_to_run() -> None:
    away = (NoAnswerError("no answer"), True)
    played = Played(Restart.fixed(AT_ONCE, attempts=2), *[away] * 3, opens=False)
    assert played.outcome.state is JobState.FAILED
    assert played.firsts == [True, False, False], "what the start was asked for is pinned all the same"


def test_a_job_that_is_not_to_be_restarted_does_not_wait_for_an_outage() -> None:
    assert Played(Restart.none(), (NoAnswerError("no answer"), True)).outcome.state is JobState.FAILED


@pytest.mark.parametrize(("code", "attempts"), [(errno.EIO, 2), (errno.ESTALE, 2), (errno.EACCES, 1)])
def test_a_state_directory_whose_disk_failed_once_is_tried_again(code: int, attempts: int) -> None:
    error = StateDirectoryError("a marker cannot be read")
    error.__cause__ = OSError(code, os.strerror(code))
    played = Played(Restart.fixed(AT_ONCE, attempts=9), (error, True), DONE)
    assert played.outcome.state is (JobState.FINISHED if attempts == 2 else JobState.FAILED)
    assert len(played.firsts) == attempts


def test_what_the_start_was_asked_for_holds_until_an_attempt_has_run() -> None:
    early = (SourceError("broke early"), False)
    played = Played(Restart.fixed(AT_ONCE, attempts=9), early, early, RAN, early, RAN, DONE)
    assert played.firsts == [True, True, True, False, False, False]


def test_the_failure_of_a_job_is_told_until_it_runs_again() -> None:
    played = Played(Restart.fixed(AT_ONCE, attempts=1), (SourceError("broke\nin two lines"), True), DONE)
    assert played.supervisor.failure == ""
    failed = Played(Restart.fixed(AT_ONCE, attempts=1), RAN, (SourceError("broke\nagain"), False))
    assert failed.supervisor.failure == "broke"


def test_an_error_that_is_the_cause_of_its_own_cause_is_judged_all_the_same() -> None:
    error, cause = SourceError("no answer"), OSError("closed")
    error.__cause__, cause.__cause__ = cause, error
    assert not is_outage(error)
