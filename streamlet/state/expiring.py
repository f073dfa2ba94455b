"""Handles of states with a time to live; see `lifetimes`. What is over is not there for any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from streamlet.state.handles import Current, ListHandle, MapHandle, ValueHandle, list_place
from streamlet.state.lifetimes import Lifetime
from streamlet.state.memory.cells import ABSENT, Slot
from streamlet.state.memory.state_cells import StateCells

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

Entry = tuple[int, int, Any]
"""When it was written, for when its timer is set, the value."""
Extent = tuple[int, int, int]
"""Of a list: for when its timer is set, the index of its first element, and of the first one after it."""
ELEMENTS_AT_ONCE = 1000
"""So many elements of one list are freed before others get a turn."""


class _Entries:
    """Values with their times, under any number of namespaces per key."""

    __slots__ = ("_cells", "_lifetime")

    def __init__(self, cells: StateCells, lifetime: Lifetime) -> None:
        self._cells = cells
        self._lifetime = lifetime

    def get(self, slot: Slot, namespace: bytes = b"") -> Any:
        entry = self._cells.value(slot, namespace)
        return entry if entry is ABSENT else self.seen(slot, entry, namespace)

    def seen(self, slot: Slot, entry: Entry, namespace: bytes) -> Any:
        """The value of an entry, or ABSENT when it is over; lets it live longer when reading does."""
        stamp, armed, value = entry
        lifetime = self._lifetime
        if lifetime.is_over(stamp):
            return ABSENT
        if lifetime.is_refreshed_by_reading and (now := lifetime.stamp()) > stamp:
            self._cells.update(slot, (now, armed, value), namespace)
        return value

    def put(self, slot: Slot, value: Any, namespace: bytes = b"") -> None:
        lifetime, cells = self._lifetime, self._cells
        stamp = lifetime.stamp()
        entry = cells.value(slot, namespace)
        if entry is ABSENT:
            armed = lifetime.armed_for(stamp)
            cells.update(slot, (stamp, armed, value), namespace)
            lifetime.timers.set(slot, armed, namespace)
            return
        before, armed, _ = entry
        if before > stamp and not lifetime.is_over(before):
            stamp = before
        cells.update(slot, (stamp, armed, value), namespace)

    def forget(self, slot: Slot, namespace: bytes = b"") -> None:
        cells = self._cells
        entry = cells.value(slot, namespace)
        if entry is not ABSENT:
            self._lifetime.timers.delete(slot, entry[1], namespace)
            cells.change(cells.cell(slot, namespace), ABSENT)

    def sweep(self, slot: Slot, time: int, namespace: bytes) -> None:
        lifetime, cells = self._lifetime, self._cells
        entry = cells.value(slot, namespace)
        if entry is ABSENT or entry[1] != time:
            return
        stamp, _, value = entry
        if lifetime.is_over(stamp):
            cells.change(cells.cell(slot, namespace), ABSENT)
        else:
            armed = lifetime.armed_for(stamp)
            cells.update(slot, (stamp, armed, value), namespace)
            lifetime.timers.set(slot, armed, namespace)


class ExpiringValueHandle(ValueHandle[T]):
    """One value of the key in hand, until it is over."""

    __slots__ = ("_entries", "lifetime")

    def __init__(self, store: Current, cells: StateCells, lifetime: Lifetime) -> None:
        super().__init__(store, cells)
        self.lifetime = lifetime
        self._entries = _Entries(cells, lifetime)

    def read(self) -> Any:
        return self._entries.get(self._slot())

    def update(self, value: T) -> None:
        self._entries.put(self._slot(), value)

    def clear(self) -> None:
        self._entries.forget(self._slot())

    def sweep(self, slot: Slot, time: int, namespace: bytes) -> None:
        """Frees the value if it is over."""
        self._entries.sweep(slot, time, namespace)


class ExpiringMapHandle(MapHandle[K, V]):
    """A map of the key in hand, each entry until it is over."""

    __slots__ = ("_entries", "lifetime")

    def __init__(self, store: Current, cells: StateCells, key_type: Any, lifetime: Lifetime) -> None:
        super().__init__(store, cells, key_type)
        self.lifetime = lifetime
        self._entries = _Entries(cells, lifetime)

    def get(self, key: K, default: Any = None) -> Any:
        value = self._entries.get(self._slot(), self._pack(key))
        return default if value is ABSENT else value

    def put(self, key: K, value: V) -> None:
        self._entries.put(self._slot(), value, self._pack(key))

    def remove(self, key: K) -> None:
        self._entries.forget(self._slot(), self._pack(key))

    def contains(self, key: K) -> bool:
        return self._entries.get(self._slot(), self._pack(key)) is not ABSENT

    __contains__ = contains

    def items(self) -> Iterator[tuple[K, V]]:
        return iter([(self._decode_key(namespace), value) for namespace, value in self._live()])

    def keys(self) -> Iterator[K]:
        return iter([self._decode_key(namespace) for namespace, _ in self._live()])

    def values(self) -> Iterator[V]:
        return iter([value for _, value in self._live()])

    def is_empty(self) -> bool:
        return not self._live()

    def clear(self) -> None:
        slot = self._slot()
        for namespace, _ in self._store.scan(self._cells, slot):
            self._entries.forget(slot, namespace)

    def sweep(self, slot: Slot, time: int, namespace: bytes) -> None:
        """Frees the entry if it is over."""
        self._entries.sweep(slot, time, namespace)

    def _live(self) -> list[tuple[bytes, Any]]:
        slot, decode, seen = self._slot(), self._cells.decode, self._entries.seen
        found = [(name, seen(slot, decode(stored), name)) for name, stored in self._store.scan(self._cells, slot)]
        return [(namespace, value) for namespace, value in found if value is not ABSENT]


class ExpiringListHandle(ListHandle[T]):
    """A list of the key in hand, each element until it is over.

    Elements are freed from the front: one that came late is freed together with the one before it.
    """

    __slots__ = ("lifetime",)

    def __init__(self, store: Current, cells: StateCells, extents: StateCells, lifetime: Lifetime) -> None:
        super().__init__(store, cells, extents)
        self.lifetime = lifetime

    def get(self) -> list[T]:
        slot, cells, is_over = self._slot(), self._cells, self.lifetime.is_over
        _, first, end = self._extent(slot)
        elements = [cells.cell(slot, list_place(index)) for index in range(first, end)]
        cells.load_all(elements)
        found = [cells.decode(element.value) for element in elements]
        return [value for stamp, value in found if not is_over(stamp)]

    def __len__(self) -> int:
        return len(self.get())

    def extend(self, values: Iterable[T]) -> None:
        slot, cells = self._slot(), self._cells
        stamp = self.lifetime.stamp()
        armed, first, index = self._extent(slot)
        is_new = first == index
        try:
            for value in values:
                cells.update(slot, (stamp, value), list_place(index))
                index += 1
        finally:
            # Also when a value in the middle was refused: what is stored and what the extent says stay the same.
            if first < index:
                if is_new:
                    armed = self.lifetime.armed_for(stamp)
                    self.lifetime.timers.set(slot, armed)
                self._set_extent(slot, (armed, first, index))

    def update(self, values: Iterable[T]) -> None:
        values = list(values)
        self.clear()
        self.extend(values)

    def clear(self) -> None:
        slot = self._slot()
        armed, first, end = self._extent(slot)
        if first < end:
            self.lifetime.timers.delete(slot, armed)
            self._forget(slot, first, end)
            self._set_extent(slot, None)

    def sweep(self, slot: Slot, time: int, namespace: bytes) -> None:
        """Frees the first elements that are over."""
        armed, first, end = self._extent(slot)
        if armed != time or first == end:
            return
        lifetime, cells = self.lifetime, self._cells
        start = first
        while first < end:
            stamp, _ = cells.value(slot, list_place(first))
            if not lifetime.is_over(stamp):
                armed = lifetime.armed_for(stamp)
                break
            if first - start == ELEMENTS_AT_ONCE:
                break
            first += 1
        self._forget(slot, start, first)
        self._set_extent(slot, (armed, first, end) if first < end else None)
        if first < end:
            lifetime.timers.set(slot, armed)

    def _extent(self, slot: Slot) -> Extent:
        extent: Any = self._lengths.value(slot)
        return (0, 0, 0) if extent is ABSENT else extent

    def _set_extent(self, slot: Slot, extent: Extent | None) -> None:
        self._lengths.change(self._lengths.cell(slot), ABSENT if extent is None else extent)
