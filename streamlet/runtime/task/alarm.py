"""Wakes a subtask when something is due, without polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SHORTEST_SECONDS = 0.001


class Alarm:
    """Rings once at or soon after the time that it was last set to.

    The time to ring is that of the clock which `now_seconds` reads; waiting is measured by the event loop.  Whoever is
    woken looks at the clock and, when it is too early, sets the alarm again.
    """

    def __init__(self, now_seconds: Callable[[], float], ring: Callable[[], None]) -> None:
        self._now = now_seconds
        self._ring = ring
        self._at: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_seconds: float | None) -> None:
        """Rings at this time and not at the one before; None for never."""
        if at_seconds == self._at and (self._handle is not None or at_seconds is None):
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._at = at_seconds
        if at_seconds is not None:
            seconds = max(_SHORTEST_SECONDS, at_seconds - self._now())
            self._handle = asyncio.get_running_loop().call_later(seconds, self._due)

    def _due(self) -> None:
        self._handle = None
        self._ring()
