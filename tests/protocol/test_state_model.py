"""A keyed store does what plain dicts do, whatever is frozen, packed, folded, evicted, killed and restored between."""

from __future__ import annotations

import shutil
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from streamlet.state.descriptors import ListState, MapState, ValueState
from streamlet.state.memory import MemoryKeyedStore
from streamlet.state.rocksdb import RocksDbKeyedStore
from tests.unit.state_kit import checkpoint, declare, fold, handle, make_store

KEYS = st.sampled_from([f"k{number}" for number in range(6)])
SMALL = st.integers(0, 5)
STATES = declare(
    count=ValueState(int),
    box=ValueState(list[int]),
    log=ListState(int),
    seen=MapState(int, str),
    tags=MapState(str, dict),
)


class StoreAgainstDicts(RuleBasedStateMachine):
    """The model is a dict of dicts; `saved` is the model as it was at the newest checkpoint."""

    kind: type[Any] = RocksDbKeyedStore

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.model: dict[str, dict[str, Any]] = {name: {} for name in ("count", "box", "log", "seen", "tags")}
        self.saved = deepcopy(self.model)
        self.snapshot: Any = None
        self.next_id = 1
        self._open()

    def _open(self) -> None:
        self.store = make_store(self.kind, self.root, STATES, memory_bytes=1 << 20)
        self.store.open([self.snapshot] if self.snapshot else [])

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.all_is_as_in_the_model()
            self.crash_and_restore()
            self.all_is_as_in_the_model()
            self.store.close()
            shutil.rmtree(self.root)

    @rule(key=KEYS, value=SMALL)
    def update(self, key: str, value: int) -> None:
        handle(self.store, "count", key).update(value)
        self.model["count"][key] = value

    @rule(key=KEYS)
    def increment(self, key: str) -> None:
        count = handle(self.store, "count", key)
        count.update((count.value() or 0) + 1)
        self.model["count"][key] = self.model["count"].get(key, 0) + 1

    @rule(key=KEYS, name=st.sampled_from(["count", "box", "log", "seen", "tags"]))
    def clear(self, key: str, name: str) -> None:
        handle(self.store, name, key).clear()
        self.model[name].pop(key, None)

    @rule(key=KEYS, value=SMALL)
    def append_in_place_and_update(self, key: str, value: int) -> None:
        box = handle(self.store, "box", key)
        values = box.value() or []
        values.append(value)
        box.update(values)
        values.append(99)
        self.model["box"].setdefault(key, []).append(value)

    @rule(key=KEYS, values=st.lists(SMALL, max_size=3))
    def extend(self, key: str, values: list[int]) -> None:
        handle(self.store, "log", key).extend(values)
        self.model["log"].setdefault(key, []).extend(values)

    @rule(key=KEYS, values=st.lists(SMALL, max_size=3))
    def replace_list(self, key: str, values: list[int]) -> None:
        handle(self.store, "log", key).update(values)
        self.model["log"][key] = list(values)

    @rule(key=KEYS, at=SMALL, value=st.text(max_size=3))
    def put(self, key: str, at: int, value: str) -> None:
        handle(self.store, "seen", key).put(at, value)
        handle(self.store, "tags", key).put(value, {"at": at})
        self.model["seen"].setdefault(key, {})[at] = value
        self.model["tags"].setdefault(key, {})[value] = {"at": at}

    @rule(key=KEYS, at=SMALL)
    def remove(self, key: str, at: int) -> None:
        handle(self.store, "seen", key).remove(at)
        self.model["seen"].get(key, {}).pop(at, None)

    @rule(key=KEYS, at=SMALL)
    def read_one(self, key: str, at: int) -> None:
        seen = handle(self.store, "seen", key)
        expected = self.model["seen"].get(key, {})
        assert seen.get(at) == expected.get(at)
        assert seen.contains(at) == (at in expected)

    @rule()
    def freeze_only(self) -> None:
        self.store.freeze(self.next_id)
        self.next_id += 1

    @rule()
    def pack(self) -> None:
        self.store.pack(1.0)

    @rule()
    def write(self) -> None:
        self.store.write_log()

    @rule()
    def write_fails(self) -> None:
        self.store.files.failing = 1
        try:
            self.store.write_log()
        except OSError:
            pass
        self.store.files.failing = 0

    @rule()
    def complete_a_checkpoint(self) -> None:
        self.snapshot = checkpoint(self.store, self.next_id)
        self.next_id += 1
        self.saved = deepcopy(self.model)

    @rule()
    def fold(self) -> None:
        fold(self.store)

    @rule()
    def abandon_a_fold(self) -> None:
        job = self.store.begin_fold()
        if job is not None:
            self.store.abandon_fold(job)

    @rule()
    def evict_all_that_is_clean(self) -> None:
        bound, self.store.residency.bound_bytes = self.store.residency.bound_bytes, 0
        self.store.evict(1.0)
        self.store.residency.bound_bytes = bound

    @rule()
    def crash_and_restore(self) -> None:
        self.store.close()
        self.model = deepcopy(self.saved)
        self._open()

    @rule()
    def all_is_as_in_the_model(self) -> None:
        # A rule and no invariant: reading everything after each step would leave no cell unread.
        for number in range(6):
            key = f"k{number}"
            assert handle(self.store, "count", key).value() == self.model["count"].get(key)
            assert handle(self.store, "box", key).value() == self.model["box"].get(key)
            assert handle(self.store, "log", key).get() == self.model["log"].get(key, [])
            for name in ("seen", "tags"):
                entries = handle(self.store, name, key)
                assert dict(entries.items()) == self.model[name].get(key, {})
                assert entries.is_empty() == (not self.model[name].get(key))


class MemoryStoreAgainstDicts(StoreAgainstDicts):
    kind = MemoryKeyedStore


@pytest.mark.parametrize("machine", [StoreAgainstDicts, MemoryStoreAgainstDicts])
def test_a_store_does_what_plain_dicts_do(machine: type[StoreAgainstDicts]) -> None:
    examples = 60 if machine is MemoryStoreAgainstDicts else 40
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
