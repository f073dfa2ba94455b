"""Keeps memory bounded: estimates what slots and cells take, and drops clean ones in slices."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from typing import Any

import msgspec

from streamlet.clock import Clock
from streamlet.state.key_groups import namespace_of
from streamlet.state.slots import Cell, Slot, SlotTable

SAMPLE = 16
"""Cells measured per estimate: the average follows a change of value sizes within some dozen estimates."""
SLICE = 200
"""Cells looked at between two looks at the clock."""
RELIEF = 0.97
"""Eviction goes on down to this part of the bound, so that it does not start anew with the next key."""
NEARLY_FULL = 0.8
"""From this part of the bound on, changes are folded early: the rest fills while that is done."""
TABLE_ENTRY_BYTES = 110
"""A dict's entry at its average fill, and the place in the ring."""
ALLOCATION_BYTES = 8
"""What the allocator loses per object, on average."""
RAW_BYTES = 80
"""A `msgspec.Raw` and the head of its bytes (`sys.getsizeof` cannot say)."""


class Residency:
    """A ring of everything in memory, oldest first. What changes often is never clean, so it needs no further rank."""

    def __init__(self, table: SlotTable, bound_bytes: int) -> None:
        self.ring: deque[Cell] = deque()
        self.bound_bytes = bound_bytes
        self.other_bytes = 0
        """What else the store has in memory."""
        self.evicted = 0
        self._table = table
        self._average = 350.0
        self._in_vain = 0

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

    def evict(self, folded_epoch: int, clock: Clock, budget_seconds: float) -> int:
        """Drops clean cells, oldest first, until under the bound or out of time. Gives how many it dropped."""
        deadline = clock.monotonic() + budget_seconds
        before = self.evicted
        self.memory_bytes()
        enough = self.bound_bytes * RELIEF
        if not self.is_over_bound:
            return 0
        while self._estimate() > enough and not self.is_exhausted:
            self._evict_slice(folded_epoch)
            if clock.monotonic() >= deadline:
                break
        return self.evicted - before

    def _evict_slice(self, folded_epoch: int) -> None:
        ring = self.ring
        for _ in range(min(SLICE, len(ring))):
            cell = ring.popleft()
            if cell.epoch > folded_epoch or not self._drop(cell):
                ring.append(cell)
                self._in_vain += 1
            else:
                self._in_vain = 0
                self.evicted += 1

    def _drop(self, cell: Cell) -> bool:
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
        return int(len(self.ring) * (self._average + TABLE_ENTRY_BYTES)) + self.other_bytes


def _size_of_cell(cell: Cell) -> int:
    size = sys.getsizeof(cell) + sys.getsizeof(cell.stored) + 2 * ALLOCATION_BYTES + _size_of_value(cell.value)
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
