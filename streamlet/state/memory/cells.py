"""What stands in memory: one slot per live key, one cell per state and namespace in use.

A cell is *dirty* (changed since the last freeze: `interval` is the store's), *logged* (in a log that no fold has taken)
or *clean* (equal to what RocksDB has).  These objects are not seen by the garbage collector (`gc=False`), so they must
never form a cycle: a cell therefore carries its key and its stored key instead of a reference to its slot.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from streamlet.state.encoding.key_groups import HEAD_BYTES


class Missing(enum.Enum):
    """What a cell can hold instead of a value."""

    NOT_LOADED = "not loaded"
    """Nobody has looked yet what the restored state or RocksDB has."""
    ABSENT = "absent"
    """There is no value. In a frozen cell: a tombstone."""


NOT_LOADED = Missing.NOT_LOADED
ABSENT = Missing.ABSENT
BURIED = -1
"""The interval of a cell that is in memory no more, but in the ring of `Eviction` still."""


class Cell(msgspec.Struct, gc=False, eq=False):
    """One value: of one state, for one key, in one namespace."""

    value: Any
    second: Any
    """The other half of a pair that is added to in place: then `value` is the first. None: `value` is all of it."""
    old: Any
    """While a freeze is not packed, the value before the first change behind it: what the snapshot takes then."""
    interval: int
    """The interval between two freezes in which it was last changed; 0 for never."""
    key: Any
    stored: bytes
    """Its key in logs and in RocksDB."""


class PassingCell(Cell, gc=False, eq=False):
    """One that mostly comes and goes between two freezes: of a window, or of a timer."""

    born: int
    """The interval in which it was made, where nothing outside memory has its stored key: gone in the same one, it is
    dropped as if it had never been.  Else 0."""


def content(cell: Cell) -> Any:
    """What a cell holds, in one piece."""
    return cell.value if cell.second is None else (cell.value, cell.second)


class Slot(Cell, gc=False, eq=False):
    """What is known of one live key. It is itself the cell of the store's first value state."""

    group: int
    memo: Any = None
    """Free for the sink at the chain's end; lost when the key is evicted."""
    cells: dict[bytes, Cell] | None = None
    """The other cells, by state id and namespace."""

    @property
    def packed(self) -> bytes:
        """The msgpack bytes of the key."""
        return self.stored[HEAD_BYTES:]


class KeyOfRow(msgspec.Struct):
    """What stands in the key column where a row is away from its slot, behind a channel that does not route by key or
    after a restore: the key, and room for a sink."""

    key: Any
    memo: Any = None
