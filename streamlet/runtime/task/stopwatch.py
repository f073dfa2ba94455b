"""How long was waited, in all and just now, and how long the phases of a checkpoint took: for people."""

from __future__ import annotations

from streamlet.clock import Clock


class Stopwatch:
    """Adds up waits, for people."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._total = 0.0
        self._told = 0.0

    def begin(self, now: float) -> None:
        """A wait begins, unless one is under way."""
        if self._since is None:
            self._since = now

    def end(self, seconds: float) -> None:
        """It is over, and counts for so long."""
        self._since = None
        self._total += seconds

    def seconds(self) -> float:
        """The sum until now, which never falls."""
        going_on = 0.0 if self._since is None else self._clock.monotonic() - self._since
        self._told = max(self._told, self._total + going_on)
        return self._told


class PhaseTimes:
    """How long the phases of the newest checkpoint took in one subtask."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._checkpoint = -1
        self._phase = ""
        self._since = 0.0

    def begin(self, checkpoint_id: int, phase: str) -> None:
        """A phase begins, and the one before it ends; those of an earlier checkpoint are forgotten, and what still
        goes on for one is not measured."""
        now = self._clock.monotonic()
        if checkpoint_id < self._checkpoint:
            return
        if checkpoint_id > self._checkpoint:
            self._checkpoint, self._phase, self.seconds = checkpoint_id, "", {}
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now
