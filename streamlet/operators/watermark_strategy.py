"""WatermarkStrategy: what a user says about the event time of a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from streamlet.calling import calling_line
from streamlet.errors import JobDefinitionError
from streamlet.operators.user_code.misuse import check_arguments, check_gives

V = TypeVar("V")
T_contra = TypeVar("T_contra", contravariant=True)

_MS = timedelta(milliseconds=1)


@dataclass(frozen=True)
class WatermarkStrategy(Generic[T_contra]):
    """How event time moves on at a source. Build it with one of the four functions below.

    ```python
    watermarks = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5)).with_timestamps(lambda p: p.time_ms)
    job.source(source, uid="payments", watermarks=watermarks)
    ```

    Every split has its own watermark, which follows each batch; that of the source is the lowest of them.  So a split
    without records holds all others back, and a new one that is found while the job runs does until its first record:
    `with_idleness` sets a limit to that.

    >>> times = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5)).with_timestamps(lambda p: p.at)
    >>> hours = TumblingWindows(timedelta(hours=1))
    >>> paid = job.source(Values([Payment("ann", 5, 1_000)]), watermarks=times).key_by("user")
    >>> emitted(paid.window(hours).count())
    [WindowResult(key='ann', window=Window(start=0, end=3600000), value=1)]
    """

    kind: Literal["bounded", "function", "processing_time"]
    delay: timedelta = timedelta(0)
    function: Callable[[Any, int], int | None] | None = None
    timestamps: Callable[[Any], int] | None = None
    idleness: timedelta | None = None
    max_ahead: timedelta | None = timedelta(minutes=1)

    @staticmethod
    def bounded_out_of_orderness(delay: timedelta) -> WatermarkStrategy[object]:
        """Records come at most `delay` behind the newest one of their split; what comes later than that is late."""
        return WatermarkStrategy("bounded", _duration(delay, "delay", timedelta(0)))

    @staticmethod
    def monotonic() -> WatermarkStrategy[object]:
        """The times of a split never go back; equal ones may follow each other."""
        return WatermarkStrategy("bounded")

    @staticmethod
    def from_function(function: Callable[[V, int], int | None]) -> WatermarkStrategy[V]:
        """`function(value, timestamp)` gives the watermark behind each record, epoch ms, or None to leave it where it
        is.  It says that no record of that time or before follows in its split, and must not depend on anything else.
        """
        _callable(function, "from_function", "value", "timestamp")
        return WatermarkStrategy("function", function=function)

    @staticmethod
    def processing_time() -> WatermarkStrategy[object]:
        """The time of a record is that at which it was read, and event time follows the clock.  Nothing is ever late,
        and a run again gives other times."""
        return WatermarkStrategy("processing_time")

    def with_timestamps(self, function: Callable[[V], int]) -> WatermarkStrategy[V]:
        """Takes the time of each record from its value: whole epoch milliseconds.  Without it the source's own are
        used, such as those of Kafka records."""
        _callable(function, "with_timestamps", "value")
        check_gives(function, "the function of with_timestamps")
        if self.kind == "processing_time":
            raise JobDefinitionError(
                f"{_line()}: processing_time() takes no times from records",
                remedy="use bounded_out_of_orderness(...) or monotonic() with with_timestamps(...)",
            )
        return replace(self, timestamps=function)  # type: ignore[return-value]

    def with_idleness(self, timeout: timedelta) -> WatermarkStrategy[T_contra]:
        """A split without records for this long no longer holds the others back.  When it goes on, what it gives may
        be late.  While all splits are silent, event time stands still until the next record.  Time during which the job
        itself was too slow to read does not count."""
        return replace(self, idleness=_duration(timeout, "idleness", _MS))

    def with_max_ahead(self, ahead: timedelta | None) -> WatermarkStrategy[T_contra]:
        """A record whose time is further ahead of the clock than this does not move the watermark (1 minute unless
        told; None for no limit): one device whose clock is wrong would else make all others late.  It is processed all
        the same, and how many there were is said.  Give a longer one where whole inputs lie in the future, such as
        plans and forecasts: else their event time follows this machine's clock.  The limit is by the clock alone: while
        old data is read, a record that is ahead of the others but not of the clock moves the watermark."""
        return replace(self, max_ahead=None if ahead is None else _duration(ahead, "max_ahead", timedelta(0)))

    @property
    def takes_times_of_source(self) -> bool:
        """True when the times of records are those that the source gives."""
        return self.timestamps is None and self.kind != "processing_time"


def _duration(value: Any, name: str, least: timedelta) -> timedelta:
    if not isinstance(value, timedelta) or value < least:
        raise JobDefinitionError(
            f"{_line()}: {name} of a watermark strategy is {value!r:.80}",
            remedy="give a datetime.timedelta, such as timedelta(seconds=5)",
        )
    return value


def _callable(function: Any, name: str, *given: str) -> None:
    if not callable(function):
        raise JobDefinitionError(
            f"{_line()}: {name} takes a function, not {function!r:.80}", remedy="give a function or a lambda"
        )
    check_arguments(function, given, name, _line())


def _line() -> str:
    file, line = calling_line()
    return f"{file}:{line}"
