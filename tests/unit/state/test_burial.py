"""Cells that are gone leave memory once they are gone on disk too, whatever the bound; and stay gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.descriptors import MapState, TimerState, ValueState, WindowState
from streamlet.state.memory.cells import ABSENT
from streamlet.state.memory.eviction import LITTER
from tests.unit.state_kit import STORES, checkpoint, declare, fold, make_store

STATES = declare(pane=WindowState(int), timers=TimerState())
KEYS = [f"key-{number}" for number in range(50)]


def _open(kind: type[Any], root: Path, *restored: Any, states: Any = STATES) -> Any:
    store = make_store(kind, root, states)
    store.open(restored)
    return store


def _set(store: Any, value: Any, *namespaces: bytes) -> None:
    cells = store.value_cells(STATES[0].spec)
    for slot in store.lookup(KEYS):
        for namespace in namespaces:
            cells.change(cells.cell(slot, namespace), value)


def _values(store: Any, namespace: bytes) -> set[Any]:
    cells = store.value_cells(STATES[0].spec)
    return {cells.value(slot, namespace) for slot in store.lookup(KEYS)}


def _settle(store: Any) -> None:
    """Two checkpoints and a fold, and all that may leave memory leaves it."""
    for _ in range(2):
        store.lookup(["other"])
        store.value_cells(STATES[0].spec).update(store.lookup(["other"])[0], store.cut, b"w")
        checkpoint(store, store.cut + 1)
    fold(store)
    while store.can_evict():
        store.evict(1.0)


@pytest.mark.parametrize("kind", STORES)
def test_memory_stays_flat_while_windows_move(kind: type[Any], tmp_path: Path) -> None:
    store = _open(kind, tmp_path)
    sizes = []
    for number in range(40):
        _set(store, number, b"%d" % number, b"%d again" % number)
        if number:
            _set(store, ABSENT, b"%d" % (number - 1), b"%d again" % (number - 1))
        _settle(store)
        sizes.append(len(store.eviction.ring))
    open_cells = 3 * len(KEYS) + 2
    assert max(sizes) <= (open_cells + LITTER) * 4 // 3 + 2 * len(KEYS)
    assert all(len(slot.cells or {}) <= 2 for slot in store.lookup(KEYS))
    assert _values(store, b"39") == {39}
    assert _values(store, b"38") == {ABSENT}
    store.close()


@pytest.mark.parametrize("kind", STORES)
def test_keys_that_hold_nothing_any_more_have_no_slot(kind: type[Any], tmp_path: Path) -> None:
    store = _open(kind, tmp_path)
    _set(store, 1, b"w")
    assert store.keys_in_memory == len(KEYS)
    _set(store, ABSENT, b"w")
    assert store.keys_in_memory == len(KEYS), "its tombstones are in no base yet"
    _settle(store)
    assert store.keys_in_memory == 1
    _set(store, 2, b"w")
    assert _values(store, b"w") == {2}
    store.close()


@pytest.mark.parametrize("kind", STORES)
def test_what_is_gone_stays_gone_after_a_restore_and_a_burial(kind: type[Any], tmp_path: Path) -> None:
    store = _open(kind, tmp_path)
    _set(store, 1, b"a", b"b")
    timers = store.timers(STATES[1].spec)
    for slot in store.lookup(KEYS):
        timers.set(slot, 5)
    saved = checkpoint(store, 1)
    store.close()
    store = _open(kind, tmp_path, saved)
    _set(store, ABSENT, b"a")
    timers = store.timers(STATES[1].spec)
    while timers.pop(10) is not None:
        pass
    _settle(store)
    assert all(b"a" not in (slot.cells or {}) for slot in store.lookup(KEYS))
    assert (_values(store, b"a"), _values(store, b"b")) == ({ABSENT}, {1})
    assert timers.pop(10) is None
    saved = checkpoint(store, store.cut + 1)
    store.close()
    store = _open(kind, tmp_path, saved)
    assert (_values(store, b"a"), _values(store, b"b")) == ({ABSENT}, {1})
    assert store.timers(STATES[1].spec).pop(10) is None
    store.close()


@pytest.mark.parametrize("kind", STORES)
def test_a_cell_that_comes_back_before_its_burial_is_kept(kind: type[Any], tmp_path: Path) -> None:
    store = _open(kind, tmp_path)
    _set(store, 1, b"w")
    _set(store, ABSENT, b"w")
    checkpoint(store, 1)
    _set(store, 2, b"w")
    _set(store, ABSENT, b"w")
    _set(store, 3, b"w")
    _settle(store)
    assert _values(store, b"w") == {3}
    store.close()


def test_a_cleared_value_in_the_slot_itself_lets_the_slot_go(tmp_path: Path) -> None:
    states = declare(count=ValueState(int), names=MapState(str, int))
    store = _open(RocksDbKeyedStore, tmp_path, states=states)
    cells = store.value_cells(states[0].spec)
    for slot in store.lookup(KEYS):
        cells.change(slot, 1)
        cells.change(slot, ABSENT)
    checkpoint(store, 1)
    fold(store)
    while store.can_evict():
        store.evict(1.0)
    assert store.keys_in_memory == 0
    assert [cells.value(slot) for slot in store.lookup(KEYS)] == [ABSENT] * len(KEYS)
    store.close()
