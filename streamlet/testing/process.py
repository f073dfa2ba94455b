"""One simulated process: its event loop, what it has done, and where it dies or is paused."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

from streamlet.runtime.job.supervisor import Outcome, Supervisor
from streamlet.testing.errors import EngineBroke, ProcessDied
from streamlet.testing.loop import Policy, SimulatedLoop, VirtualClock

KINDS = ("step", "disk", "outside", "marker")
"""What is counted: steps of the loop, calls that change the disk, requests to the outside, calls near a decision."""


class Process:
    """From its start to its end, whichever that is."""

    def __init__(self, number: int, clock: VirtualClock, randomness: random.Random, policy: Policy) -> None:
        self.number = number
        self.loop = SimulatedLoop(clock, randomness, policy)
        self.began = clock.seconds
        self.counts = dict.fromkeys(KINDS, 0)
        self.dies_at: tuple[str, int] | None = None
        self.pauses_at: tuple[str, int] | None = None
        self.is_dead = False
        self.is_superseded = False
        """Another process has taken the job over; this one may not know yet."""
        self.is_spared = False
        """Nothing goes wrong any more: now the job must come to its end."""
        self.ends_by = math.inf
        """When it must have, seconds."""
        self.is_asked_to_end = False
        """It was stopped because everything was read."""
        self.is_asked_to_stop = False
        """For this reason or any other: a job that fails while it stops does not try again."""
        self.supervisor: Supervisor | None = None
        self.main: asyncio.Task[Any]
        self.broken: BaseException | None = None
        """An error of the engine that no fault explains."""

    @property
    def has_died(self) -> bool:
        """It died where it was to die."""
        return self.dies_at is not None and self.counts[self.dies_at[0]] >= self.dies_at[1]

    @property
    def has_ended(self) -> bool:
        return self.is_dead or self.main.done()

    def outcome(self) -> Outcome | None:
        """How it ended; None when it died."""
        if self.is_dead:
            return None
        try:
            outcome: Outcome = self.main.result()
        except asyncio.CancelledError as error:
            raise EngineBroke("the supervisor was cancelled, by nobody") from error
        return outcome

    def count(self, kind: str) -> bool:
        """Counts something that it does; raises `ProcessDied` if it is dead, or dies here.  True when another process
        comes in between here: it is paused."""
        if self.is_dead:
            raise ProcessDied
        self.counts[kind] += 1
        if self.dies_at is not None and self.dies_at[0] == kind and self.counts[kind] >= self.dies_at[1]:
            self.is_dead = True
            raise ProcessDied
        if self.pauses_at is not None and self.pauses_at[0] == kind and self.counts[kind] >= self.pauses_at[1]:
            self.pauses_at = None
            return True
        return False

    def stop(self) -> None:
        """Asks it to stop, if there is something to stop."""
        if self.supervisor is not None:
            self.is_asked_to_stop = True
            self.supervisor.stop()

    def spare(self, blocking_seconds: float) -> None:
        """Lets nothing more happen to it; what it asks of the disk takes so long."""
        self.dies_at = self.pauses_at = None
        self.loop.slow_calls, self.loop.longest_blocking_seconds = {}, blocking_seconds

    def notice(self, error: BaseException) -> None:
        """Takes note of an error that nothing explains."""
        if self.broken is None and not self.is_dead:
            self.broken = error

    def bury(self) -> None:
        """Closes what is left of it, with the world dead to it."""
        self.is_dead = True
        self.loop.bury()
