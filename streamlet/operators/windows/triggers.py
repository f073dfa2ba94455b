"""Triggers: when the contents of a window are put out before its end, or instead of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar

from streamlet.calling import calling_line
from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP
from streamlet.errors import JobDefinitionError, RecordError
from streamlet.operators.windows.assigners import TimeDomain, Window, checked_domain, milliseconds

T_contra = TypeVar("T_contra", contravariant=True)


class TriggerContext:
    """What a trigger knows of the window in hand.

    >>> class Third(Trigger[Payment]):
    ...     def on_record(self, value, timestamp, ctx):
    ...         ctx.state = (ctx.state or 0) + 1
    ...         return ctx.state == 3
    >>> [one.value for one in emitted(by_user.window(GlobalWindows()).trigger(Third()).count())]
    [2, 1]
    """

    __slots__ = ("_set_timer", "count", "now_ms", "state", "window")
    window: Window
    count: int
    """Records in the window since it was last put out, the one in hand included."""
    state: int | None
    """What the trigger remembers of this key and window; it may set it."""
    now_ms: Callable[[], int]
    """The wall clock, epoch ms."""

    def __init__(self, now_ms: Callable[[], int], set_timer: Callable[[int, TimeDomain], None]) -> None:
        self.now_ms = now_ms
        self._set_timer = set_timer

    def set_timer(self, time: int, domain: TimeDomain = "event") -> None:
        """Asks for `on_timer` when the watermark, or the clock, has come to `time` (epoch ms)."""
        if type(time) is not int or time < MIN_TIMESTAMP or domain not in ("event", "processing"):
            raise RecordError(
                f"set_timer({time!r:.80}, {domain!r:.80}): a trigger's timer has a whole number of milliseconds since "
                "1970, by event or processing time",
                remedy='write ctx.set_timer(timestamp + 60_000), or ctx.set_timer(ctx.now_ms() + 60_000, "processing")',
            )
        self._set_timer(time, domain)


class Trigger(Generic[T_contra]):
    """Says when a window is put out besides its end.  Your own: derive from it and define `on_record`.

    What it remembers is `ctx.state` alone, and its methods depend on nothing but their arguments.

    >>> class Large(Trigger[Payment]):
    ...     def on_record(self, value, timestamp, ctx):
    ...         return value.amount > 8
    >>> [one.value for one in emitted(by_user.window(GlobalWindows()).trigger(Large()).count())]
    [2, 1]
    """

    uses_event_time = False
    """True when it sets timers by event time."""
    counts_only = False
    """True when it looks at `ctx.count` only: such a one can be used on sessions."""

    def on_record(self, value: T_contra, timestamp: int, ctx: TriggerContext) -> bool:
        """A record has come into a window: True puts the window out now."""
        raise NotImplementedError

    def on_timer(self, time: int, ctx: TriggerContext) -> bool:
        """The time of a timer has come: True puts the window out now."""
        return False

    def closes_at(self, window: Window) -> int:
        """The watermark at which the window is put out for good."""
        return window.end - 1


class AtEnd(Trigger[object]):
    """Puts a window out when its end has come: what windows do unless told.

    >>> [one.value for one in emitted(minutes.trigger(AtEnd()).count())]
    [1, 1, 1]
    """

    counts_only = True

    def on_record(self, value: object, timestamp: int, ctx: TriggerContext) -> bool:
        return False


class AtEndOfInput(AtEnd):
    """Keeps every window until the whole input has ended; nothing is late.

    >>> [one.value for one in emitted(minutes.trigger(AtEndOfInput()).count())]
    [1, 1, 1]
    """

    def closes_at(self, window: Window) -> int:
        return MAX_TIMESTAMP


class EveryRecords(Trigger[object]):
    """Puts a window out with every `count` records of it, and at its end.

    >>> [one.value for one in emitted(by_user.window(GlobalWindows()).trigger(EveryRecords(2)).count())]
    [2, 1]
    """

    counts_only = True

    def __init__(self, count: int) -> None:
        if type(count) is not int or count < 1:
            raise JobDefinitionError(f"{_line()}: EveryRecords({count!r:.80})", remedy="give a whole number from 1")
        self.count = count

    def on_record(self, value: object, timestamp: int, ctx: TriggerContext) -> bool:
        return ctx.count >= self.count


class EveryDuration(Trigger[object]):
    """Puts a window that has new records out every `every` (counted from the epoch), and at its end; sessions too.

    >>> every = by_user.window(GlobalWindows()).trigger(EveryDuration(timedelta(minutes=1)))
    >>> [one.value for one in emitted(every.count())]
    [2, 1]
    """

    def __init__(self, every: timedelta, *, time: TimeDomain = "event") -> None:
        self.every_ms = milliseconds(every, "the duration of EveryDuration")
        self.time = checked_domain(time, "EveryDuration")
        self.uses_event_time = time == "event"

    def on_record(self, value: object, timestamp: int, ctx: TriggerContext) -> bool:
        if ctx.state is None:
            ctx.state = self.due_after(timestamp if self.time == "event" else ctx.now_ms())
            ctx.set_timer(ctx.state, self.time)
        return False

    def due_after(self, time: int) -> int:
        """When a window is put out next whose first new record came at this time."""
        return min(time - time % self.every_ms + self.every_ms - self.uses_event_time, MAX_TIMESTAMP)

    def on_timer(self, time: int, ctx: TriggerContext) -> bool:
        ctx.state = None
        return ctx.count > 0


def check_trigger(trigger: Any, line: str) -> None:
    """Refuses what is no trigger."""
    if not isinstance(trigger, Trigger):
        raise JobDefinitionError(
            f"{line}: trigger takes a Trigger, not {trigger!r:.80}",
            remedy="give AtEnd(), AtEndOfInput(), EveryRecords(100), EveryDuration(...) or an instance of your own",
        )


def _line() -> str:
    file, line = calling_line()
    return f"{file}:{line}"
