"""How long state lives: a time to live for values, map entries and list elements.

An entry that is over is never given to anyone again: whether it is over depends on nothing but its time and the time
now.  It is freed a little later, by a timer of its own in the same store: one per value or map entry, one per list, so
freeing goes in the order of time, in pieces, and over restores.

```text
written --- ttl ---> over (hidden) --- up to ttl / 32 ---> armed: the timer frees it, or goes on with what was rewritten
```
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, Protocol

import msgspec

from streamlet.calling import calling_line
from streamlet.clock import RisingClock
from streamlet.errors import JobDefinitionError
from streamlet.state.memory.cells import Slot
from streamlet.state.memory.timers import EARLIEST, LATEST, Timers

TtlTime = Literal["processing", "event"]
_PIECES = 32
"""What ends within one of so many parts of the time to live is freed together."""


class StateTtl(msgspec.Struct, frozen=True):
    """How long an entry of state lives after it was written, or also after it was read.

    `time="processing"` counts by the wall clock.  `time="event"` counts from the event time of the record or timer that
    wrote the entry, which is over when the watermark has come so far; a record that comes late does not shorten a life.
    Inside `on_timer`, event time is the timer's.

    >>> class Lately(KeyedProcessFunction[int, int, object]):
    ...     kept = ValueState(int, ttl=StateTtl(timedelta(hours=1), refresh="read"))
    ...     def process_element(self, value, ctx):
    ...         self.kept.update(value)
    ...         yield self.kept.value()
    >>> emitted(numbers.key_by(lambda n: n % 2).process(Lately()))
    [1, 2, 3, 4]
    """

    duration: timedelta
    time: TtlTime = "processing"
    refresh: Literal["write", "read"] = "write"

    @property
    def duration_ms(self) -> int:
        return self.duration // timedelta(milliseconds=1)


def checked_ttl(ttl: timedelta | StateTtl | None, stored: Any) -> StateTtl | None:
    """Gives the time to live as it was meant; raises `JobDefinitionError` when it makes no sense."""
    if ttl is None:
        return None
    found = StateTtl(ttl) if isinstance(ttl, timedelta) else ttl
    at = "{}:{}".format(*calling_line())
    remedy = 'write ttl=timedelta(hours=1), or ttl=StateTtl(timedelta(hours=1), time="event", refresh="read")'
    given = ttl.duration if isinstance(ttl, StateTtl) else ttl
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < 10**9:
        remedy = f"write timedelta(seconds={given}) for {given} s: " + remedy[len("write ") :]
    if not isinstance(found, StateTtl) or not isinstance(found.duration, timedelta) or found.duration_ms < 1:
        raise JobDefinitionError(f"{at}: ttl={ttl!r:.80} is no time to live of a millisecond or more", remedy=remedy)
    if found.time not in ("processing", "event") or found.refresh not in ("write", "read"):
        raise JobDefinitionError(f"{at}: {found!r} is no time to live", remedy=remedy)
    if stored is Any:
        raise JobDefinitionError(
            f"{at}: state with a ttl needs a declared type", remedy="write ValueState(int, ttl=...)"
        )
    return found


class Timed(Protocol):
    """The record or timer in hand, as lifetimes see it."""

    @property
    def timestamp(self) -> int | None: ...


class Expiring(Protocol):
    """State whose entries end."""

    lifetime: Lifetime

    def sweep(self, slot: Slot, time: int, namespace: bytes) -> None:
        """Frees what the timer of this time stands for, if it is over; else sets the timer anew."""
        ...


class Lifetimes:
    """What time it is for the states of one operator, and which of them end."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = RisingClock(now_ms).now_ms  # what is over is never seen again, whatever becomes of the clock
        self.event_now = EARLIEST
        """How far event time has come for the call in hand."""
        self.told: Timed | None = None
        """What the call in hand is about; None where that has no event time, so that `event_now` counts."""
        self._expiring: dict[TtlTime, list[Expiring]] = {"processing": [], "event": []}

    def add(self, expiring: Expiring) -> None:
        """Takes in a state."""
        self._expiring[expiring.lifetime.ttl.time].append(expiring)

    def next_ms(self) -> int | None:
        """When something is to be freed by the wall clock."""
        if not self._expiring["processing"]:
            return None
        times = [one.lifetime.timers.next_time() for one in self._expiring["processing"]]
        return min((time for time in times if time is not None), default=None)

    def sweep(self, store: Any, time: TtlTime, until: int, limit: int) -> bool:
        """Frees what is over, at most so many entries; True when there may be more."""
        for expiring in self._expiring[time]:
            while (due := expiring.lifetime.timers.pop(until)) is not None:
                (slot,) = store.lookup((due.key,))
                expiring.sweep(slot, due.time, due.namespace)
                limit -= 1
                if not limit:
                    return True
        return False


class Lifetime:
    """The time to live of one state, and the timers that free its entries."""

    __slots__ = ("_ms", "_of", "_step", "is_refreshed_by_reading", "timers", "ttl", "where")

    def __init__(self, ttl: StateTtl, timers: Timers, of: Lifetimes, where: str) -> None:
        self.ttl = ttl
        self.timers = timers
        self.where = where
        self.is_refreshed_by_reading = ttl.refresh == "read"
        self._of = of
        self._ms = ttl.duration_ms
        self._step = max(1, self._ms // _PIECES)

    def stamp(self) -> int:
        """The time of what is written now."""
        of = self._of
        if self.ttl.time == "processing":
            return of.now_ms()
        if of.told is None:
            return of.event_now
        if of.told.timestamp is None:
            raise JobDefinitionError(
                f"{self.where} lives by event time, but the record has none",
                remedy="give the source watermarks=WatermarkStrategy....with_timestamps(...), "
                'or write StateTtl(..., time="processing")',
            )
        return of.told.timestamp

    def is_over(self, stamp: int) -> bool:
        """True when what was written at `stamp` may not be seen any more."""
        now = self._of.now_ms() if self.ttl.time == "processing" else self._of.event_now
        return bool(now >= stamp + self._ms)

    def armed_for(self, stamp: int) -> int:
        """The time of the timer that frees what was written at `stamp`."""
        return max(EARLIEST, min(-(-(stamp + self._ms) // self._step) * self._step, LATEST))
