"""The watermark of what has several inputs, without I/O: facts in, decisions out.

It is the lowest of those inputs that are neither idle nor ended, and it never goes back: an input that wakes up behind
it finds its records late.  When every input is silent, those that are idle may still go on and those that have ended
may not: the highest of the idle ones counts (it must not matter which of them fell silent first), and however far an
ended input had come, it moves nobody.  Only when all have ended the highest of all counts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from streamlet.elements import MIN_TIMESTAMP, Watermark

I = TypeVar("I", bound=Hashable)  # noqa: E741 - an input: a split, a channel


class LowestWatermark(Generic[I]):
    """Follows the watermarks of some inputs and tells when the one of all has changed."""

    def __init__(self) -> None:
        self.current = Watermark(MIN_TIMESTAMP)
        self.timestamps: dict[I, int] = {}
        """The last watermark of each input, also of one that has ended."""
        self._idle: set[I] = set()
        self._ended: set[I] = set()

    def add(self, one: I, timestamp: int = MIN_TIMESTAMP) -> None:
        """Adds an input, which holds all back until it has a watermark or is idle."""
        self.timestamps[one] = timestamp

    def mute(self, one: I) -> None:
        """Says of an input, before any has a watermark, that it will never have one and holds nobody back."""
        self._ended.add(one)

    def keep(self, timestamp: int) -> None:
        """Begins at this watermark: what was told before a restore is not taken back."""
        if timestamp > self.current.timestamp:
            self.current = Watermark(timestamp, self.current.is_idle)

    def advance(self, one: I, timestamp: int, *, is_idle: bool = False) -> bool:
        """Notes the watermark of an input; True when the one of all has changed."""
        if is_idle:
            self._idle.add(one)
        else:
            self._idle.discard(one)
        if timestamp > self.timestamps[one]:
            self.timestamps[one] = timestamp
        return self.settle()

    def end(self, one: I) -> bool:
        """Notes that nothing more comes on an input; True when the watermark of all has changed."""
        self._ended.add(one)
        return self.settle()

    def is_silent(self, one: I) -> bool:
        """True for an input that is idle or has ended."""
        return one in self._idle or one in self._ended

    def settle(self) -> bool:
        """Works out the watermark of all; True when it has changed."""
        idle, ended, timestamps = self._idle, self._ended, self.timestamps
        if not idle and not ended:
            speaking = list(timestamps.values())
        else:
            speaking = [at for one, at in timestamps.items() if one not in idle and one not in ended]
        if speaking:
            lowest = min(speaking)
        else:
            waiting = [at for one, at in timestamps.items() if one not in ended]
            lowest = max(waiting or timestamps.values(), default=MIN_TIMESTAMP)
        before = self.current
        if lowest > before.timestamp or before.is_idle != (not speaking):
            self.current = Watermark(max(lowest, before.timestamp), is_idle=not speaking)
            return True
        return False
