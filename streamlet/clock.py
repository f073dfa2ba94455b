"""The only place that reads the machine's clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to write down and compare with the outside, one to measure with."""

    def now_ms(self) -> int:
        """Wall clock, epoch ms; it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; it never goes back."""
        ...


class RisingClock:
    """A wall clock that never goes back: where the machine's was set back it goes on at half the pace, until that has
    caught up.  So what waits for it comes, if late, however far the other went.

    What was over once by this clock stays over.  Who keeps `high_ms` over a restart gives it to `not_before`.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.high_ms = 0
        """The latest time that it ever gave; 0 for none."""
        self._seen_ms: int | None = None
        """While it is ahead: what the machine's clock said when it was last asked."""
        self._halves = 0
        """While it is ahead: what it went on since, in half milliseconds, and has not given yet."""

    def now_ms(self) -> int:
        """Epoch ms."""
        now = self._now_ms()
        if now >= self.high_ms:
            self.high_ms, self._seen_ms = now, None
            return now
        if self._seen_ms is not None and now > self._seen_ms:
            whole, self._halves = divmod(self._halves + now - self._seen_ms, 2)
            self.high_ms += whole
        self._seen_ms = now
        return self.high_ms

    def not_before(self, time_ms: int) -> None:
        """Says that this time has been."""
        self.high_ms = max(self.high_ms, time_ms)


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
