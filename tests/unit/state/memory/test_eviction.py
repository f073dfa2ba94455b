"""When a store asks for a checkpoint, when it can evict, and when only a fold can help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.descriptors import MapState, ValueState
from tests.unit.state_kit import checkpoint, declare, fold, make_store

BOUND = 2 << 20
STATES = declare(n=ValueState(int))
MAPS = declare(names=MapState(str, int))


def _open(root: Path, *restored: Any, memory_bytes: int = BOUND, states: Any = STATES) -> Any:
    store = make_store(RocksDbKeyedStore, root, states, memory_bytes=memory_bytes)
    store.open(restored)
    return store


def _change(store: Any, first: int, end: int) -> None:
    cells = store.value_cells(STATES[0].spec)
    for slot in store.lookup([f"key-{number:06d}" for number in range(first, end)]):
        cells.change(slot, 1)
    store.memory_bytes()


def _fill(store: Any, part: float) -> int:
    """Adds keys until this part of the room is taken; gives their number."""
    keys = len(store.eviction.ring)
    while store.eviction.memory_bytes() < store.memory_bound * part:
        _change(store, keys, keys + 50)
        keys += 50
    return keys


def test_a_store_asks_for_a_checkpoint_before_its_memory_is_full_of_changes(tmp_path: Path) -> None:
    store = _open(tmp_path)
    _fill(store, 0.6)
    assert not store.wants_checkpoint()
    _fill(store, 0.95)
    assert store.wants_checkpoint()
    assert not store.needs_fold_to_evict()
    checkpoint(store, 1)
    assert store.fold_due(), "the checkpoint that it asked for is folded"
    fold(store)
    assert not store.wants_checkpoint(), "all is clean"
    store.close()


def test_a_store_that_is_full_of_changes_can_evict_nothing_until_a_fold(tmp_path: Path) -> None:
    store = _open(tmp_path)
    keys = _fill(store, 1.2)
    assert store.can_evict(), "nobody has looked yet"
    store.evict(10.0)
    assert not store.can_evict()
    assert store.needs_fold_to_evict()
    checkpoint(store, 1)
    assert store.needs_fold_to_evict(), "what is only in a log would be lost from memory"
    fold(store)
    assert not store.needs_fold_to_evict()
    assert store.can_evict()
    assert store.evict(10.0) > 0
    assert not store.can_evict()
    assert store.keys_in_memory < keys
    store.close()


def test_a_store_with_nothing_to_fold_never_holds_the_sources(tmp_path: Path) -> None:
    store = _open(tmp_path, memory_bytes=1 << 20)
    checkpoint(store, 1)
    fold(store)
    store.eviction.bound_bytes = 1
    store.evict(10.0)
    assert not store.can_evict()
    assert not store.needs_fold_to_evict(), "a checkpoint would free nothing, so waiting for one would never end"
    store.close()


def test_keys_fit_beside_the_cache_of_the_smallest_store(tmp_path: Path) -> None:
    store = _open(tmp_path, memory_bytes=1 << 20)
    store.memory_bytes()
    assert store.eviction.room_cells() > 1_000
    store.close()


def test_keys_of_a_store_without_value_states_are_looked_up_without_reading(tmp_path: Path) -> None:
    store = _open(tmp_path, states=MAPS)
    assert [slot.key for slot in store.lookup(["a", "b"])] == ["a", "b"]
    store.close()
