"""Runs a job: attempt after attempt, until it has finished, was stopped, or cannot go on."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from streamlet.clock import Clock
from streamlet.config import Restart
from streamlet.errors import StateDirectoryError, StreamletError, UserFunctionError
from streamlet.limits import with_limit
from streamlet.outages import is_outage, may_pass
from streamlet.ports import Randomness
from streamlet.runtime.job.attempt import Attempt, AttemptMaker, Ending
from streamlet.runtime.job.job_state import JobLife, JobState
from streamlet.runtime.job.restart import RestartBudget

log = logging.getLogger("streamlet.runtime")


@dataclass
class Outcome:
    """How it went: the last state, and the error that ended it."""

    state: JobState
    error: BaseException | None = None


class Supervisor:
    """Restarts attempts by the restart strategy. Errors that restarting cannot cure end it at once, and so does a
    record at which the same function of the job fails twice in a row.

    An outage of the outside, or a full disk, is waited for without end and without being counted, once the job has
    run with all its sinks open: what never answered may be a wrong address.
    """

    def __init__(self, make_attempt: AttemptMaker, strategy: Restart, clock: Clock, randomness: Randomness) -> None:
        self.life = JobLife()
        self.restarts = 0
        self.reasons: Counter[str] = Counter()
        """How often it restarted, by `outage` or the name of the error."""
        self.attempt: Attempt | None = None
        self._make_attempt = make_attempt
        self._budget = RestartBudget(strategy, randomness)
        self._clock = clock
        self._stop = asyncio.Event()
        self._last_place: str | None = None
        self._has_begun = False
        self._has_run = False
        self.failure = ""
        """The error that the job has not come back from, in one line."""
        self._is_waiting = False

    def stop(self) -> None:
        """Asks for a last checkpoint and the end; what is not yet running ends at once."""
        self._stop.set()
        if self.attempt is not None:
            self.attempt.stop()

    async def run(self) -> Outcome:
        """Runs to the end. Nothing that it started is left running when it returns."""
        while True:
            self.life.transition_to(JobState.RESTORING)
            attempt = self.attempt = self._make_attempt(not self._has_begun)
            if self._stop.is_set():
                attempt.stop()
            try:
                ending = await attempt.run(self._running)
            except (Exception, BaseExceptionGroup) as group:
                error = first_error(group)
                self._has_run = self._has_run or attempt.has_opened()
                if not isinstance(error, StreamletError):
                    log.debug("the attempt failed", exc_info=group)
                delay = self._delay_after(error, attempt)
                if delay is None or self._stop.is_set():
                    return self._failed(error)
                self.life.transition_to(JobState.RESTARTING)
                self.restarts += 1
                self.reasons["outage" if is_outage(error) else type(error).__name__] += 1
                self._tell(error, delay)
                if await self._stopped_within(delay):
                    self.life.transition_to(JobState.SUSPENDED)
                    return Outcome(JobState.SUSPENDED)
            else:
                return self._ended(ending)

    def _running(self) -> None:
        self._has_begun = True
        self.failure = ""
        self.life.transition_to(JobState.RUNNING)

    def _tell(self, error: BaseException, delay: float) -> None:
        self.failure = describe(error).partition("\n")[0]
        was_waiting, self._is_waiting = self._is_waiting, is_outage(error)
        # Restarts of one outage are told once: the outage itself says how long it lasts.
        level = logging.DEBUG if self._is_waiting and was_waiting else logging.WARNING
        log.log(level, "%s\nrestart %d in %.1f s", describe(error), self.restarts, delay)

    def _ended(self, ending: Ending) -> Outcome:
        if ending is Ending.STOPPED:
            if self.life.state is JobState.RUNNING:
                self.life.transition_to(JobState.STOPPING)
            self.life.transition_to(JobState.SUSPENDED)
        else:
            self.life.transition_to(JobState.FINISHED)
        return Outcome(self.life.state)

    def _failed(self, error: BaseException) -> Outcome:
        self.life.transition_to(JobState.FAILED)
        return Outcome(JobState.FAILED, error)

    def _delay_after(self, error: BaseException, attempt: Attempt) -> float | None:
        if is_outage(error) and self._has_run:
            return self._budget.waits_for_outside(attempt.healthy_seconds())
        if is_final(error):
            return None
        if isinstance(error, UserFunctionError):
            if error.place == self._last_place:
                return None
            self._last_place = error.place
        return self._budget.failed(self._clock.monotonic(), attempt.healthy_seconds())

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True


def is_final(error: BaseException) -> bool:
    """True when another attempt would meet the same: not where the disk of the state directory failed once, for then
    nothing that lies there is known to be wrong."""
    cause = error.__cause__
    if isinstance(error, StateDirectoryError) and isinstance(cause, OSError) and may_pass(cause):
        return False
    return isinstance(error, StreamletError) and error.final


def describe(error: BaseException) -> str:
    """The error for people: a streamlet error as it is, another with its type."""
    text = str(error) if isinstance(error, StreamletError) else f"{type(error).__name__}: {error}"
    return with_limit(text)


def first_error(error: BaseException) -> BaseException:
    """The error that began it: out of nested groups the first that says what is wrong, not what was cancelled."""
    while isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
        error = next((one for one in inner if isinstance(one, StreamletError | BaseExceptionGroup)), inner[0])
    return error
