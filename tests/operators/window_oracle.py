"""What windows must put out, worked out record by record from whole lists, without panes, cells or timers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from streamlet import OutputTag, Window
from streamlet.state.encoding.key_groups import pack_key
from streamlet.windows import MAX_TIMESTAMP, MIN_TIMESTAMP
from tests.operators.recipe import Clock, End, Mark, Row, Rows, Step

LATE = OutputTag[Any]("late")
Gather = Callable[[Any, Window, list[Any]], list[Any]]
"""From key, window and values in the order in which they came, to what is put out."""


class _Held(NamedTuple):
    key: Any
    window: Window
    values: list[Any]
    fresh: list[Any]
    """Those since it was put out."""


class WindowOracle:
    """Takes steps. `assign` gives the windows of a record; sessions join where they overlap, and a record that lies in
    a closed one is late: for `gap` (where gaps differ, the session's own length) after it closed."""

    def __init__(
        self,
        assign: Callable[[Any, int], Iterable[Window]],
        gather: Gather,
        *,
        lateness: int = 0,
        is_accumulating: bool = True,
        joins: bool = False,
        gap: int = 0,
        every: int | None = None,
        by_clock: bool = False,
        has_late_output: bool = True,
        rank: Callable[[int], int] = lambda time: 0,
        closes: Callable[[Window], int] = lambda window: window.end - 1,
    ) -> None:
        self.assign, self.gather = assign, gather
        self.lateness, self.is_accumulating, self.joins, self.every = lateness, is_accumulating, joins, every
        self.by_clock, self.has_late_output, self.closes = by_clock, has_late_output, closes
        self.rank = rank
        self.open: list[_Held] = []
        self.gap = gap
        self.shut: list[tuple[Any, Window, int]] = []
        """Sessions that are closed: key, window, and until when records may come that lie in them."""
        self.progress = -1 if by_clock else MIN_TIMESTAMP
        self.rows: list[Row] = []

    def run(self, steps: Sequence[Step]) -> list[Row]:
        for step in steps:
            if isinstance(step, Rows):
                self._take(step)
            elif isinstance(step, Clock) and self.by_clock:
                self._advance(max(self.progress, step.now_ms - 1))
            elif isinstance(step, Mark) and not self.by_clock:
                self._advance(step.timestamp)
            elif isinstance(step, End):
                self._advance(MAX_TIMESTAMP)
        return self.rows

    def _take(self, step: Rows) -> None:
        late: list[Row] = []
        for row in sorted(range(len(step.values)), key=lambda row: self.rank((step.timestamps or ())[row])):
            value, key = step.values[row], (step.keys or ())[row]
            time = self.progress + 1 if self.by_clock else (step.timestamps or ())[row]
            taken = [self._into(key, window, value) for window in self.assign(value, time)]
            if self.has_late_output and taken and not any(taken):
                late.append(("late", value, None if step.timestamps is None else step.timestamps[row]))
        self.rows += sorted(late, key=lambda one: list(step.values).index(one[1]))

    def _into(self, key: Any, window: Window, value: Any) -> bool:
        if any(known == key and self._belongs(shut, window) for known, shut, _ in self.shut):
            return False
        same = [one for one in self.open if one.key == key and self._belongs(one.window, window)]
        if not same and self._closed(window) <= self.progress:
            return False
        window = Window(
            min(one.start for one in (window, *(held.window for held in same))),
            max(one.end for one in (window, *(held.window for held in same))),
        )
        same.sort(key=lambda one: one.window)
        held = _Held(
            key,
            window,
            [*(old for one in same for old in one.values), value],
            [*(old for one in same for old in one.fresh), value],
        )
        self.open = [one for one in self.open if not any(one is other for other in same)] + [held]
        if self.closes(window) <= self.progress or (self.every and len(held.fresh) >= self.every):
            self._put_out(held)
        return True

    def _belongs(self, one: Window, other: Window) -> bool:
        return (one.start < other.end and other.start < one.end) if self.joins else one == other

    def _closed(self, window: Window) -> int:
        return min(self.closes(window) + self.lateness, MAX_TIMESTAMP)

    def _advance(self, until: int) -> None:
        self.progress = until
        for held in sorted(self.open, key=self._order):
            if self.closes(held.window) <= until and held.fresh:
                self._put_out(held)
        for one in self.open:
            closed = self._closed(one.window)
            if closed <= until and self.joins and not self.by_clock:
                kept = closed + (self.gap or one.window.end - one.window.start) - 1
                self.shut.append((one.key, one.window, kept))
        self.open = [one for one in self.open if self._closed(one.window) > until]
        self.shut = [one for one in self.shut if one[2] > until]

    def _put_out(self, held: _Held) -> None:
        values = held.values if self.is_accumulating else held.fresh
        self.rows += [(None, one, held.window.end - 1) for one in self.gather(held.key, held.window, list(values))]
        held.fresh.clear()

    def _order(self, held: _Held) -> Any:
        packed = pack_key(held.key)
        key = (len(packed), packed)
        time = held.window.end if self.joins else self.closes(held.window)
        return (time, *key, held.window)
