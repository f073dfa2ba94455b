"""Keeps memory bounded: estimates what slots and cells take, and drops clean ones in slices."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from streamlet.clock import Clock
from streamlet.state.encoding.key_groups import namespace_of
from streamlet.state.memory.cells import ABSENT, BURIED, Cell, Slot
from streamlet.state.memory.slot_table import MOVED, SlotTable

SAMPLE = 16
"""Cells measured per estimate: the average follows a change of value sizes within some dozen estimates."""
SLICE = 200
"""Cells looked at between two looks at the clock."""
RELIEF = 0.97
"""Eviction goes on down to this part of the bound, so that it does not start anew with the next key."""
NEARLY_FULL = 0.8
"""From this part of the bound on, changes are folded early: the rest fills while that is done."""
LITTER = 1000
"""So many buried cells in the ring are not worth a sweep."""
TABLE_ENTRY_BYTES = 110
"""A dict's entry at its average fill, and the place in the ring."""
ALLOCATION_BYTES = 8
"""What the allocator loses per object, on average."""
RAW_BYTES = 80
"""A `msgspec.Raw` and the head of its bytes (`sys.getsizeof` cannot say)."""


class Eviction:
    """A ring of everything in memory, oldest first. What changes often is never clean, so it needs no further rank.

    Cells that are ABSENT outside memory too leave it whatever its bound: first their places in the slots, and once they
    are a quarter of the ring, that too.
    """

    def __init__(self, table: SlotTable, bound_bytes: int) -> None:
        self.ring: deque[Cell] = deque()
        self.gone: deque[Cell] = deque()
        self.bound_bytes = bound_bytes
        self.other_bytes = 0
        """What else the store has in memory."""
        self.evicted = 0
        self._table = table
        self._average = 350.0
        self._in_vain = 0
        self._buried = 0
        self._to_sweep = 0

    def memory_bytes(self) -> int:
        """Estimates what is in memory, from a sample that goes round the ring."""
        ring = self.ring
        if ring:
            count = min(SAMPLE, len(ring))
            sampled = 0
            for _ in range(count):
                cell = ring[0]
                sampled += _size_of_cell(cell)
                ring.rotate(-1)
            weight = count / min(len(ring), 512)
            self._average += (sampled / count - self._average) * weight
        return self._estimate()

    @property
    def is_over_bound(self) -> bool:
        """True when the last sampled average says that more is in memory than may be."""
        return self._estimate() > self.bound_bytes

    @property
    def is_at_rest(self) -> bool:
        """True when it is under its bound, and nothing that is gone waits: then there is nothing to do."""
        return not (self.gone or self._to_sweep or self._buried > LITTER or self.is_over_bound)

    @property
    def is_nearly_full(self) -> bool:
        """True when little more may come into memory."""
        return self._estimate() > self.bound_bytes * NEARLY_FULL

    def room_cells(self) -> int:
        """How many cells of average size fit."""
        return max(0, int((self.bound_bytes - self.other_bytes) / (self._average + TABLE_ENTRY_BYTES)))

    @property
    def is_exhausted(self) -> bool:
        """True when everything in memory was looked at since something could be dropped, and nothing can be."""
        return self._in_vain >= len(self.ring)

    def look_again(self) -> None:
        """Says that cells became clean."""
        self._in_vain = 0

    def evict(self, folded_interval: int, clock: Clock, budget_seconds: float) -> int:
        """Drops clean cells, oldest first, until under the bound or out of time. Gives how many it dropped."""
        deadline = clock.monotonic() + budget_seconds
        before = self.evicted
        self.memory_bytes()
        enough = self.bound_bytes * RELIEF
        if not self.is_over_bound:
            return 0
        while self._estimate() > enough and not self.is_exhausted:
            self._evict_slice(folded_interval)
            if clock.monotonic() >= deadline:
                break
        return self.evicted - before

    def has_litter(self, clean: int) -> bool:
        """True when `tidy` has something to do. `clean`: tombstones of this interval or before may be buried."""
        gone = self.gone
        return (
            self._to_sweep > 0
            or self._buried > LITTER + len(self.ring) // 4
            or (bool(gone) and (gone[0].value is not ABSENT or gone[0].interval <= clean))
        )

    def tidy(self, clean: int, unstore: Callable[[bytes], None], clock: Clock, budget_seconds: float) -> None:
        """Buries cells that are gone until done or out of time; `unstore` is told of each."""
        deadline = clock.monotonic() + budget_seconds
        while self.has_litter(clean):
            if not self._bury_slice(clean, unstore):
                self._sweep_slice()
            if clock.monotonic() >= deadline:
                break

    def cells(self) -> list[Cell]:
        """Everything in memory. A key that is buried may be there again, so what is buried does not count."""
        return [cell for cell in self.ring if cell.interval != BURIED] if self._buried else list(self.ring)

    def bury(self, cell: Cell) -> None:
        """Says that a cell is in no slot any more, nor a slot in the table."""
        cell.interval = BURIED
        self._buried += 1

    def let_go(self) -> bool:
        """Lets go of some of everything; True while there is more."""
        self.gone.clear()
        for _ in range(min(MOVED, len(self.ring))):
            self.ring.popleft()
        return bool(self.ring) or self._table.let_go()

    def _bury_slice(self, clean: int, unstore: Callable[[bytes], None]) -> bool:
        """Takes cells that are gone out of their slots; False when there is none."""
        gone, table = self.gone, self._table
        for number in range(SLICE):
            if not gone or (gone[0].value is ABSENT and gone[0].interval > clean):
                return number > 0
            cell = gone.popleft()
            # One that went twice is in the list twice, and one that was evicted is in no slot.
            slot = table.get(cell.key)
            if cell.value is not ABSENT or cell.interval == BURIED or slot is None:
                continue
            if cell is not slot:
                place = cell.stored[2:4] + namespace_of(cell.stored)
                if slot.cells is None or slot.cells.get(place) is not cell:
                    continue
                del slot.cells[place]
                unstore(cell.stored)
                self.bury(cell)
            if not slot.cells and slot.value is ABSENT and slot.interval <= clean:
                del table[slot.key]
                unstore(slot.stored)
                self.bury(slot)
        return True

    def _sweep_slice(self) -> None:
        """Takes buried cells out of the ring, in one round of it."""
        ring = self.ring
        self._to_sweep = self._to_sweep or len(ring)
        for _ in range(min(SLICE, self._to_sweep, len(ring))):
            cell = ring.popleft()
            if cell.interval == BURIED:
                self._buried -= 1
            else:
                ring.append(cell)
        self._to_sweep = max(0, min(self._to_sweep - SLICE, len(ring)))

    def _evict_slice(self, folded_interval: int) -> None:
        ring = self.ring
        for _ in range(min(SLICE, len(ring))):
            cell = ring.popleft()
            if cell.interval > folded_interval or not self._drop(cell):
                ring.append(cell)
                self._in_vain += 1
            else:
                self._in_vain = 0
                self.evicted += 1

    def _drop(self, cell: Cell) -> bool:
        if cell.interval == BURIED:
            self._buried -= 1
            return True
        if isinstance(cell, Slot):
            if cell.cells:
                return False
            del self._table[cell.key]
            return True
        # Its slot is there: a slot stays as long as it has cells.
        cells = self._table[cell.key].cells
        if cells is not None:
            del cells[cell.stored[2:4] + namespace_of(cell.stored)]
        return True

    def _estimate(self) -> int:
        return int((len(self.ring) - self._buried) * (self._average + TABLE_ENTRY_BYTES)) + self.other_bytes


def _size_of_cell(cell: Cell) -> int:
    size = sys.getsizeof(cell) + sys.getsizeof(cell.stored) + 2 * ALLOCATION_BYTES + _size_of_value(cell.value)
    if cell.second is not None:
        size += _size_of_value(cell.second)
    if cell.old is not None and cell.old is not cell.value:
        size += _size_of_value(cell.old)
    if isinstance(cell, Slot):
        size += _size_of_value(cell.key)
        if cell.cells is not None:
            size += sys.getsizeof(cell.cells)
    return size


def _size_of_value(value: Any) -> int:
    if value is None or value is True or value is False:
        return 0
    if type(value) in (int, float, str, bytes):
        return sys.getsizeof(value) + ALLOCATION_BYTES
    if isinstance(value, msgspec.Raw):
        return memoryview(value).nbytes + RAW_BYTES
    size = sys.getsizeof(value) + ALLOCATION_BYTES
    if isinstance(value, (tuple, frozenset)):
        return size + sum(map(_size_of_value, value))
    if isinstance(value, msgspec.Struct):
        return size + sum(map(_size_of_value, msgspec.structs.astuple(value)))
    if dataclasses.is_dataclass(value):
        return size + sum(_size_of_value(getattr(value, field.name)) for field in dataclasses.fields(value))
    return size
