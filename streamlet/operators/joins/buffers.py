"""What a join remembers: the rows of both sides, per key in the order of time.

Each row is an entry of state of its own, whose namespace is its time and its number among rows of that time.  Beside
the cells memory has an index per key, so that partners are found by bisection; it is made from one scan when a key is
first met again, and forgotten when anything has left memory.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from streamlet.operators.operator import OperatorContext
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import EntryState, ValueState
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, Cell, Slot
from streamlet.state.memory.state_cells import StateCells

LEFT, RIGHT = 0, 1
NAMES = ("left", "right")

_PLACE = struct.Struct(">QI")
_ZERO = 1 << 63
"""Added to a time, so that negative ones come first."""


class SideRows:
    """The rows of one key and side, in the order of time, then of arrival: three columns."""

    __slots__ = ("cells", "times", "unmatched")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.cells: list[Cell] = []
        self.unmatched: list[Cell | None] = []
        """The mark that a row has found no partner yet, where that matters."""


class KeyRows:
    """The rows of one key."""

    __slots__ = ("due", "sides")

    def __init__(self) -> None:
        self.sides = (SideRows(), SideRows())
        self.due: int | None = None
        """The time of the earliest timer that is set for them."""


class JoinBuffers:
    """The rows of all keys.

    In the state per key: whether it has rows; the rows; and for those that are to be told of when they find no partner,
    a mark until they do.
    """

    def __init__(self, types: Sequence[Any], marked: Sequence[bool]) -> None:
        self._types = types
        self._marked = marked
        self._known: dict[Slot, KeyRows] = {}
        self._evictions = 0

    def declared_states(self) -> Mapping[str, Descriptor]:
        """The states, by name."""
        states: dict[str, Descriptor] = {"held": ValueState(bool)}
        for side, name in enumerate(NAMES):
            states[name] = EntryState(self._types[side]).told_by(f"{name}_type=")
            if self._marked[side]:
                states[f"unmatched {name}"] = EntryState(bool)
        return states

    def open(self, context: OperatorContext) -> None:
        """Binds the states."""
        assert context.store is not None, "the plan gives every keyed operator a store"
        self._store = store = context.store
        states = context.states
        self._held = store.value_cells(states["held"])
        self.cells: tuple[StateCells, StateCells] = (
            store.value_cells(states["left"]),
            store.value_cells(states["right"]),
        )
        self._marks = [
            store.value_cells(states[f"unmatched {name}"]) if is_marked else None
            for name, is_marked in zip(NAMES, self._marked, strict=True)
        ]

    def refresh(self) -> None:
        """Before each batch and each round of timers: what left memory must not be kept here."""
        if self._store.evictions != self._evictions:
            self._known.clear()
            self._evictions = self._store.evictions

    def of(self, slot: Slot) -> KeyRows:
        """The rows of a key; they may be none. Good until the next `refresh`."""
        rows = self._known.get(slot)
        if rows is None:
            rows = self._known[slot] = KeyRows()
            held = self._held.cell(slot)
            if held.value is NOT_LOADED:
                self._held.load(held)
            if held.value is not ABSENT:
                for side in (LEFT, RIGHT):
                    self._read(slot, side, rows.sides[side])
        return rows

    def add(self, slot: Slot, rows: KeyRows, side: int, time: int, stored: Any, is_unmatched: bool) -> None:
        """Keeps a row: its value as the cells hold it."""
        mine, cells = rows.sides[side], self.cells[side]
        at = bisect_right(mine.times, time)
        number = int.from_bytes(mine.cells[at - 1].stored[-4:], "big") + 1 if at and mine.times[at - 1] == time else 0
        place = _PLACE.pack(time + _ZERO, number)
        if not rows.sides[LEFT].times and not rows.sides[RIGHT].times:
            self._held.change(self._held.cell(slot), True)
        cell = cells.cell(slot, place)
        cells.change(cell, stored)
        mark = None
        marks = self._marks[side]
        if is_unmatched and marks is not None:
            mark = marks.cell(slot, place)
            marks.change(mark, True)
        mine.times.insert(at, time)
        mine.cells.insert(at, cell)
        mine.unmatched.insert(at, mark)

    def match(self, rows: KeyRows, side: int, start: int, end: int) -> None:
        """Says that these rows have found a partner."""
        unmatched, marks = rows.sides[side].unmatched, self._marks[side]
        if marks is not None:
            for at in range(start, end):
                mark = unmatched[at]
                if mark is not None:
                    marks.change(mark, ABSENT)
                    unmatched[at] = None

    def free(self, slot: Slot, rows: KeyRows, side: int, count: int) -> None:
        """Forgets the first rows of a side."""
        if not count:
            return
        self.match(rows, side, 0, count)
        mine, cells = rows.sides[side], self.cells[side]
        for cell in mine.cells[:count]:
            cells.change(cell, ABSENT)
        del mine.times[:count], mine.cells[:count], mine.unmatched[:count]
        if not rows.sides[LEFT].times and not rows.sides[RIGHT].times:
            self._held.change(self._held.cell(slot), ABSENT)

    def forget_if_empty(self, slot: Slot, rows: KeyRows) -> None:
        """Lets the index go where there is nothing to find."""
        if not rows.sides[LEFT].times and not rows.sides[RIGHT].times:
            self._known.pop(slot, None)

    def value(self, side: int, cell: Cell) -> Any:
        """The value of a row."""
        return self.cells[side].decode(cell.value)

    def _read(self, slot: Slot, side: int, into: SideRows) -> None:
        store, cells, marks = self._store, self.cells[side], self._marks[side]
        unmatched = set() if marks is None else {place for place, _ in store.scan(marks, slot)}
        for place, stored in store.scan(cells, slot):
            cell = cells.cell(slot, place)
            if cell.value is NOT_LOADED:
                cell.value = stored
            into.times.append(_PLACE.unpack(place)[0] - _ZERO)
            into.cells.append(cell)
            into.unmatched.append(marks.cell(slot, place) if marks is not None and place in unmatched else None)
