"""as_of_join: each left row with the version of the right side that was the latest at its time.

What is in the state: per key the left rows for whose time the watermark has not come yet; the latest version at the
watermark, and those after it; and one timer.  A left row is freed when it is put out, a version when the watermark
comes to the next one.  The latest version of a key stays for ever, unless there is a tolerance: then it is freed that
long after its time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from streamlet.elements import MAX_TIMESTAMP
from streamlet.operators.joins.buffers import LEFT, RIGHT, KeyRows
from streamlet.operators.joins.operator import Join, KeyedJoin, Pairs, bounded
from streamlet.state.memory.cells import Slot


class AsOfJoin(KeyedJoin):
    """Each left row is put out once, with its own time, when the watermark has come to it: all versions that could be
    the latest at that time have come by then.  Of versions of one time the one that came last counts."""

    def __init__(self, join: Join, tolerance_ms: int | None) -> None:
        super().__init__(join)
        self.is_outer = join.how == "left"
        self.tolerance_ms = tolerance_ms
        """How old a version may be."""

    @property
    def bounds(self) -> dict[str, Any]:
        return {"tolerance_ms": self.tolerance_ms}

    def take(self, index: int, slot: Slot, time: int, value: Any, stored: Any, row: int, found: Pairs) -> None:
        rows = self.buffers.of(slot)
        self.buffers.add(slot, rows, index, time, stored, False)
        self.follow(slot, rows)

    def earliest(self, rows: KeyRows) -> int | None:
        left, versions = rows.sides[LEFT].times, rows.sides[RIGHT].times
        times = left[:1] + versions[1:2]
        if self.tolerance_ms is not None and versions:
            times.append(bounded(versions[0] + self.tolerance_ms))
        return min(times, default=None)

    def release(self, slot: Slot, rows: KeyRows, until: int, found: Pairs) -> None:
        buffers = self.buffers
        left, right = rows.sides
        versions = right.times
        count = bisect_right(left.times, until)
        for time, cell in zip(left.times[:count], left.cells, strict=False):
            at = bisect_right(versions, time) - 1
            if at >= 0 and (self.tolerance_ms is None or versions[at] >= time - self.tolerance_ms):
                found.add(buffers.value(LEFT, cell), buffers.value(RIGHT, right.cells[at]), time, slot)
            elif self.is_outer:
                found.add(buffers.value(LEFT, cell), None, time, slot)
        buffers.free(slot, rows, LEFT, count)
        # What the next left row may need: it comes after `until`.
        needless = max(0, bisect_right(versions, until) - 1)
        if self.tolerance_ms is not None:
            oldest = until + 1 - self.tolerance_ms
            # Nothing comes behind the end of time, to which a timer is bounded.
            expired = len(versions) if until == MAX_TIMESTAMP else bisect_left(versions, oldest)
            needless = max(needless, expired)
        buffers.free(slot, rows, RIGHT, needless)
