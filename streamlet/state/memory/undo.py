"""What a record changes in keyed state, so that it can be undone: only under an error policy other than `fail`.

Every cell that is asked for while the undo_log is open is noted as it is, before anybody can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from streamlet.state.encoding.codec import Codec
from streamlet.state.encoding.key_groups import timer_key
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, Cell, PassingCell, Slot
from streamlet.state.memory.state_cells import CellSpace, StateCells
from streamlet.state.memory.timers import TimerGroup, Timers, TimerSpace


class Undoable(Protocol):
    """The store, as undo logs see it."""

    dirty: list[Cell]
    undo_log: UndoLog | None


class UndoLog:
    """Cells as they were when it was opened. Nothing is frozen or evicted while it is open."""

    __slots__ = ("_born", "_cells", "_first_dirty", "_space", "is_open")

    def __init__(self, space: Undoable) -> None:
        self._space = space
        self._cells: list[tuple[Cell, Any, Any, Any, int]] = []
        self._born: list[tuple[dict[bytes, PassingCell], bytes]] = []
        self._first_dirty = 0
        self.is_open = False

    def open(self) -> None:
        """Begins anew."""
        self.is_open = True
        self._first_dirty = len(self._space.dirty)

    def restart(self) -> None:
        """Lets what has changed stand, and begins anew."""
        self.close()
        self.open()

    def close(self) -> None:
        """Lets what has changed stand."""
        self.is_open = False
        self._cells.clear()
        self._born.clear()

    def undo(self) -> None:
        """Brings everything back to where it was, and closes."""
        for cell, value, second, old, interval in reversed(self._cells):
            cell.value, cell.second, cell.old, cell.interval = value, second, old, interval
        for cells, stored in self._born:
            cell = cells.pop(stored, None)
            if cell is not None:
                # It may wait among the tombstones still, and must not be taken for one.
                cell.value = NOT_LOADED
        del self._space.dirty[self._first_dirty :]
        self.close()

    def note(self, cell: Cell) -> None:
        """Keeps what a cell is before it may change."""
        self._cells.append((cell, cell.value, cell.second, cell.old, cell.interval))

    def note_birth(self, cells: dict[bytes, PassingCell], stored: bytes) -> None:
        """Says that there is no such cell yet, and that this means something."""
        self._born.append((cells, stored))


class UndoableCells(StateCells):
    """The cells of one state, each noted when it is asked for."""

    __slots__ = ("_holds_slots", "_undo_log")

    def __init__(self, space: CellSpace, state_id: int, codec: Codec, undo_log: UndoLog, *, inline: bool) -> None:
        # Nobody may take a slot for its cell by himself: it would not be noted.
        super().__init__(space, state_id, codec, inline=False)
        self._holds_slots = inline
        self._undo_log = undo_log

    def cell(self, slot: Slot, namespace: bytes = b"") -> Cell:
        cell = slot if self._holds_slots and not namespace else super().cell(slot, namespace)
        if self._undo_log.is_open:
            self._undo_log.note(cell)
        return cell

    def maker(self, namespace: bytes) -> Callable[[Slot], Cell]:
        return lambda slot: self.cell(slot, namespace)

    def free(self, slot: Slot, cell: Cell) -> None:
        # It may have been noted, and must be there when that is undone.
        self.change(cell, ABSENT)


class UndoableTimers(Timers):
    """Timers whose setting and deletion can be undone; their firing cannot."""

    def __init__(self, space: TimerSpace, state_id: int, undo_log: UndoLog) -> None:
        super().__init__(space, state_id)
        self._undo_log = undo_log

    def set(self, slot: Slot, time: int, namespace: bytes = b"") -> None:
        self._note(slot, time, namespace)
        super().set(slot, time, namespace)

    def set_all(self, slots: Sequence[Slot], time: int, namespace: bytes = b"") -> None:
        for slot in slots:
            self.set(slot, time, namespace)

    def delete(self, slot: Slot, time: int, namespace: bytes = b"") -> None:
        self._note(slot, time, namespace)
        super().delete(slot, time, namespace)

    def _forget(self, group: TimerGroup, cell: PassingCell) -> None:
        # It may have been noted, and must be there when that is undone.
        cell.born = 0
        super()._forget(group, cell)

    def _note(self, slot: Slot, time: int, namespace: bytes) -> None:
        if not self._undo_log.is_open:
            return
        stored = timer_key(slot.group, self._state_id, time, slot.packed, namespace)
        cells = self._groups[slot.group].cells
        cell = cells.get(stored)
        if cell is None:
            self._undo_log.note_birth(cells, stored)
        else:
            self._undo_log.note(cell)


@contextmanager
def undoable(store: Undoable) -> Iterator[UndoLog]:
    """What is bound meanwhile - cells, handles, timers - can be undone by the undo_log that this gives."""
    store.undo_log = undo_log = UndoLog(store)
    try:
        yield undo_log
    finally:
        store.undo_log = None


def cells_in(space: CellSpace, state_id: int, codec: Codec, undo_log: UndoLog | None, *, inline: bool) -> StateCells:
    """The cells of a state, with a undo_log or without."""
    if undo_log is None:
        return StateCells(space, state_id, codec, inline=inline)
    return UndoableCells(space, state_id, codec, undo_log, inline=inline)


def timers_in(space: TimerSpace, state_id: int, undo_log: UndoLog | None) -> Timers:
    """The timers of a state, with a undo_log or without."""
    return Timers(space, state_id) if undo_log is None else UndoableTimers(space, state_id, undo_log)
