"""When to try again after a failure, and when to give up: pure, the clock's readings come in."""

from __future__ import annotations

from collections import deque

from streamlet.config import Restart
from streamlet.ports import Randomness

LONGEST_OUTAGE_DELAY_SECONDS = 5.0
"""Between two attempts while the outside does not answer: trying costs little, and it may be back at any moment."""


class RestartBudget:
    """Counts failures by a strategy and gives the next delay, or None when it is time to give up."""

    def __init__(self, strategy: Restart, randomness: Randomness) -> None:
        self._strategy = strategy
        self._random = randomness
        self._failures: deque[float] = deque()
        self.in_a_row = 0
        self._outages_in_a_row = 0

    def failed(self, now: float, healthy_seconds: float) -> float | None:
        """Notes a failure of an attempt that ran healthy for so long; gives the seconds to wait, None to give up."""
        strategy = self._strategy
        if healthy_seconds >= strategy.reset_after.total_seconds():
            self.in_a_row = 0
        self.in_a_row += 1
        if strategy.kind == "failure_rate":
            window = strategy.window.total_seconds()
            self._failures.append(now)
            while self._failures and now - self._failures[0] > window:
                self._failures.popleft()
            exhausted = len(self._failures) > (strategy.attempts or 0)
        else:
            exhausted = strategy.attempts is not None and self.in_a_row > strategy.attempts
        return None if exhausted else self._delay(self.in_a_row)

    def waits_for_outside(self, healthy_seconds: float) -> float | None:
        """Gives the seconds to wait for something outside that does not answer: no failure of the job, so it is not
        counted, and the waits stay short.  None when the strategy knows no restarts."""
        if self._strategy.attempts == 0:
            return None
        if healthy_seconds > 0:
            self._outages_in_a_row = 0
        self._outages_in_a_row += 1
        return min(self._delay(self._outages_in_a_row), LONGEST_OUTAGE_DELAY_SECONDS)

    def _delay(self, in_a_row: int) -> float:
        strategy = self._strategy
        delay = strategy.delay.total_seconds()
        if strategy.kind == "exponential":
            delay *= strategy.multiplier ** min(in_a_row - 1, 60)
            delay = min(delay, strategy.max_delay.total_seconds())
        return delay * (1 + strategy.jitter * (2 * self._random.random() - 1))
