"""Another parallelism or other chains: every key is once where it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamlet.errors import CheckpointDamagedError, KeyTypeError
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.descriptors import MapState, ValueState
from streamlet.state.encoding.key_groups import group_range, key_group, pack_key, subtask_of
from tests.unit.state_kit import KEY_GROUPS, STORES, checkpoint, declare, fold, handle, make_store

STATES = declare(n=ValueState(int), tags=MapState(str, int))
KEYS = [f"user-{number}" for number in range(200)]


def open_all(kind: type[Any], root: Path, parallelism: int, snapshots: Sequence[Any]) -> list[Any]:
    stores = []
    for subtask in range(parallelism):
        groups = group_range(subtask, parallelism, KEY_GROUPS)
        store = make_store(kind, root / str(parallelism), STATES, subtask=subtask, groups=groups)
        store.files.root = root
        (root / "scratch").mkdir(parents=True, exist_ok=True)
        (root / "files").mkdir(exist_ok=True)
        store.open(snapshots)
        stores.append(store)
    return stores


def owner(stores: Sequence[Any], key: str) -> Any:
    return stores[subtask_of(key_group(pack_key(key), KEY_GROUPS), len(stores), KEY_GROUPS)]


def content(stores: Sequence[Any]) -> dict[str, tuple[int | None, dict[str, int]]]:
    return {
        key: (handle(owner(stores, key), "n", key).value(), dict(handle(owner(stores, key), "tags", key).items()))
        for key in KEYS
    }


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("is_folded", [False, True])
def test_from_one_to_three_to_two_keeps_every_key_once(tmp_path: Path, kind: type[Any], is_folded: bool) -> None:
    stores = open_all(kind, tmp_path, 1, [])
    checkpoint_id = 0
    for parallelism in (3, 2, 1):
        checkpoint_id += 1
        for number, key in enumerate(KEYS):
            handle(owner(stores, key), "n", key).update(checkpoint_id * 1_000 + number)
            handle(owner(stores, key), "tags", key).put(f"t{checkpoint_id}", number)
        for store in stores:
            checkpoint(store, checkpoint_id)
            if is_folded:
                fold(store)
        # What comes after the fold stays in logs over the base.
        checkpoint_id += 1
        for key in KEYS[::3]:
            handle(owner(stores, key), "n", key).clear()
            handle(owner(stores, key), "tags", key).remove(f"t{checkpoint_id - 1}")
        snapshots = [checkpoint(store, checkpoint_id) for store in stores]
        before = content(stores)
        for store in stores:
            store.close()
        stores = open_all(kind, tmp_path, parallelism, snapshots)
        assert content(stores) == before
        for store in stores:
            with pytest.raises(KeyTypeError, match="the keys here are str"):
                store.lookup([1])
    snapshots = [store.snapshot(checkpoint_id) for store in stores]
    before = content(stores)
    for store in stores:
        store.close()
    again = open_all(kind, tmp_path, 1, snapshots)
    assert content(again) == before
    for store in again:
        store.close()


def test_a_store_takes_only_its_own_states_from_others(tmp_path: Path) -> None:
    n, tags = STATES
    left = make_store(RocksDbKeyedStore, tmp_path, [n], name="left")
    right = make_store(RocksDbKeyedStore, tmp_path, [tags], name="right")
    for store in (left, right):
        store.open()
    handle(left, "n", "a").update(1)
    handle(right, "tags", "a").put("x", 2)
    snapshots = [checkpoint(left, 1), checkpoint(right, 1)]
    fold(left)
    snapshots[0] = left.snapshot(1)
    for store in (left, right):
        store.close()
    both = make_store(RocksDbKeyedStore, tmp_path, STATES, name="both")
    both.open(snapshots)
    assert handle(both, "n", "a").value() == 1
    assert dict(handle(both, "tags", "a").items()) == {"x": 2}
    snapshot = both.snapshot(1)
    assert (snapshot.base_cut, snapshot.logs) == (1, ())
    both.close()
    alone = make_store(RocksDbKeyedStore, tmp_path, [tags], name="alone")
    alone.open([snapshot])
    assert len(list(alone._base.range(b""))) == 2, "the map's entry and the note of the key type"
    alone.close()


def test_an_entry_that_two_stores_hold_is_refused(tmp_path: Path) -> None:
    snapshots = []
    for name in ("left", "right"):
        store = make_store(MemoryKeyedStore, tmp_path, STATES, name=name)
        store.open()
        handle(store, "n", "a").update(1)
        snapshots.append(checkpoint(store, 1))
    with pytest.raises(CheckpointDamagedError, match="two stores of the checkpoint hold the same entry"):
        make_store(RocksDbKeyedStore, tmp_path, STATES).open(snapshots)


@pytest.mark.parametrize("kind", STORES)
def test_rescaling_an_empty_state_gives_an_empty_state(tmp_path: Path, kind: type[Any]) -> None:
    stores = open_all(kind, tmp_path, 1, [])
    snapshot = checkpoint(stores[0], 1)
    stores[0].close()
    for store in open_all(kind, tmp_path, 2, [snapshot]):
        assert store.keys_in_memory == 0
        second = checkpoint(store, 2)
        store.close()
    again = open_all(kind, tmp_path, 2, [second])
    assert all(value is None for value, _ in content(again).values())
    for store in again:
        store.close()
