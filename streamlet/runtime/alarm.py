"""Wakes a subtask when something is due by the wall clock, without polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamlet.clock import Clock

_SHORTEST_SECONDS = 0.001


class Alarm:
    """Rings once at or soon after the time that it was last set to.

    Waiting is measured by the event loop, the time to ring is the wall clock's: whoever is woken looks at the clock
    and, when it is too early, sets the alarm again.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at: int | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_ms: int | None) -> None:
        """Rings at this time (epoch ms) and not at the one before; None for never."""
        if at_ms == self._at and (self._handle is not None or at_ms is None):
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._at = at_ms
        if at_ms is not None:
            seconds = max(_SHORTEST_SECONDS, (at_ms - self._clock.now_ms()) / 1000)
            self._handle = asyncio.get_running_loop().call_later(seconds, self._due)

    def _due(self) -> None:
        self._handle = None
        self._ring()
