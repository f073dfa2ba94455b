"""Days, weeks and months of a time zone: stretches of time whose length the clocks of a place decide.

A day begins where the zone's clocks first show its midnight; where they skip midnight (some zones put their clocks
forward then), where they were put forward.  So the days of a zone follow each other without a gap, with 23, 24 or 25
hours, whatever rule the zone has had.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import timezone as fixed
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP
from streamlet.errors import JobDefinitionError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_FIRST_MONDAY = date(1969, 12, 29).toordinal()
_FIRST_DAY = date(1970, 1, 1).toordinal()
_EARLIEST_MS = (datetime(2, 1, 1, tzinfo=UTC) - _EPOCH) // _MS
_LATEST_MS = (datetime(9998, 1, 1, tzinfo=UTC) - _EPOCH) // _MS
_KEPT = 4096
"""Stretches whose bounds are remembered."""


class Calendar:
    """Cuts time into stretches of so many days, weeks (from Monday) or months (from the first) of a zone's calendar.

    Several days are counted from 1970-01-01, weeks from the Monday before it, months from January 1970.  `offset_ms`
    lets each begin later by the clocks of the zone: a day from 6 to 6.
    """

    def __init__(self, zone: tzinfo, *, days: int = 0, weeks: int = 0, months: int = 0, offset_ms: int = 0) -> None:
        self._zone = zone
        self._days = days or 7 * weeks
        self._origin = _FIRST_MONDAY if weeks else _FIRST_DAY
        self._months = months
        self._offset = offset_ms * _MS
        self._bounds = lru_cache(maxsize=_KEPT)(self._bounds_of)
        self._last = (0, 0)
        self.text = f"{days} days, {weeks} weeks, {months} months of {zone}, offset {offset_ms} ms"
        """All of it, as a checkpoint notes it."""

    def around(self, time_ms: int) -> tuple[int, int]:
        """The stretch that holds this time, epoch ms: from its first millisecond to before its end.  What lies before
        the year 2 is one stretch, and so is what lies behind the year 9998: no calendar here goes further."""
        if not _EARLIEST_MS <= time_ms < _LATEST_MS:
            return self._beyond(time_ms)
        start, end = self._last
        if not start <= time_ms < end:
            number = self._number((_EPOCH + time_ms * _MS).astimezone(self._zone).replace(tzinfo=None) - self._offset)
            start, end = self._bounds(number)
            # What the clocks show may lie in another day than the instant, where they were put back over midnight.
            while time_ms < start:
                number -= 1
                start, end = self._bounds(number)
            while time_ms >= end:
                number += 1
                start, end = self._bounds(number)
            self._last = (start, end)
        return start, end

    def _beyond(self, time_ms: int) -> tuple[int, int]:
        if time_ms < _EARLIEST_MS:
            start, end = self.around(_EARLIEST_MS)
            return (start, end) if time_ms >= start else (MIN_TIMESTAMP, start)
        start, end = self.around(_LATEST_MS - 1)
        return (start, end) if time_ms < end else (end, MAX_TIMESTAMP)

    def _number(self, shown: datetime) -> int:
        """Which stretch a date and time of the zone's clocks lies in."""
        if self._months:
            return ((shown.year - 1970) * 12 + shown.month - 1) // self._months
        return (shown.toordinal() - self._origin) // self._days

    def _bounds_of(self, number: int) -> tuple[int, int]:
        return self._begin(number), self._begin(number + 1)

    def _begin(self, number: int) -> int:
        if self._months:
            year, month = divmod(number * self._months, 12)
            midnight = datetime(1970 + year, month + 1, 1)
        else:
            midnight = datetime.fromordinal(self._origin + number * self._days)
        # A time that the clocks skip stands for the moment at which they were put forward: both have one offset.
        return ((midnight + self._offset).replace(tzinfo=self._zone, fold=0) - _EPOCH) // _MS


def calendar(days: Any, weeks: Any, months: Any, timezone: Any, offset: timedelta, line: str) -> Calendar:
    """The calendar that a job asks for; refuses what is none. `line` is where it is said."""
    given = {"days": days, "weeks": weeks, "months": months}
    if len([one for one in given.values() if one]) != 1 or any(
        type(one) is not int or one < 0 for one in given.values()
    ):
        said = ", ".join(f"{name}={one!r:.20}" for name, one in given.items() if one)
        raise JobDefinitionError(
            f"{line}: windows of {said}", remedy="give one of days=, weeks= and months=, a whole number from 1"
        )
    return Calendar(_zone(timezone, line), **given, offset_ms=offset // _MS)


def _zone(timezone: Any, line: str) -> tzinfo:
    # Zones of other libraries carry a name, and may not follow Python's rules of time that is skipped or shown twice.
    name = getattr(timezone, "key", None) or getattr(timezone, "zone", None) or timezone
    if isinstance(name, fixed):
        return name
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
        raise JobDefinitionError(
            f"{line}: timezone is {timezone!r:.80}, which is no zone that this machine knows",
            remedy='give a name such as "Europe/Berlin"; where the machine has no zones at all: pip install tzdata',
        ) from None
