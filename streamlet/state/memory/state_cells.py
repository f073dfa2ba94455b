"""One declared state as operators and handles see it: where its cells are, and what they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from streamlet.errors import StateTypeError
from streamlet.state.encoding.codec import Codec
from streamlet.state.encoding.key_groups import namespace_of, stored_key
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, Cell, PassingCell, Slot, content


class CellSpace(Protocol):
    """What the cells of all states share: the store, seen from here."""

    interval: int
    dirty: list[Cell]
    gone: deque[Cell]
    """Cells that became ABSENT: out of memory with them once they are so outside memory too."""

    @property
    def is_packing(self) -> bool:
        """True while a cell that changes must keep what it was, see `KeyedStore.is_packing`."""
        ...

    def unread_value(self) -> Any:
        """What a new cell holds: NOT_LOADED, or ABSENT when there is nothing that could be loaded."""
        ...

    def remember(self, cell: Cell) -> None:
        """Counts a cell that came into memory."""
        ...

    def drop(self, cell: Cell) -> None:
        """Forgets a cell that left its slot and is nowhere outside memory."""
        ...

    def read(self, stored: Sequence[bytes]) -> Sequence[bytes | msgspec.Raw | None]:
        """Gives what is stored outside memory."""
        ...


class StateCells:
    """The cells of one state.

    The loop of an operator that knows its columns may do `change` itself, cell by cell: load a cell whose value is
    NOT_LOADED; if its interval is not that of the store, keep `old` while the store is packing, set it and append it to
    the store's dirty list; then set the value, encoded unless its class is in `plain`.

    A loop that owns its state may keep pairs in two halves, `value` and `second`: an object less in memory for each
    key.  They are loaded in one piece.
    """

    __slots__ = ("_id", "_space", "_state_id", "codec", "decode", "encode", "holds_bytes", "inline", "plain")

    def __init__(self, space: CellSpace, state_id: int, codec: Codec, *, inline: bool) -> None:
        self._space = space
        self._state_id = state_id
        self._id = state_id.to_bytes(2, "big")
        self.inline = inline
        """True when a slot itself is the cell of its key."""
        self.codec = codec
        self.holds_bytes = codec.holds_bytes
        """True when cells hold packed bytes: `decode` gives the value."""
        self.plain = codec.plain
        """Classes whose values need no `encode`."""
        self.encode = codec.encode
        self.decode = codec.decode

    def cell(self, slot: Slot, namespace: bytes = b"") -> Cell:
        """Gives the cell of a key, which may be NOT_LOADED."""
        if self.inline and not namespace:
            return slot
        cells = slot.cells
        cell = cells.get(self._id + namespace) if cells is not None else None
        return self._maker(namespace)(slot) if cell is None else cell

    def maker(self, namespace: bytes) -> Callable[[Slot], Cell]:
        """Gives a function that gives the cell of a key in this namespace: all that it needs is bound once, for the
        batch in hand."""
        return self._maker(namespace)

    def _maker(self, namespace: bytes) -> Callable[[Slot], Cell]:
        id, space, place = self._id, self._space, self._id + namespace
        unread, interval, remember = space.unread_value(), space.interval, space.remember
        born = interval if unread is ABSENT else 0

        def make(slot: Slot) -> Cell:
            cells = slot.cells
            if cells is None:
                cells = slot.cells = {}
            cell = cells.get(place)
            if cell is None:
                known = slot.stored
                stored = known[:2] + id + known[4:] + namespace
                cell = cells[place] = PassingCell(unread, None, None, 0, slot.key, stored, born)
                remember(cell)
            return cell

        return make

    def place(self, namespace: bytes) -> bytes:
        """Where `Slot.cells` has the cell of a namespace, if it is in memory."""
        return self._id + namespace

    def load(self, cell: Cell) -> None:
        """Reads a cell that is NOT_LOADED; afterwards it holds a value or ABSENT."""
        cell.value = self._unpack(cell, self._space.read((cell.stored,))[0])

    def load_all(self, cells: Sequence[Cell]) -> None:
        """Reads those of these cells that are NOT_LOADED, several at once: a third of the time of one by one."""
        unread = [cell for cell in cells if cell.value is NOT_LOADED]
        if unread:
            for cell, data in zip(unread, self._space.read([cell.stored for cell in unread]), strict=True):
                cell.value = self._unpack(cell, data)
                if data is None and not cell.interval and type(cell) is PassingCell:
                    cell.born = self._space.interval

    def value(self, slot: Slot, namespace: bytes = b"") -> Any:
        """Gives the user's value, or ABSENT."""
        cell = self.cell(slot, namespace)
        if cell.value is NOT_LOADED:
            self.load(cell)
        stored = content(cell)
        return self.decode(stored) if self.holds_bytes and stored is not ABSENT else stored

    def change(self, cell: Cell, stored: Any) -> None:
        """Gives a cell a new content: encoded, or ABSENT. It need not have been loaded."""
        space = self._space
        if cell.interval != space.interval:
            if space.is_packing:
                cell.old = content(cell)
            cell.interval = space.interval
            space.dirty.append(cell)
        cell.value = stored
        if cell.second is not None:
            cell.second = None
        if stored is ABSENT:
            space.gone.append(cell)

    def free(self, slot: Slot, cell: Cell) -> None:
        """Ends a cell: nobody but its slot may have it any more."""
        space = self._space
        if type(cell) is not PassingCell or cell.born != space.interval:
            self.change(cell, ABSENT)
            return
        assert slot.cells is not None
        del slot.cells[self._id + namespace_of(cell.stored)]
        cell.value = ABSENT
        cell.old = cell.second = None
        space.drop(cell)
        if not slot.cells:
            space.gone.append(slot)

    def update(self, slot: Slot, value: Any, namespace: bytes = b"") -> None:
        """Keeps a user's value; raises `StateTypeError` naming state and key when it is not of the declared type."""
        if type(value) not in self.plain:
            try:
                value = self.encode(value)
            except StateTypeError as error:
                raise StateTypeError(f"{error.message} (key {slot.key!r})", remedy=error.remedy) from error.__cause__
        self.change(self.cell(slot, namespace), value)

    def prefix(self, slot: Slot) -> bytes:
        """What the stored keys of all namespaces of this key begin with."""
        return stored_key(slot.group, self._state_id, slot.packed)

    def in_memory(self, slot: Slot) -> list[Cell]:
        """The cells of this key that are in memory, of all namespaces."""
        own = self._id
        return [cell for place, cell in (slot.cells or {}).items() if place.startswith(own)]

    def _unpack(self, cell: Cell, data: bytes | msgspec.Raw | None) -> Any:
        if data is None:
            return ABSENT
        try:
            return self.codec.unpack(data)
        except StateTypeError as error:
            raise StateTypeError(f"{error.message} (key {cell.key!r})", remedy=error.remedy) from error.__cause__
