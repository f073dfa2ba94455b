"""Windows and what puts records into them: tumbling, sliding, session, count and global windows, or one's own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import timedelta, tzinfo
from typing import Any, Generic, Literal, TypeVar

import msgspec

from streamlet.calling import calling_line
from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP
from streamlet.errors import JobDefinitionError, RecordError
from streamlet.operators.user_code.misuse import a_kind, check_arguments, check_gives
from streamlet.operators.windows.calendar import Calendar, calendar

T_contra = TypeVar("T_contra", contravariant=True)
K = TypeVar("K")
A = TypeVar("A")

TimeDomain = Literal["event", "processing"]

_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_BOUNDS = struct.Struct(">QQ")
_ZERO = 1 << 63
"""Added to a time, so that negative ones come first."""


class Window(msgspec.Struct, frozen=True, order=True):
    """A stretch of time, epoch ms: from `start` to before `end`.

    >>> Window(60_000, 120_000).end
    120000
    """

    start: int
    end: int

    @property
    def namespace(self) -> bytes:
        """Its bytes in keys of state, in the order of time."""
        return _BOUNDS.pack(self.start + _ZERO, self.end + _ZERO)

    @staticmethod
    def of(namespace: bytes) -> Window:
        """The window of its bytes."""
        start, end = _BOUNDS.unpack_from(namespace)
        return Window(start - _ZERO, end - _ZERO)


class WindowResult(msgspec.Struct, Generic[K, A], frozen=True):
    """What a window gives where the job does not say otherwise: `value` is one result, or a tuple of several.

    >>> WindowResult("ann", Window(0, 60_000), 5).value
    5
    """

    key: K
    window: Window
    value: A


ALL_TIME = Window(MIN_TIMESTAMP, MAX_TIMESTAMP)
"""The window of count and global windows while they are open."""


class WindowAssigner(Generic[T_contra]):
    """Puts records into windows.  Your own: derive from it and define `assign`, which depends on nothing else.

    ```python
    class Days(WindowAssigner[object]):
        def assign(self, value, timestamp):
            start = midnight_before(timestamp)
            return [Window(start, midnight_after(timestamp))]
    ```

    >>> class Hours(WindowAssigner[Payment]):
    ...     def assign(self, value, timestamp):
    ...         hour = timestamp // 3_600_000 * 3_600_000
    ...         return [Window(hour, hour + 3_600_000)]
    >>> [one.value for one in emitted(by_user.window(Hours()).count())]
    [2, 1]
    """

    time: TimeDomain = "event"
    """`processing`: windows follow the clock of the machine, nothing is late, and a second run gives others."""

    def assign(self, value: T_contra, timestamp: int) -> Iterable[Window]:
        """Gives the windows of a record, each once; none drops it."""
        raise NotImplementedError


def not_windows(given: Any, error: BaseException) -> RecordError | None:
    """The error of an assigner that gave something else than windows, and failed by `error` for that; else None."""
    if not isinstance(error, TypeError | AttributeError):
        return None
    parts = given if isinstance(given, list | tuple | set) else [given]
    wrong = given if isinstance(given, Window) else next((one for one in parts if not isinstance(one, Window)), None)
    if wrong is None and given is not None:
        return None
    inside = " among its windows" if wrong is not given else ""
    return RecordError(
        f"assign gave {a_kind(wrong)}{inside} where it gives a list of windows",
        remedy="write `return [Window(start, end)]`, with times in epoch ms, and `return []` for none",
    )


class TumblingWindows(WindowAssigner[object]):
    """Windows that follow each other: of one length, or days, weeks or months of a time zone.

    ```python
    TumblingWindows(timedelta(minutes=5))
    TumblingWindows(days=1, timezone="Europe/Berlin")
    TumblingWindows(weeks=1, timezone="America/New_York", offset=timedelta(hours=6))
    ```

    Those of one length are counted from the epoch plus `offset`.  Days, weeks (from Monday) and months (from the first)
    begin at the midnight of their zone (UTC unless told) plus `offset` by its clocks: when these are put forward or
    back, a day has 23 or 25 hours.

    >>> list(TumblingWindows(timedelta(minutes=1)).assign(None, 61_500))
    [Window(start=60000, end=120000)]
    """

    def __init__(
        self,
        size: timedelta | None = None,
        *,
        days: int = 0,
        weeks: int = 0,
        months: int = 0,
        timezone: str | tzinfo | None = None,
        offset: timedelta = timedelta(0),
        time: TimeDomain = "event",
    ) -> None:
        self.offset_ms = _offset(offset)
        self.time = checked_domain(time, "windows")
        self.calendar: Calendar | None = None
        self.size_ms = 0
        if timezone is not None and isinstance(size, timedelta) and size >= _DAY and not size % _DAY:
            days, size = size // _DAY, None
        if size is None and (days or weeks or months):
            self.calendar = calendar(days, weeks, months, timezone or "UTC", offset, _line())
        elif timezone is not None or days or weeks or months:
            raise JobDefinitionError(
                f"{_line()}: windows of {size!r:.80} in a time zone or of days, weeks or months",
                remedy='give a size, or whole days, weeks or months: TumblingWindows(days=1, timezone="Asia/Tokyo")',
            )
        else:
            self.size_ms = milliseconds(size, "the size of a window")

    def assign(self, value: object, timestamp: int) -> Iterable[Window]:
        if self.calendar is not None:
            return (Window(*self.calendar.around(timestamp)),)
        start = timestamp - (timestamp - self.offset_ms) % self.size_ms
        return (bounded(start, start + self.size_ms),)


class SlidingWindows(WindowAssigner[object]):
    """Windows of one length that begin every `slide`, so that each record is in size / slide of them.

    >>> list(SlidingWindows(timedelta(minutes=2), timedelta(minutes=1)).assign(None, 61_500))
    [Window(start=0, end=120000), Window(start=60000, end=180000)]
    """

    def __init__(
        self, size: timedelta, slide: timedelta, *, offset: timedelta = timedelta(0), time: TimeDomain = "event"
    ) -> None:
        self.size_ms = milliseconds(size, "the size of a window")
        self.slide_ms = milliseconds(slide, "the slide of windows")
        self.offset_ms = _offset(offset)
        self.time = checked_domain(time, "windows")
        if self.slide_ms > self.size_ms:
            raise JobDefinitionError(
                f"{_line()}: windows of {size} that begin every {slide} would leave out the records between them",
                remedy="make slide at most size; to look at a part of the records only, filter them before",
            )

    def assign(self, value: object, timestamp: int) -> Iterable[Window]:
        last = timestamp - (timestamp - self.offset_ms) % self.slide_ms
        first = last - (self.size_ms - 1 - (timestamp - last)) // self.slide_ms * self.slide_ms
        return [bounded(start, start + self.size_ms) for start in range(first, last + 1, self.slide_ms)]


class SessionWindows(WindowAssigner[T_contra]):
    """Windows that end when a key had no record for `gap`: from the first record to the last plus its gap.

    `gap` may be a function of the value.  A record at the very end of a session begins the next one.  One that lies in
    a session which is closed is late, so that sessions of a key never overlap.

    >>> [one.window for one in emitted(by_user.window(SessionWindows(timedelta(seconds=30))).count())]
    [Window(start=1000, end=31000), Window(start=2000, end=32000), Window(start=62000, end=92000)]
    """

    def __init__(self, gap: timedelta | Callable[[T_contra], timedelta], *, time: TimeDomain = "event") -> None:
        self.gap_of: Callable[[Any], timedelta] | None = None
        self.gap_ms = 0
        if callable(gap):
            check_arguments(gap, ("value",), "the gap of sessions", _line())
            check_gives(gap, "the gap of sessions")
            self.gap_of = gap
        else:
            self.gap_ms = milliseconds(gap, "the gap of sessions")
        self.time = checked_domain(time, "windows")

    def assign(self, value: T_contra, timestamp: int) -> Iterable[Window]:
        return (bounded(timestamp, timestamp + self.gap_after(value)),)

    def gap_after(self, value: Any) -> int:
        """The gap that this record asks for, ms."""
        if self.gap_of is None:
            return self.gap_ms
        gap = self.gap_of(value)
        if not isinstance(gap, timedelta) or gap < _MS:
            raise ValueError(f"the gap of a session is {gap!r:.80}: give a timedelta of at least a millisecond")
        return gap // _MS


class GlobalWindows(WindowAssigner[object]):
    """One window per key, put out when the input ends, or by its trigger.

    Its result has the times of its records: from the earliest to the latest plus 1 (0 to 1 where they have none).

    >>> [(one.key, one.value) for one in emitted(by_user.window(GlobalWindows()).count())]
    [('ann', 2), ('bob', 1)]
    """

    def assign(self, value: object, timestamp: int) -> Iterable[Window]:
        return (ALL_TIME,)


class CountWindows(GlobalWindows):
    """Each `size` records of a key, in the order in which they come; when the input ends, also what is left.

    Needs no event time.  The window of a result has the times of its records, as with `GlobalWindows`.

    >>> [one.value for one in emitted(numbers.key_by(lambda n: n % 2).window(CountWindows(2)).sum(lambda n: n))]
    [4, 6]
    """

    def __init__(self, size: int) -> None:
        if type(size) is not int or size < 1:
            raise JobDefinitionError(
                f"{_line()}: the size of count windows is {size!r:.80}", remedy="give a whole number from 1"
            )
        self.size = size


def bounded(start: int, end: int) -> Window:
    """A window that does not go beyond the ends of time."""
    return Window(max(start, MIN_TIMESTAMP), min(end, MAX_TIMESTAMP))


def milliseconds(value: Any, name: str, *, least: timedelta = _MS) -> int:
    """A duration as ms; refuses what is none."""
    if not isinstance(value, timedelta) or value < least:
        raise JobDefinitionError(
            f"{_line()}: {name} is {value!r:.80}",
            remedy="give a datetime.timedelta of at least a millisecond, such as timedelta(minutes=1)",
        )
    if value % _MS:
        raise JobDefinitionError(f"{_line()}: {name} is {value!r:.80}", remedy="give whole milliseconds")
    return value // _MS


def _offset(offset: Any) -> int:
    return milliseconds(offset, "the offset of windows", least=timedelta.min)


def checked_domain(time: Any, what: str) -> TimeDomain:
    """One of the two; refuses what is none."""
    if time not in ("event", "processing"):
        raise JobDefinitionError(
            f"{_line()}: {what} by {time!r:.80} time", remedy='give time="event" or time="processing"'
        )
    return time  # type: ignore[no-any-return]


def _line() -> str:
    file, line = calling_line()
    return f"{file}:{line}"
