"""Timers do what a sorted list does, whatever is frozen, folded, evicted, killed, restored and rescaled between."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.descriptors import TimerState, ValueState
from streamlet.state.memory import timers as timers_module
from streamlet.state.memory.timers import EARLIEST, LATEST, Timers
from streamlet.state.snapshot import StoreSnapshot
from tests.unit.state_kit import KEY_GROUPS, STORES, checkpoint, declare, fold, make_store

STATES = declare(count=ValueState(int), timers=TimerState())
Model = set[tuple[int, Any, bytes]]


class Place(msgspec.Struct, frozen=True):
    town: str
    number: int


class Pair(NamedTuple):
    left: str
    right: bytes


def timers_of(store: Any) -> Timers:
    found: Timers = store.timers(STATES[1].spec)
    return found


def popped(store: Any, until: int = LATEST) -> list[tuple[int, Any, bytes]]:
    found = []
    while (due := timers_of(store).pop(until)) is not None:
        found.append(tuple(due))
    return found


def evict_all_that_is_clean(store: Any) -> None:
    bound, store.eviction.bound_bytes = store.eviction.bound_bytes, 0
    for _ in range(KEY_GROUPS * 2):
        store.evict(1.0)
    store.eviction.bound_bytes = bound


class Play:
    """One store and its model, driven by chance."""

    def __init__(self, kind: type[Any], root: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.kind, self.root = kind, root
        self.model: Model = set()
        self.saved: tuple[Model, StoreSnapshot | None] = set(), None
        self.next_id = 1
        self.store: Any = None
        self.open()

    def open(self) -> None:
        self.store = make_store(self.kind, self.root, STATES, memory_bytes=1 << 20)
        self.store.open([self.saved[1]] if self.saved[1] else [])

    def some_timer(self) -> tuple[int, str, bytes]:
        choose = self.random
        return choose.randrange(-20, 60) * 1000, f"k{choose.randrange(12)}", choose.choice([b"", b"w", b"ww"])

    def set(self) -> None:
        for _ in range(self.random.randrange(1, 40)):
            time, key, namespace = self.some_timer()
            timers_of(self.store).set(self.store.lookup([key])[0], time, namespace)
            self.model.add((time, key, namespace))

    def delete(self) -> None:
        for _ in range(self.random.randrange(1, 20)):
            known = self.model and self.random.random() < 0.7
            time, key, namespace = self.random.choice(sorted(self.model)) if known else self.some_timer()
            timers_of(self.store).delete(self.store.lookup([key])[0], time, namespace)
            self.model.discard((time, key, namespace))

    def pop(self) -> None:
        until = self.random.randrange(-20, 60) * 1000
        due = {one for one in self.model if one[0] <= until}
        assert timers_of(self.store).next_time(until) == min((one[0] for one in due), default=None)
        if self.random.random() < 0.3:
            first = timers_of(self.store).pop(until)
            assert (first is None) == (not due)
            if first is not None:
                assert first.time == min(due)[0]
                self.model.remove(tuple(first))
            return
        found = popped(self.store, until)
        assert [one[0] for one in found] == sorted(one[0] for one in found)
        assert sorted(found) == sorted(due)
        self.model -= due

    def checkpoint(self) -> None:
        self.saved = set(self.model), checkpoint(self.store, self.next_id)
        self.next_id += 1

    def freeze_and_change_before_packing(self) -> None:
        self.store.freeze(self.next_id)
        model = set(self.model)
        self.set()
        self.delete()
        self.pop()
        self.store.pack(1.0)
        self.store.write_log()
        self.saved = model, self.store.snapshot(self.next_id)
        self.next_id += 1

    def fold(self) -> None:
        fold(self.store)

    def evict(self) -> None:
        evict_all_that_is_clean(self.store)

    def crash(self) -> None:
        self.store.close()
        self.model = set(self.saved[0])
        self.open()

    def step(self) -> None:
        self.random.choice(
            [self.set, self.delete, self.pop, self.checkpoint, self.freeze_and_change_before_packing, self.fold,
             self.evict, self.crash]
        )()  # fmt: skip


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("piece", [1, 3, 64])
def test_timers_do_what_a_sorted_list_does(
    kind: type[Any], piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers_module, "PIECE", piece)
    monkeypatch.setattr(timers_module, "KEPT", piece)
    for seed in range(5):
        play = Play(kind, tmp_path / str(seed), seed)
        for _ in range(50):
            play.step()
        assert sorted(popped(play.store)) == sorted(play.model), f"seed {seed}"
        play.store.close()


@pytest.mark.parametrize("kind", STORES)
def test_timers_of_the_same_time_come_in_one_order_before_and_after_a_restore(kind: type[Any], tmp_path: Path) -> None:
    store = make_store(kind, tmp_path, STATES)
    store.open()
    for key in map(str, range(300)):
        timers_of(store).set(store.lookup([key])[0], 1000)
    snapshot = checkpoint(store, 1)
    fold(store)
    before = popped(store)
    store.close()
    again = make_store(kind, tmp_path, STATES)
    again.open([snapshot])
    assert popped(again) == before
    assert len(before) == 300
    again.close()


@pytest.mark.parametrize("kind", STORES)
def test_the_ends_of_time_are_times(kind: type[Any], tmp_path: Path) -> None:
    store = make_store(kind, tmp_path, STATES)
    store.open()
    slot = store.lookup(["k"])[0]
    for time in (LATEST, 0, EARLIEST, -1):
        timers_of(store).set(slot, time)
    assert [due[0] for due in popped(store)] == [EARLIEST, -1, 0, LATEST]
    store.close()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(
    "key", ["k", b"k", 7, True, ("a", 1), ("a", ("b", 2)), Place("Ulm", 3), Pair("l", b"r"), (Place("Ulm", 3), "x")]
)
def test_a_restored_timer_finds_its_key_before_any_record_comes(kind: type[Any], key: Any, tmp_path: Path) -> None:
    store = make_store(kind, tmp_path, STATES)
    store.open()
    timers_of(store).set(store.lookup([key])[0], 5, b"w")
    snapshot = checkpoint(store, 1)
    store.close()
    again = make_store(kind, tmp_path, STATES)
    again.open([snapshot])
    ((time, found, namespace),) = popped(again)
    assert (time, found, type(found), namespace) == (5, key, type(key), b"w")
    assert again.lookup([found])[0].key == key
    again.close()


@pytest.mark.parametrize("kind", STORES)
def test_a_rescaled_store_gets_the_timers_of_its_key_groups(kind: type[Any], tmp_path: Path) -> None:
    store = make_store(kind, tmp_path, STATES)
    store.open()
    keys = [str(key) for key in range(200)]
    for key in keys:
        timers_of(store).set(store.lookup([key])[0], int(key))
    snapshot = checkpoint(store, 1)
    if kind is RocksDbKeyedStore:
        fold(store)
        snapshot = checkpoint(store, 2)
    store.close()
    found = []
    for subtask, groups in enumerate([(0, 5), (5, KEY_GROUPS)]):
        part = make_store(kind, tmp_path / str(subtask), STATES, subtask=subtask, groups=groups)
        part.files.root = tmp_path
        part.open([snapshot])
        times = [due[0] for due in popped(part)]
        assert times == sorted(times)
        found += times
        part.close()
    assert sorted(found) == list(range(200))


def test_timers_far_ahead_leave_memory_and_come_back_in_time(tmp_path: Path) -> None:
    store = make_store(RocksDbKeyedStore, tmp_path, STATES)
    store.open()
    for number in range(5000):
        timers_of(store).set(store.lookup([f"k{number % 50}"])[0], number)
    checkpoint(store, 1)
    fold(store)
    evict_all_that_is_clean(store)
    assert len(timers_of(store)) <= timers_module.KEPT * KEY_GROUPS
    assert [due[0] for due in popped(store)] == list(range(5000))
    store.close()


def test_tombstones_leave_memory_when_they_are_on_disk(tmp_path: Path) -> None:
    for kind in (RocksDbKeyedStore, MemoryKeyedStore):
        store = make_store(kind, tmp_path / kind.__name__, STATES)
        store.open()
        slot = store.lookup(["k"])[0]
        for checkpoint_id in range(1, 5):
            for number in range(100):
                timers_of(store).set(slot, checkpoint_id * 1000 + number)
            assert len(popped(store)) == 100
            checkpoint(store, checkpoint_id)
        fold(store)
        assert len(timers_of(store)) == 0
        store.close()
