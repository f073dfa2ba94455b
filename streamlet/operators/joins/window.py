"""window_join: pairs of values of one key that lie in the same window.

What is in the state: per key and open window the values of both sides, one entry each, how many these are, and one
timer.  All are freed when the window closes, at its end plus the allowed lateness.  Sliding windows share their panes,
so a value is kept once however many windows it is in; sessions are made of the values of both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlet.elements import Batch
from streamlet.operators.functions import call_most
from streamlet.operators.joins.operator import Join
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.windows.assigners import Window
from streamlet.operators.windows.contents import Contents
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import WindowState
from streamlet.state.memory.cells import ABSENT, Cell, Slot
from streamlet.state.memory.state_cells import StateCells

_MANY = 1000
"""Pairs that are put out as one batch."""


class BothSides(Contents):
    """The values of both sides of a window; what is kept is how many of each lie in which bucket.

    When the window is put out, each left value meets each right one.  A side that is alone there meets None, where the
    join is an outer one.
    """

    kept_type = tuple[tuple[bytes, int, int], ...]
    is_trusted = True
    merge = staticmethod(lambda one, other: (*one, *other))

    def __init__(self, join: Join) -> None:
        self.join = join
        self.late_remedy = "left_late and right_late keep them, allowed_lateness waits for them"

    def declared_states(self) -> Mapping[str, Descriptor]:
        left, right = self.join.types
        return {
            "left": WindowState(left).told_by("left_type="),
            "right": WindowState(right).told_by("right_type="),
        }

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.cells: list[StateCells] = [context.store.value_cells(context.states[name]) for name in ("left", "right")]

    def first(self, slot: Slot, bucket: bytes, value: Any) -> Any:
        self.cells[self.input].update(slot, value, bucket + bytes(4))
        return ((bucket, 0, 1) if self.input else (bucket, 1, 0),)

    def add(self, slot: Slot, kept: Any, value: Any) -> Any:
        *others, (bucket, lefts, rights) = kept
        count = rights if self.input else lefts
        self.cells[self.input].update(slot, value, bucket + count.to_bytes(4, "big"))
        return (*others, (bucket, lefts, rights + 1) if self.input else (bucket, lefts + 1, rights))

    def free(self, slot: Slot, kept: Any) -> None:
        for side in (0, 1):
            for cell in self._cells_of(side, slot, kept):
                self.cells[side].change(cell, ABSENT)

    def put_out(self, fired: Batch[Any], windows: list[Window], out: Emit) -> None:
        found = _Pairs()
        keeps_left, keeps_right = self.join.keeps_unmatched
        for slot, kept, window in zip(fired.keys or (), fired.values, windows, strict=True):
            lefts, rights = (self._values(side, slot, kept) for side in (0, 1))
            if not rights and keeps_left:
                rights = [None]
            elif not lefts and keeps_right:
                lefts = [None]
            for left in lefts:
                found.add(left, rights, window, slot)
                if len(found.lefts) >= _MANY:
                    self._emit(found, out)
                    found = _Pairs()
        self._emit(found, out)

    def _emit(self, found: _Pairs, out: Emit) -> None:
        if found.lefts:

            def leave_out(error: BaseException, row: int) -> None:
                pair = (found.lefts[row], found.rights[row])
                failure = self.failure(error, Batch([pair], [times[row]], [found.slots[row]]), 0)
                failure.__cause__ = error
                self.context.leave_out(failure, True)

            times = [window.end - 1 for window in found.windows]
            results, gone = call_most(self.join.function, (found.lefts, found.rights, found.windows), leave_out)
            if results:
                out(Batch(found.lefts, times, found.slots).without(gone).with_values(results))

    def _values(self, side: int, slot: Slot, kept: Any) -> list[Any]:
        cells = self.cells[side]
        found = self._cells_of(side, slot, kept)
        cells.load_all(found)
        return [cells.decode(cell.value) for cell in found]

    def _cells_of(self, side: int, slot: Slot, kept: Any) -> list[Cell]:
        cell = self.cells[side].cell
        return [
            cell(slot, bucket + index.to_bytes(4, "big")) for bucket, *counts in kept for index in range(counts[side])
        ]


class _Pairs:
    """What is to be put out, as columns."""

    def __init__(self) -> None:
        self.lefts: list[Any] = []
        self.rights: list[Any] = []
        self.windows: list[Window] = []
        self.slots: list[Slot] = []

    def add(self, left: Any, rights: list[Any], window: Window, slot: Slot) -> None:
        """Pairs one value of the left side with all of the right one."""
        count = len(rights)
        self.lefts += [left] * count
        self.rights += rights
        self.windows += [window] * count
        self.slots += [slot] * count
