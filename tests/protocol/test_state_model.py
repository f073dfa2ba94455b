"""A keyed store does what plain dicts do, whatever is frozen, packed, folded, evicted, killed and restored between."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.descriptors import ListState, MapState, ValueState
from streamlet.state.log import log_set as log_set
from tests.unit.state_kit import checkpoint, declare, finish_fold, fold, handle, make_store

NAMES = ("count", "box", "log", "seen")
STATES = declare(count=ValueState(int), box=ValueState(list[int]), log=ListState(int), seen=MapState(int, list[int]))
KEYS = ("a", "b", "c")


class Ops:
    """What a user's function may do, done to the store and to the model."""

    def __init__(self, store: Any, model: dict[str, dict[str, Any]]) -> None:
        self.store = store
        self.model = model

    def update(self, key: str, at: int) -> None:
        handle(self.store, "count", key).update(at)
        self.model["count"][key] = at

    def increment(self, key: str, at: int) -> None:
        count = handle(self.store, "count", key)
        count.update((count.value() or 0) + 1)
        self.model["count"][key] = self.model["count"].get(key, 0) + 1

    def clear(self, key: str, at: int) -> None:
        name = NAMES[at % len(NAMES)]
        handle(self.store, name, key).clear()
        self.model[name].pop(key, None)

    def change_in_place_and_update(self, key: str, at: int) -> None:
        box = handle(self.store, "box", key)
        values = box.value() or []
        values.append(at)
        box.update(values)
        self.model["box"].setdefault(key, []).append(at)

    def change_in_place_only(self, key: str, at: int) -> None:
        values = handle(self.store, "box", key).value()
        if values is not None:
            values.append(99)

    def extend(self, key: str, at: int) -> None:
        handle(self.store, "log", key).extend(range(at))
        self.model["log"].setdefault(key, []).extend(range(at))

    def replace_list(self, key: str, at: int) -> None:
        handle(self.store, "log", key).update(range(at, 3))
        self.model["log"][key] = list(range(at, 3))

    def put(self, key: str, at: int) -> None:
        handle(self.store, "seen", key).put(at, [at])
        self.model["seen"].setdefault(key, {})[at] = [at]

    def put_more(self, key: str, at: int) -> None:
        seen = handle(self.store, "seen", key)
        value = seen.get(at, [])
        seen.put(at, [*value, 1])
        self.model["seen"].setdefault(key, {})[at] = [*self.model["seen"].get(key, {}).get(at, []), 1]

    def remove(self, key: str, at: int) -> None:
        handle(self.store, "seen", key).remove(at)
        self.model["seen"].get(key, {}).pop(at, None)

    def read_one(self, key: str, at: int) -> None:
        seen = handle(self.store, "seen", key)
        assert seen.contains(at) == (at in self.model["seen"].get(key, {}))
        assert handle(self.store, "count", key).value() == self.model["count"].get(key)


OPS: tuple[Callable[[Ops, str, int], None], ...] = tuple(
    value for name, value in vars(Ops).items() if not name.startswith("_")
)
CHANGES = st.lists(st.tuples(st.sampled_from(OPS), st.sampled_from(KEYS), st.integers(0, 3)), min_size=1, max_size=6)


class StoreAgainstDicts(RuleBasedStateMachine):
    """`frozen` is the model as it was at the newest freeze, `saved` at the newest checkpoint that completed.

    Reading everything is a rule and no invariant: after each step it would leave no cell unread.
    """

    kind: type[Any] = RocksDbKeyedStore

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.model: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
        self.saved = deepcopy(self.model)
        self.frozen: Any = None
        self.snapshot: Any = None
        self.next_id = 1
        self.fold_job: Any = None
        self._open()

    def _open(self) -> None:
        self.store = make_store(self.kind, self.root, STATES, memory_bytes=1 << 20)
        self.store.open([self.snapshot] if self.snapshot else [])

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.read_everything()
            self.crash_and_restore()
            self.read_everything()
            self.store.close()
            shutil.rmtree(self.root)

    @rule(changes=CHANGES)
    def change(self, changes: list[tuple[Callable[[Ops, str, int], None], str, int]]) -> None:
        for op, key, at in changes:
            op(Ops(self.store, self.model), key, at)

    @rule(before=CHANGES, after=CHANGES, fails=st.booleans(), is_whole=st.booleans())
    def freeze(self, before: Any, after: Any, fails: bool, is_whole: bool) -> None:
        self.change(before)
        self.store.freeze(self.next_id)
        self.frozen = self.next_id, deepcopy(self.model)
        self.next_id += 1
        self.change(after)
        if fails:
            self.store.pack(1.0)
            self.store.files.failing = 1
            try:
                self.store.write_log()
            except OSError:
                pass
            self.store.files.failing = 0
        elif is_whole:
            self.complete_the_checkpoint()

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def complete_the_checkpoint(self) -> None:
        checkpoint_id, model = self.frozen
        self.store.pack(1.0)
        self.store.write_log()
        self.snapshot = self.store.snapshot(checkpoint_id)
        self.saved, self.frozen = model, None

    @rule(changes=CHANGES)
    def fold(self, changes: Any) -> None:
        fold(self.store)
        self.change(changes)

    @rule(changes=CHANGES)
    def fold_while_a_later_checkpoint_completes(self, changes: Any) -> None:
        job = self.store.begin_fold()
        self.change(changes)
        self.snapshot = checkpoint(self.store, self.next_id)
        self.next_id += 1
        self.saved, self.frozen = deepcopy(self.model), None
        if job is not None:
            finish_fold(self.store, job)
        self.evict_all_that_is_clean()

    @rule()
    def abandon_a_fold(self) -> None:
        job = self.store.begin_fold()
        if job is not None:
            self.store.abandon_fold(job)

    @rule()
    def evict_all_that_is_clean(self) -> None:
        bound, self.store.eviction.bound_bytes = self.store.eviction.bound_bytes, 0
        self.store.evict(1.0)
        self.store.eviction.bound_bytes = bound

    @rule()
    def checkpoint_fold_evict(self) -> None:
        self.snapshot = checkpoint(self.store, self.next_id)
        self.next_id += 1
        self.saved, self.frozen = deepcopy(self.model), None
        fold(self.store)
        self.evict_all_that_is_clean()

    @rule(is_at_once=st.booleans())
    def crash_and_restore(self, is_at_once: bool = False) -> None:
        if is_at_once and self.frozen is not None:
            self.complete_the_checkpoint()
        self.store.close()
        self.model, self.frozen = deepcopy(self.saved), None
        self._open()

    @rule()
    def read_everything(self) -> None:
        for key in KEYS:
            assert handle(self.store, "count", key).value() == self.model["count"].get(key)
            assert handle(self.store, "box", key).value() == self.model["box"].get(key)
            assert handle(self.store, "log", key).get() == self.model["log"].get(key, [])
            entries = handle(self.store, "seen", key)
            assert list(entries.items()) == sorted(self.model["seen"].get(key, {}).items())
            assert entries.is_empty() == (not self.model["seen"].get(key))


class MemoryStoreAgainstDicts(StoreAgainstDicts):
    kind = MemoryKeyedStore


@pytest.mark.parametrize("most_logs", [log_set.FOLD_LOGS, 1])
@pytest.mark.parametrize("machine", [StoreAgainstDicts, MemoryStoreAgainstDicts])
def test_a_store_does_what_plain_dicts_do(
    machine: type[StoreAgainstDicts], most_logs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one log at most it is written anew at nearly each freeze, until it is folded."""
    monkeypatch.setattr(log_set, "FOLD_LOGS", most_logs)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
