"""The only place that reads the machine's clocks."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to write down and compare with the outside, one to measure with."""

    def now_ms(self) -> int:
        """Wall clock, epoch ms; it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; it never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
