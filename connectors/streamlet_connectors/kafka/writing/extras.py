"""What a record has beside key and value: headers and a time, from what a user's functions give, checked by column.

Everything here is checked before the first record of a batch is written, and names the row that is wrong.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Literal, NamedTuple

from streamlet.connect import Batch, EncodeError
from streamlet_connectors.kafka.writing.routing import applied, place_of, shortened

Headers = Sequence[tuple[str, bytes | None]] | Mapping[str, bytes | None]
Timestamp = Literal["event", "now"]

_LATEST_MS = (1 << 63) - 1
_AS_BYTES = {str: "'text'.encode()", int: "str(number).encode()", float: "str(number).encode()", bool: "b'true'"}


class TimeLimits(NamedTuple):
    """How far from now a topic takes times, ms; None where it says nothing."""

    before_ms: int | None = None
    after_ms: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> TimeLimits:
        """Gives those of a topic, which looks at no time that it writes itself."""
        if settings.get("message.timestamp.type") == "LogAppendTime":
            return cls()
        found = [settings.get(f"message.timestamp.{which}.max.ms") for which in ("before", "after")]
        return cls(*(None if one is None else int(one) for one in found))


def listed(headers: Headers | None) -> list[tuple[str, bytes | None]]:
    """Gives what the record builder wants, of what a user may write; raises `EncodeError`."""
    if headers is None:
        return []
    if isinstance(headers, str | bytes) or not isinstance(headers, Mapping | Sequence):
        raise _wrong_headers(f"they are {shortened(headers)}")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    for pair in pairs:
        if type(pair) is not tuple or len(pair) != 2:
            raise _wrong_headers(f"{shortened(pair)} is no pair of a name and a value")
        name, value = pair
        if type(name) is not str:
            raise _wrong_headers(f"the name {shortened(name)} is not a str")
        if not (value is None or type(value) is bytes):
            raise EncodeError(
                f"header {name!r} is {shortened(value)}, which is {type(value).__name__}: header values are bytes",
                remedy=f"write {name!r}: {_bytes_of(value)}",
            )
        if not name.isascii():
            _require_text(name)
    return pairs


def require_small(keys: Sequence[bytes | None], values: Sequence[bytes | None], most_bytes: int) -> None:
    """Raises `EncodeError` with the index of the first record whose key and value are larger than the sink's own
    `max_record_bytes`."""
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        size = len(key or b"") + len(value or b"")
        if size > most_bytes:
            raise EncodeError(
                f"the record {'without key' if key is None else f'with key {shortened(key)}'} has {size} bytes, but "
                f"max_record_bytes of the sink is {most_bytes}",
                index=row,
                remedy="raise max_record_bytes, or make the record smaller",
            )


def header_column(
    function: Callable[[Any], Headers | None] | None, constant: list[tuple[str, bytes | None]], batch: Batch[Any]
) -> Any:
    """Gives the headers of each record; raises `EncodeError` with the index of the first that are wrong."""
    if function is None:
        return repeat(constant)
    column: list[Any] = applied(function, batch.values, "headers=", batch)
    for row, headers in enumerate(column):
        try:
            column[row] = listed(headers)
        except EncodeError as error:
            raise _at(row, function, "headers=", error) from error
    return column


def time_column(choice: Callable[[Any], int] | Timestamp, batch: Batch[Any], now_ms: int, limits: TimeLimits) -> Any:
    """Gives the time of each record; raises `EncodeError` with the index of the first that Kafka does not take.

    An event time that is still to come, as of the result of a window that is not over, is written as now: brokers
    refuse times that are too far ahead, and a reader's event time must not run ahead either.  One before 1970 is
    written as 0, as Kafka has none.
    """
    if choice == "now" or (choice == "event" and batch.timestamps is None):
        return repeat(now_ms)
    times: Sequence[int]
    if callable(choice):
        times = _given_times(choice, batch)
    else:
        times = batch.timestamps or ()
        if times and (max(times) > now_ms or min(times) < 0):
            times = [min(max(0, time), now_ms) for time in times]
    before, after = limits
    if times and (
        (before is not None and min(times) < now_ms - before) or (after is not None and max(times) > now_ms + after)
    ):
        raise _outside(choice, times, now_ms, limits)
    return times


def _given_times(choice: Callable[[Any], int], batch: Batch[Any]) -> list[int]:
    times = applied(choice, batch.values, "timestamp=", batch)
    for row, time in enumerate(times):
        if type(time) is not int or not 0 <= time <= _LATEST_MS:
            problem = "which Kafka cannot hold" if type(time) is int else f"which is {type(time).__name__}"
            error = EncodeError(
                f"timestamp= gave {shortened(time)}, {problem}", remedy=f"give epoch milliseconds: {_ms_of(time)}"
            )
            raise _at(row, choice, "timestamp=", error)
    return times


def _outside(choice: Any, times: Sequence[int], now_ms: int, limits: TimeLimits) -> EncodeError:
    before, after = limits
    for row, time in enumerate(times):
        if after is not None and time > now_ms + after:
            setting, way = f"message.timestamp.after.max.ms={after}", "ahead of now"
        elif before is not None and time < now_ms - before:
            setting, way = f"message.timestamp.before.max.ms={before}", "behind now"
        else:
            continue
        error = EncodeError(
            f"its time {shown_time(time)} is {abs(time - now_ms) / 1000:,.0f} s {way}, and the topic has {setting}",
            remedy="write it with timestamp='now', or raise that setting of the topic",
        )
        return _at(row, choice, "timestamp=", error) if callable(choice) else _at(row, None, "", error)
    raise AssertionError("every time is within the limits")


def shown_time(time_ms: int) -> str:
    """Writes a time for a message: `1796079608651 (2026-12-01 01:00:08 UTC)`."""
    try:
        moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return f"{time_ms} ms"
    return f"{time_ms} ms ({moment:%Y-%m-%d %H:%M:%S} UTC)"


def _at(row: int, function: Any, option: str, error: EncodeError) -> EncodeError:
    place = "" if function is None else f"{option} ({place_of(function)}): "
    return EncodeError(f"{place}{error.message}", index=row, remedy=error.remedy)


def _wrong_headers(problem: str) -> EncodeError:
    return EncodeError(
        f"headers are pairs of a str and bytes, but {problem}", remedy="give e.g. [('source', b'app')] or a mapping"
    )


def _require_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _wrong_headers(f"the name {name!r} is not text: it has half a character") from None


def _bytes_of(value: Any) -> str:
    if isinstance(value, str) and len(value) <= 20 and value.isascii():
        return f"{value.encode()!r} or {value!r}.encode()"
    return _AS_BYTES.get(type(value), "bytes(value)" if isinstance(value, bytearray | memoryview) else "its bytes")


def _ms_of(time: Any) -> str:
    if isinstance(time, datetime.datetime):
        return "int(value.timestamp() * 1000)"
    if isinstance(time, float):
        return "an int, e.g. int(value)"
    return "an int from 0 on, or choose 'event' or 'now'"
