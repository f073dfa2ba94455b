"""Windows and timers that come and go between two freezes are written nowhere, and what was written is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamlet.state.descriptors import TimerState, WindowState
from streamlet.state.memory.cells import ABSENT
from tests.unit.state_kit import STORES, checkpoint, declare, fold, make_store

STATES = declare(pane=WindowState(int), timers=TimerState())
KEYS = [f"key-{number}" for number in range(50)]
SPACE = b"w"


class Windows:
    """A store with a window and a timer for each key."""

    def __init__(self, kind: type[Any], root: Path, *restored: Any) -> None:
        self.store = make_store(kind, root, STATES)
        self.store.open(restored)
        self.cells = self.store.value_cells(STATES[0].spec)
        self.timers = self.store.timers(STATES[1].spec)

    def begin(self, value: int = 1) -> None:
        slots = self.store.lookup(KEYS)
        made = list(map(self.cells.maker(SPACE), slots))
        self.cells.load_all(made)
        for cell in made:
            self.cells.change(cell, value)
        self.timers.set_all(slots, 5, SPACE)

    def end(self) -> int:
        """Fires all timers and frees their windows; gives how many."""
        due = self.timers.pop_some(10, 1000)
        for slot in self.store.lookup([one.key for one in due]):
            self.cells.free(slot, self.cells.cell(slot, SPACE))
        return len(due)

    def written(self) -> int:
        """Takes a checkpoint; gives how many entries its log has."""
        cut = self.store.cut + 1
        snapshot = checkpoint(self.store, cut)
        return sum(log.entries for log in snapshot.logs if log.cut == cut)

    def restored(self, kind: type[Any], root: Path) -> Windows:
        saved = checkpoint(self.store, self.store.cut + 1)
        self.store.close()
        return Windows(kind, root, saved)

    def values(self) -> set[Any]:
        return {self.cells.value(slot, SPACE) for slot in self.store.lookup(KEYS)}


@pytest.mark.parametrize("kind", STORES)
def test_what_comes_and_goes_between_two_freezes_is_in_no_log(kind: type[Any], tmp_path: Path) -> None:
    windows = Windows(kind, tmp_path)
    windows.store.lookup(KEYS)
    windows.written()
    for _ in range(3):
        windows.begin()
        assert windows.end() == len(KEYS)
    assert windows.written() == 0
    assert (windows.end(), len(windows.timers), windows.values()) == (0, 0, {ABSENT})
    windows.store.close()


@pytest.mark.parametrize("kind", STORES)
def test_what_went_behind_the_freeze_is_deleted_in_the_next_log(kind: type[Any], tmp_path: Path) -> None:
    windows = Windows(kind, tmp_path)
    windows.begin()
    assert windows.written() >= 2 * len(KEYS)
    assert windows.end() == len(KEYS)
    assert windows.written() == 2 * len(KEYS)
    windows = windows.restored(kind, tmp_path)
    assert (windows.end(), windows.values()) == (0, {ABSENT})
    windows.store.close()


@pytest.mark.parametrize("kind", STORES)
def test_what_went_while_its_birth_was_packed_is_deleted_too(kind: type[Any], tmp_path: Path) -> None:
    windows = Windows(kind, tmp_path)
    windows.begin()
    windows.store.freeze(1)
    assert windows.end() == len(KEYS)
    windows.begin(2)
    assert windows.end() == len(KEYS)
    windows.store.pack(1.0)
    windows.store.write_log()
    saved = windows.store.snapshot(1)
    after = windows.restored(kind, tmp_path)
    assert (after.end(), after.values()) == (0, {ABSENT})
    after.store.close()
    before = Windows(kind, tmp_path, saved)
    assert before.values() == {1}
    assert before.end() == len(KEYS)
    before.store.close()


@pytest.mark.parametrize("kind", STORES)
def test_a_window_that_begins_again_after_a_restore_stays_gone_when_it_goes(kind: type[Any], tmp_path: Path) -> None:
    windows = Windows(kind, tmp_path)
    windows.begin()
    windows = windows.restored(kind, tmp_path)
    assert windows.end() == len(KEYS)
    windows.written()
    fold(windows.store)
    while windows.store.can_evict():
        windows.store.evict(1.0)
    windows.begin(2)
    assert windows.end() == len(KEYS)
    windows = windows.restored(kind, tmp_path)
    assert (windows.end(), windows.values()) == (0, {ABSENT})
    windows.begin(3)
    windows = windows.restored(kind, tmp_path)
    assert windows.values() == {3}
    assert windows.end() == len(KEYS)
    windows.store.close()


@pytest.mark.parametrize("kind", STORES)
def test_slots_of_windows_that_came_and_went_leave_memory(kind: type[Any], tmp_path: Path) -> None:
    windows = Windows(kind, tmp_path)
    windows.begin()
    windows.end()
    while windows.store.can_evict():
        windows.store.evict(1.0)
    assert windows.store.keys_in_memory == 0
    windows.store.close()


@pytest.mark.parametrize("kind", STORES)
def test_timers_popped_together_come_in_the_order_of_time_then_key(kind: type[Any], tmp_path: Path) -> None:
    windows = Windows(kind, tmp_path)
    slots = windows.store.lookup(KEYS)
    for time in (7, 3, 9, 3):
        windows.timers.set_all(slots, time)
    windows.timers.delete(slots[0], 3)
    expected = sorted((time, slot.stored[4:], slot.key) for time in (3, 7) for slot in slots)
    expected = [one for one in expected if (one[0], one[2]) != (3, KEYS[0])]
    popped = []
    while some := windows.timers.pop_some(8, 7):
        popped += [(one.time, one.key) for one in some]
    assert popped == [(time, key) for time, _, key in expected]
    assert windows.timers.next_time() == 9
    windows.store.close()
