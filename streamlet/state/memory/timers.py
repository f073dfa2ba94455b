"""Timers of one state: per key, in the order of time, as many as the disk holds.

A timer is a cell like any other - dirty, logged, clean, with a tombstone when it is gone - whose stored key begins with
its time.  Per key group memory holds those before a *cursor*, and whatever is not clean; the rest lies in the restored
logs and the base, and is read piece by piece when time comes near it.

```text
group 7:   |--- in memory, in a heap ---| cursor |--- on disk, in order (and what is new or gone, in memory) ---|
```
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from streamlet.state.encoding.key_groups import split_timer_key, time_and_namespace, timer_key, timer_prefix
from streamlet.state.memory.cells import ABSENT, BURIED, Cell, PassingCell, Slot

PIECE = 64
"""Timers read at a time from one key group."""
KEPT = 64
"""Timers of a key group that stay in memory when it must be freed: the next ones."""
TIMER_BYTES = 420
"""Estimated memory of a timer: cell, stored key, its places in dict and heap."""
LATEST = (1 << 63) - 1
EARLIEST = -(1 << 63)


class Due(NamedTuple):
    """A timer whose time has come."""

    time: int
    key: Any
    namespace: bytes


class TimerSpace(Protocol):
    """The store, as timers see it."""

    interval: int
    dirty: list[Cell]
    first_group: int
    end_group: int

    @property
    def is_packing(self) -> bool:
        """True while a cell that changes must keep what it was, see `KeyedStore.is_packing`."""
        ...

    def unread_value(self) -> Any:
        """ABSENT when nothing lies outside memory."""
        ...

    def range_stored(self, low: bytes, high: bytes, limit: int) -> tuple[list[bytes], bytes | None]:
        """The first entries outside memory from `low` to before `high`; and where to go on, None at the end."""
        ...

    folded_interval: int
    """Cells last changed in this interval or before are the same outside memory."""

    def buried_interval(self) -> int:
        """Tombstones of this interval or before are needed no more in memory."""
        ...

    def unstore(self, stored: bytes) -> None:
        """Says that a tombstone leaves memory."""
        ...

    def decode_key(self, packed: bytes) -> Any:
        """The key of its packed bytes."""
        ...


class TimerGroup:
    """The timers of one key group that are in memory."""

    __slots__ = ("cells", "cursor", "gone", "head", "heap")

    def __init__(self, cursor: bytes | None) -> None:
        self.cells: dict[bytes, PassingCell] = {}
        self.heap: list[bytes] = []
        """Stored keys: their order is that of time. Those of timers that are gone are passed over."""
        self.cursor = cursor
        """All timers below it are in memory; None: all are."""
        self.gone: deque[PassingCell] = deque()
        self.head: bytes | None = None
        """Where the group stands among all: that of its first timer or of its cursor, or an earlier one."""


class Timers:
    """Sets, deletes and gives back the timers of one state. All calls are short, on the loop's thread."""

    def __init__(self, space: TimerSpace, state_id: int) -> None:
        self._space = space
        self._state_id = state_id
        is_empty = space.unread_value() is ABSENT
        self._groups = {
            number: TimerGroup(None if is_empty else timer_prefix(number, state_id, EARLIEST))
            for number in range(space.first_group, space.end_group)
        }
        self._heads: list[tuple[bytes, int]] = []
        """(place, group). Those that are not the head of their group are passed over."""
        for number, group in self._groups.items():
            self._announce(group, number)
        self._turn = 0
        self._in_vain = 0

    def set(self, slot: Slot, time: int, namespace: bytes = b"") -> None:
        """Sets a timer of this key; the same one again is the same one."""
        stored = timer_key(slot.group, self._state_id, time, slot.packed, namespace)
        group = self._groups[slot.group]
        cell = group.cells.get(stored)
        if cell is None:
            # What lies on disk need not be known: it would say the same.
            cell = group.cells[stored] = PassingCell(ABSENT, None, None, 0, slot.key, stored, self._born(group, stored))
        elif cell.value is True:
            return
        self._change(cell, True)
        if group.cursor is None or stored < group.cursor:
            heapq.heappush(group.heap, stored)
            self._announce(group, slot.group)

    def set_all(self, slots: Sequence[Slot], time: int, namespace: bytes = b"") -> None:
        """Sets the same timer of several keys."""
        head = timer_prefix(0, self._state_id, time)[2:]
        groups = self._groups
        for slot in slots:
            known = slot.stored
            stored = known[:2] + head + known[4:] + namespace
            group = groups[slot.group]
            if stored in group.cells:
                self.set(slot, time, namespace)
                continue
            born = self._born(group, stored)
            cell = group.cells[stored] = PassingCell(ABSENT, None, None, 0, slot.key, stored, born)
            self._change(cell, True)
            if group.cursor is None or stored < group.cursor:
                heapq.heappush(group.heap, stored)
                if group.heap[0] is stored:
                    self._announce(group, slot.group)

    def delete(self, slot: Slot, time: int, namespace: bytes = b"") -> None:
        """Takes a timer of this key back; nothing happens when there is none."""
        stored = timer_key(slot.group, self._state_id, time, slot.packed, namespace)
        group = self._groups[slot.group]
        cell = group.cells.get(stored)
        if cell is None:
            if group.cursor is None or stored < group.cursor:
                return
            cell = group.cells[stored] = PassingCell(True, None, None, 0, slot.key, stored, 0)
        if cell.value is True:
            self._forget(group, cell)

    def pop(self, until: int) -> Due | None:
        """Takes out the earliest timer that is not after `until`; None when there is none. Ties are in the order of
        keys (their packed bytes, shorter ones first) and namespaces, whatever was restored between."""
        found = self.pop_some(until, 1)
        return found[0] if found else None

    def pop_some(self, until: int, most: int) -> list[Due]:
        """Takes out the earliest timers that are not after `until`, in the order of `pop`."""
        heads, forget, last = self._heads, self._forget, _last_of(until)
        due: list[Due] = []
        while len(due) < most and (found := self._head(last)) is not None:
            group, stored = found
            heap = group.heap
            heapq.heappop(heap)
            cell = group.cells[stored]
            forget(group, cell)
            time, namespace = time_and_namespace(stored)
            due.append(Due(time, cell.key, namespace))
            if heap:
                # It takes its next place at once.
                group.head = heap[0][4:]
                heapq.heapreplace(heads, (group.head, heads[0][1]))
        return due

    def next_time(self, until: int = LATEST) -> int | None:
        """The time of the earliest timer, None when there is none (not after `until`)."""
        found = self._head(_last_of(until))
        return None if found is None else split_timer_key(found[1])[0]

    def __len__(self) -> int:
        return sum(len(group.cells) for group in self._groups.values())

    def cells(self) -> Iterator[Cell]:
        """All timers in memory, and those that are gone and not yet let go of."""
        return chain.from_iterable(group.cells.values() for group in self._groups.values())

    # -- memory ------------------------------------------------------------------------------------------------------

    def memory_bytes(self) -> int:
        """Estimates what is in memory."""
        return len(self) * TIMER_BYTES

    @property
    def is_exhausted(self) -> bool:
        """True when every group was looked at since something became clean."""
        return self._in_vain >= len(self._groups)

    def look_again(self) -> None:
        """Says that cells became clean: tombstones go at once, the rest when memory is short."""
        self._in_vain = 0
        clean = self._space.buried_interval()
        for group in self._groups.values():
            _bury(group, clean, self._space.unstore)

    def evict_some(self) -> int:
        """Drops the far timers of one key group that are clean. Gives how many."""
        numbers = range(self._space.first_group, self._space.end_group)
        number = numbers[self._turn % len(numbers)]
        group = self._groups[number]
        self._turn += 1
        clean = self._space.folded_interval
        coming = sorted(stored for stored, cell in group.cells.items() if cell.value is True)
        dropped = [stored for stored in coming[KEPT:] if group.cells[stored].interval <= clean]
        if not dropped:
            self._in_vain += 1
            return 0
        for stored in dropped:
            del group.cells[stored]
        group.cursor = dropped[0] if group.cursor is None else min(group.cursor, dropped[0])
        group.heap = [stored for stored in coming if stored < group.cursor]  # sorted, so it is a heap
        self._announce(group, number)
        self._in_vain = 0
        return len(dropped)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _head(self, last: bytes) -> tuple[TimerGroup, bytes] | None:
        """The group of the earliest timer, if its place is not behind `last`, and its stored key; reads on from the
        disk as far as needed."""
        heads = self._heads
        while heads and heads[0][0] <= last:
            place, number = heads[0]
            group = self._groups[number]
            heap = group.heap
            if group.head == place:
                while heap and ((cell := group.cells.get(heap[0])) is None or cell.value is not True):
                    heapq.heappop(heap)
                if heap and heap[0][4:] == place:
                    return group, heap[0]
                if not heap and group.cursor is not None and group.cursor[4:] == place:
                    self._read_on(group, number)
                group.head = None
            heapq.heappop(heads)
            self._announce(group, number)
        return None

    def _announce(self, group: TimerGroup, number: int) -> None:
        """Puts a group in its place among all, where it has come forward or lost its place."""
        first = group.heap[0] if group.heap else group.cursor
        if first is not None and (group.head is None or first[4:] < group.head):
            group.head = first[4:]
            heapq.heappush(self._heads, (group.head, number))

    def _read_on(self, group: TimerGroup, number: int) -> None:
        """Brings the next piece of a group into memory."""
        assert group.cursor is not None
        end = timer_prefix(number, self._state_id + 1, EARLIEST)[:4]
        found, cursor = self._space.range_stored(group.cursor, end, PIECE)
        cells = group.cells
        for stored in found:
            if stored not in cells:
                key = self._space.decode_key(split_timer_key(stored)[1])
                cells[stored] = PassingCell(True, None, None, 0, key, stored, 0)
        known = group.cursor
        group.cursor = cursor
        # What was set meanwhile beyond the former cursor stands in memory only.
        group.heap = sorted(
            stored
            for stored, cell in cells.items()
            if cell.value is True and stored >= known and (cursor is None or stored < cursor)
        )

    def _born(self, group: TimerGroup, stored: bytes) -> int:
        """The present interval, where no timer outside memory may have this stored key."""
        return self._space.interval if group.cursor is None or stored < group.cursor else 0

    def _forget(self, group: TimerGroup, cell: PassingCell) -> None:
        if cell.born == self._space.interval:
            del group.cells[cell.stored]
            cell.value, cell.interval, cell.old = ABSENT, BURIED, None
            return
        self._change(cell, ABSENT)
        group.gone.append(cell)

    def _change(self, cell: Cell, value: Any) -> None:
        space = self._space
        if cell.interval != space.interval:
            if space.is_packing:
                cell.old = cell.value
            cell.interval = space.interval
            space.dirty.append(cell)
        cell.value = value


def _last_of(until: int) -> bytes:
    """A place above every timer of this time: no key is so long."""
    return timer_prefix(0, 0, until)[4:] + b"\xff" * 5


def _bury(group: TimerGroup, clean: int, unstore: Callable[[bytes], None]) -> None:
    """Lets go of tombstones that are on disk."""
    gone = group.gone
    while gone and (gone[0].value is not ABSENT or gone[0].interval <= clean):
        cell = gone.popleft()
        if cell.value is ABSENT and cell.interval <= clean:
            group.cells.pop(cell.stored, None)
            unstore(cell.stored)
