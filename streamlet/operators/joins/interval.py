"""interval_join: pairs of rows of one key whose times are near each other.

A left row of time t has the right rows of t + lower to t + upper, both included, as partners.

What is in the state: per key the rows of each side for which a partner can come still, and one timer.  A left row is
freed when the watermark comes to t + upper, a right row of time t when it comes to t - lower.  So the state is bounded
by how far the watermark stands behind the newest records, plus the length of the interval.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from streamlet.elements import MAX_TIMESTAMP
from streamlet.operators.joins.buffers import LEFT, RIGHT, KeyRows
from streamlet.operators.joins.operator import Join, KeyedJoin, Pairs, bounded
from streamlet.state.memory.cells import Slot


class IntervalJoin(KeyedJoin):
    """Each pair is put out once, when its second row comes, with the later time of both.

    A row of an outer side that has found none is put out once, when none can come any more, with the last time at
    which one could have had: so nothing that is put out is late further on.
    """

    def __init__(self, join: Join, lower_ms: int, upper_ms: int) -> None:
        super().__init__(join, join.keeps_unmatched)
        self.is_outer = join.keeps_unmatched
        self.spans = ((lower_ms, upper_ms), (-upper_ms, -lower_ms))
        """Per side: where the times of partners begin and end, counted from a row's own."""

    @property
    def bounds(self) -> dict[str, Any]:
        lower, upper = self.spans[LEFT]
        return {"lower_ms": lower, "upper_ms": upper}

    def take(self, index: int, slot: Slot, time: int, value: Any, stored: Any, row: int, found: Pairs) -> None:
        buffers, other = self.buffers, 1 - index
        rows = buffers.of(slot)
        partners = rows.sides[other]
        lowest, highest = self.spans[index]
        start = bisect_left(partners.times, time + lowest)
        end = bisect_right(partners.times, time + highest, start)
        for at in range(start, end):
            partner = buffers.value(other, partners.cells[at])
            left, right = (value, partner) if index == LEFT else (partner, value)
            found.add(left, right, max(time, partners.times[at]), slot, row)
        if end > start:
            buffers.match(rows, other, start, end)
        is_unmatched = end == start and self.is_outer[index]
        if time + highest > self.context.event_time.watermark:
            buffers.add(slot, rows, index, time, stored, is_unmatched)
            self.follow(slot, rows)
            return
        if is_unmatched:
            self._add_alone(index, slot, time, value, row, found)
        buffers.forget_if_empty(slot, rows)

    def earliest(self, rows: KeyRows) -> int | None:
        return min(
            (
                bounded(side.times[0] + highest)
                for side, (_, highest) in zip(rows.sides, self.spans, strict=True)
                if side.times
            ),
            default=None,
        )

    def release(self, slot: Slot, rows: KeyRows, until: int, found: Pairs) -> None:
        for index in (LEFT, RIGHT):
            side, highest = rows.sides[index], self.spans[index][1]
            count = len(side.times) if until == MAX_TIMESTAMP else bisect_right(side.times, until - highest)
            if self.is_outer[index]:
                for at in range(count):
                    if side.unmatched[at] is not None:
                        time = max(side.times[at], bounded(side.times[at] + highest))
                        self._add_alone(index, slot, time, self.buffers.value(index, side.cells[at]), 0, found)
            self.buffers.free(slot, rows, index, count)

    def _add_alone(self, index: int, slot: Slot, time: int, value: Any, row: int, found: Pairs) -> None:
        left, right = (value, None) if index == LEFT else (None, value)
        found.add(left, right, time, slot, row)
