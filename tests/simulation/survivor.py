"""A process under which faults ended: it must recover by itself, and in time.

A new process has nothing behind it; one that has lived through faults may wait for an answer that will never come, for
the end of a call, or for its next attempt.  None of these takes longer than its time-out, so within a few of them a
checkpoint of it is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamlet.testing.errors import SimulationStuck


@dataclass
class Survivor:
    """What it has to do."""

    process: object
    last_id: int
    """The last checkpoint that was begun while there were faults."""
    began: float
    """When they ended, seconds."""
    patience_seconds: float
    took_seconds: float | None = None
    """From there to its first committed checkpoint that was begun after it."""

    def marked(self, checkpoint_id: int, process: object, now: float) -> None:
        """A checkpoint was committed and marked."""
        if self.took_seconds is None and process is self.process and checkpoint_id > self.last_id:
            self.took_seconds = now - self.began

    def check(self, process: object, now: float) -> None:
        """Raises when it takes too long."""
        if self.took_seconds is None and process is self.process and now > self.began + self.patience_seconds:
            raise SimulationStuck(f"nothing goes wrong for {now - self.began:.1f} s, and no checkpoint was committed")


def patience(config: Mapping[str, Any], answer_timeout: float) -> float:
    """So long may a job take to its next committed checkpoint when everything is well again: one attempt fails for what
    was lost before, the next one for what the first has left, and the third commits."""
    interval, timeout = (config[f"checkpoint_{name}"].total_seconds() for name in ("interval", "timeout"))
    stalled = max(config["stalled_intervals"] * interval, timeout)
    delay = config["restart"].max_delay.total_seconds() * (1 + config["restart"].jitter)
    return float(2 * (answer_timeout + stalled + delay) + answer_timeout + 5 * interval)
