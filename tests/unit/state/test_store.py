"""Both stores: freezing, packing, writing, folding, restoring, and what a snapshot may never share."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streamlet.errors import (
    CheckpointDamagedError,
    CheckpointFailedError,
    JobDefinitionError,
    KeyTypeError,
    StateTypeError,
)
from streamlet.machine.disk import LocalDisk
from streamlet.state.backends.folding import MODULE, main
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.descriptors import ListState, MapState, ValueState
from streamlet.state.log import log_set as log_set
from streamlet.state.log.delta import FRAME_ENTRIES
from streamlet.state.memory.cells import ABSENT
from streamlet.state.snapshot import StoreSnapshot
from tests.unit.state_kit import STORES, SteppingClock, checkpoint, declare, fold, handle, make_store

STATES = declare(
    n=ValueState(int), box=ValueState(list[int]), names=MapState(str, int), log=ListState(str), free=ValueState()
)


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> type[Any]:
    made: type[Any] = request.param
    return made


def open_store(kind: type[Any], root: Path, *restored: Any, **options: Any) -> Any:
    store = make_store(kind, root, STATES, **options)
    store.open(restored)
    return store


def restored_value(kind: type[Any], root: Path, snapshot: Any, name: str, key: str) -> Any:
    store = open_store(kind, root, snapshot)
    made = handle(store, name, key)
    value = made.get() if name == "log" else made.value()
    store.close()
    return value


def test_a_snapshot_holds_what_was_there_at_the_freeze_and_no_later_change(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    handle(store, "box", "a").update([1])
    store.freeze(1)
    handle(store, "n", "a").update(2)
    handle(store, "n", "b").update(2)
    box = handle(store, "box", "a").value()
    box.append(2)
    handle(store, "box", "a").update(box)
    assert store.pack(1.0)
    store.write_log()
    snapshot = store.snapshot(1)
    store.close()
    assert restored_value(kind, tmp_path, snapshot, "n", "a") == 1
    assert restored_value(kind, tmp_path, snapshot, "n", "b") is None
    assert restored_value(kind, tmp_path, snapshot, "box", "a") == [1]


def test_what_was_there_before_a_change_is_kept_only_while_a_freeze_is_packed(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    made = handle(store, "n", "a")
    made.update(1)
    checkpoint(store, 1)
    made.update(2)
    (slot,) = store.lookup(["a"])
    assert (slot.value, slot.old) == (2, None)
    store.freeze(2)
    made.update(3)
    assert (slot.value, slot.old) == (3, 2)
    assert store.pack(1.0)
    assert slot.old is None
    store.close()


def test_what_the_user_changes_in_place_without_update_is_never_kept(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    mine = [1]
    handle(store, "box", "a").update(mine)
    mine.append(2)
    handle(store, "box", "a").value().append(3)
    assert handle(store, "box", "a").value() == [1]
    snapshot = checkpoint(store, 1)
    store.close()
    assert restored_value(kind, tmp_path, snapshot, "box", "a") == [1]


def test_a_freeze_that_finds_an_unpacked_one_packs_it_first_and_counts_it(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    store.freeze(1)
    handle(store, "n", "a").update(2)
    handle(store, "n", "b").update(2)
    store.freeze(2)
    assert store.late_packs == 1
    handle(store, "n", "a").update(3)
    store.pack(1.0)
    ref = store.write_log()
    assert (ref.cut, len(store.snapshot(2).logs)) == (2, 1)
    snapshot = store.snapshot(2)
    store.close()
    assert restored_value(kind, tmp_path, snapshot, "n", "a") == 2
    assert restored_value(kind, tmp_path, snapshot, "n", "b") == 2


def test_the_entries_of_a_log_that_could_not_be_written_are_in_the_next_one(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    handle(store, "n", "b").update(1)
    store.freeze(1)
    store.pack(1.0)
    store.files.failing = 1
    with pytest.raises(OSError, match="No space"):
        store.write_log()
    with pytest.raises(CheckpointFailedError, match="not in its files"):
        store.snapshot(1)
    handle(store, "n", "a").update(2)
    snapshot = checkpoint(store, 2)
    assert [log.cut for log in snapshot.logs] == [2]
    assert list(store.files.scratch().iterdir()) == []
    store.close()
    assert restored_value(kind, tmp_path, snapshot, "n", "a") == 2
    assert restored_value(kind, tmp_path, snapshot, "n", "b") == 1


def test_a_log_of_a_checkpoint_that_failed_elsewhere_is_named_by_the_next(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    checkpoint(store, 1)
    handle(store, "n", "b").update(2)
    assert [log.cut for log in checkpoint(store, 2).logs] == [1, 2]
    store.close()


def test_nothing_changed_writes_no_log(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    first = checkpoint(store, 1)
    handle(store, "n", "a").value()
    store.freeze(2)
    assert store.pack(1.0)
    assert store.write_log() is None
    assert store.snapshot(2).logs == first.logs
    assert store.snapshot(2).cut == 2
    store.close()


def test_a_snapshot_of_what_is_not_packed_is_refused(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    store.freeze(1)
    with pytest.raises(CheckpointFailedError, match="not packed"):
        store.snapshot(1)
    with pytest.raises(CheckpointFailedError, match="comes after"):
        store.freeze(1)
    store.close()


def test_packing_stops_when_its_time_is_over_and_goes_on_later(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path, clock=SteppingClock(0.001))
    for slot in store.lookup([f"k{number}" for number in range(4 * FRAME_ENTRIES)]):
        store.current = slot
        store.handle(STATES[0].spec).update(1)
    store.freeze(1)
    slices = 1
    while not store.pack(0.0005):
        slices += 1
    # Four full frames, and one with the note of the key type.
    assert slices == 5
    assert store.write_log().entries == 4 * FRAME_ENTRIES + 1
    store.close()


@pytest.mark.outside
def test_a_fold_moves_logs_into_the_base_and_changes_nothing_to_be_read(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    for number in range(5):
        handle(store, "n", "a").update(number)
        handle(store, "names", "a").put(f"m{number}", number)
        handle(store, "n", f"gone{number}").update(1)
        checkpoint(store, number + 1)
    for number in range(5):
        handle(store, "n", f"gone{number}").clear()
    checkpoint(store, 6)
    handle(store, "n", "a").update(77)
    job = store.begin_fold()
    store.freeze(7)
    if job.arguments:
        subprocess.run((sys.executable, "-m", MODULE, *job.arguments), check=True, cwd=Path(__file__).parents[3])
    store.finish_fold(job)
    store.adopt_fold(job)
    store.pack(1.0)
    store.write_log()
    snapshot = store.snapshot(7)
    assert snapshot.logs[-1].cut == 7
    assert (snapshot.base_cut, len(snapshot.logs)) == ((6, 1) if kind is RocksDbKeyedStore else (0, 2))
    store.close()
    again = open_store(kind, tmp_path, snapshot)
    assert handle(again, "n", "a").value() == 77
    assert handle(again, "n", "gone3").value() is None
    assert list(handle(again, "names", "a").items()) == [(f"m{number}", number) for number in range(5)]
    again.close()


def test_reading_goes_on_while_another_thread_finishes_a_fold(tmp_path: Path) -> None:
    store = open_store(RocksDbKeyedStore, tmp_path)
    keys = [f"k{number}" for number in range(500)]
    cells = store.value_cells(STATES[0].spec)
    with ThreadPoolExecutor(1) as threads:
        for checkpoint_id in range(1, 6):
            for key in keys:
                handle(store, "n", key).update(checkpoint_id)
            checkpoint(store, checkpoint_id)
            job = store.begin_fold()
            assert main(LocalDisk(), job.arguments) == 0
            finishing = threads.submit(store.finish_fold, job)
            for slot in store.lookup([f"{checkpoint_id}-{key}" for key in keys]):
                assert cells.value(slot) is ABSENT
            finishing.result()
            store.adopt_fold(job)
            bound, store.eviction.bound_bytes = store.eviction.bound_bytes, 0
            assert store.evict(10.0) >= 1_000
            store.eviction.bound_bytes = bound
            assert {handle(store, "n", key).value() for key in keys} == {checkpoint_id}
    store.close()


def test_an_abandoned_fold_loses_nothing(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    checkpoint(store, 1)
    handle(store, "n", "b").update(1)
    checkpoint(store, 2)
    store.abandon_fold(store.begin_fold())
    fold(store)
    snapshot = store.snapshot(2)
    store.close()
    assert restored_value(kind, tmp_path, snapshot, "n", "a") == 1


def test_a_fold_whose_base_could_not_be_kept_can_be_made_again(tmp_path: Path) -> None:
    store = open_store(RocksDbKeyedStore, tmp_path)
    handle(store, "n", "a").update(1)
    checkpoint(store, 1)
    store.files.failing = 1
    with pytest.raises(OSError, match="No space"):
        fold(store)
    assert store.snapshot(1).base == ()
    fold(store)
    snapshot = store.snapshot(1)
    assert (snapshot.base_cut, snapshot.logs) == (1, ())
    store.close()
    assert restored_value(RocksDbKeyedStore, tmp_path, snapshot, "n", "a") == 1


def test_an_sst_that_was_kept_once_is_not_read_again(tmp_path: Path) -> None:
    store = open_store(RocksDbKeyedStore, tmp_path)
    for number in range(3):
        handle(store, "n", f"k{number}").update(number)
        snapshot = checkpoint(store, number + 1)
        fold(store)
    roles = [role for role in store.files.kept if role.endswith(".sst")]
    assert len(roles) == len(set(roles)) == 3
    snapshot = store.snapshot(3)
    store.close()
    again = open_store(RocksDbKeyedStore, tmp_path, snapshot)
    handle(again, "n", "k9").update(9)
    checkpoint(again, 4)
    fold(again)
    assert len([role for role in again.files.kept if role.endswith(".sst")]) == 1
    again.close()


def test_eviction_drops_clean_cells_only_and_they_come_back(tmp_path: Path) -> None:
    store = open_store(RocksDbKeyedStore, tmp_path, memory_bytes=2 << 20)
    for number in range(5_000):
        handle(store, "n", f"k{number}").update(number)
    store.memory_bytes()
    assert store.evict(10.0) == 0
    assert store.needs_fold_to_evict()
    checkpoint(store, 1)
    fold(store)
    handle(store, "n", "k7").update(-7)
    assert not store.needs_fold_to_evict()
    assert store.evict(10.0) > 1_000
    assert store.memory_bytes() <= 2 << 20
    assert handle(store, "n", "k7").value() == -7
    assert all(handle(store, "n", f"k{number}").value() == number for number in range(5_000) if number != 7)
    store.close()


def test_the_values_of_new_keys_are_loaded_together_when_they_are_looked_up(tmp_path: Path) -> None:
    store = open_store(RocksDbKeyedStore, tmp_path)
    for number in range(10):
        handle(store, "n", f"k{number}").update(number)
    snapshot = checkpoint(store, 1)
    fold(store)
    snapshot = store.snapshot(1)
    store.close()
    again = open_store(RocksDbKeyedStore, tmp_path, snapshot)
    slots = again.lookup([f"k{number}" for number in range(12)])
    assert [slot.value for slot in slots] == [*range(10), ABSENT, ABSENT]
    again.close()


def test_only_the_first_value_state_lies_in_the_slot(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    slot = store.lookup(["a"])[0]
    first, second = store.value_cells(STATES[0].spec), store.value_cells(STATES[1].spec)
    assert first.inline
    assert first.cell(slot) is slot
    assert not second.inline
    assert second.cell(slot) is second.cell(slot) is not slot
    assert first.cell(slot, b"window") is not slot
    store.close()


def test_a_value_that_cannot_be_written_is_named_with_its_state_and_key(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "good").update(1)
    store.lookup(["bad"])[0].value, store.dirty[:] = object(), [*store.dirty, *store.lookup(["bad"])]
    store.freeze(1)
    with pytest.raises(StateTypeError, match="value state 'n' of 'op', key 'bad'"):
        store.pack(1.0)
    with pytest.raises(StateTypeError, match=r"value state 'free' of 'op' .*\(key 'a'\)"):
        handle(store, "free", "a").update([1])
    store.close()


def test_a_stored_value_of_another_type_is_named_with_its_state_and_key(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "n", "a").update(1)
    snapshot = checkpoint(store, 1)
    store.close()
    other = make_store(kind, tmp_path, declare(n=ValueState(str)))
    other.open([snapshot])
    with pytest.raises(StateTypeError, match=r"value state 'n' of 'op' is declared as str.*\(key 'a'\)"):
        handle(other, "n", "a").value()
    other.close()


def test_state_outside_a_record_is_refused(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    made = handle(store, "n", "a")
    store.current = None
    with pytest.raises(JobDefinitionError, match="while no record is processed"):
        made.value()
    store.close()


def test_a_list_that_refuses_a_value_keeps_those_before_it(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    with pytest.raises(StateTypeError, match="list state 'log'"):
        handle(store, "log", "a").extend(["x", "y", 3])
    assert handle(store, "log", "a").get() == ["x", "y"]
    assert len(handle(store, "log", "a")) == 2
    store.close()


def test_adding_to_a_list_or_map_writes_one_entry_and_not_the_whole(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    handle(store, "log", "a").extend(["x"] * 1_000)
    for number in range(1_000):
        handle(store, "names", "a").put(str(number), number)
    checkpoint(store, 1)
    handle(store, "log", "a").add("y")
    handle(store, "names", "a").put("7", 8)
    # The list's length is an entry too.
    assert checkpoint(store, 2).logs[-1].entries == 3
    store.close()


def test_a_map_key_of_another_type_is_refused(kind: type[Any], tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    with pytest.raises(Exception, match="map keys of map state 'names' of 'op': key 1 is int"):
        handle(store, "names", "a").put(1, 1)
    store.close()


def test_the_snapshots_of_the_two_stores_are_one_format(tmp_path: Path) -> None:
    store = open_store(MemoryKeyedStore, tmp_path)
    handle(store, "n", "a").update(1)
    handle(store, "names", "a").put("x", 1)
    checkpoint(store, 1)
    handle(store, "n", "b").update(2)
    checkpoint(store, 2)
    fold(store)
    again = open_store(RocksDbKeyedStore, tmp_path, store.snapshot(2))
    assert [handle(again, "n", key).value() for key in "abc"] == [1, 2, None]
    assert dict(handle(again, "names", "a").items()) == {"x": 1}
    again.close()


def a_folded_snapshot(tmp_path: Path) -> Any:
    store = open_store(RocksDbKeyedStore, tmp_path)
    for number in range(3_000):
        handle(store, "n", f"k{number}").update(number)
        handle(store, "names", "one").put(f"k{number}", number)
    checkpoint(store, 1)
    fold(store)
    snapshot = store.snapshot(1)
    store.close()
    return snapshot


def test_a_damaged_block_is_an_error_that_names_the_file_and_never_an_empty_state(tmp_path: Path) -> None:
    snapshot = a_folded_snapshot(tmp_path)
    ref = next(ref for ref in snapshot.base if ref.role.endswith(".sst"))
    path = tmp_path / "files" / ref.name
    store = open_store(RocksDbKeyedStore, tmp_path, snapshot)
    data = bytearray(path.read_bytes())
    for at in range(0, len(data) * 9 // 10, 500):
        data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointDamagedError, match=ref.role):
        for number in range(3_000):
            handle(store, "n", f"k{number}").value()
    with pytest.raises(CheckpointDamagedError, match=ref.role):
        list(handle(store, "names", "one").items())
    store.close()


@pytest.mark.parametrize("role", [".sst", "CURRENT", "MANIFEST"])
def test_a_missing_file_of_the_base_is_an_error_and_never_an_empty_state(tmp_path: Path, role: str) -> None:
    snapshot = a_folded_snapshot(tmp_path)
    ref = next(ref for ref in snapshot.base if role in ref.role)
    (tmp_path / "files" / ref.name).unlink()
    with pytest.raises(CheckpointDamagedError, match="missing"):
        open_store(RocksDbKeyedStore, tmp_path, snapshot)


def test_the_files_of_a_checkpoint_are_never_changed_by_the_store_that_restored_it(tmp_path: Path) -> None:
    snapshot = a_folded_snapshot(tmp_path)
    before = {ref.name: (tmp_path / "files" / ref.name).read_bytes() for ref in snapshot.files()}
    store = open_store(RocksDbKeyedStore, tmp_path, snapshot)
    for checkpoint_id in range(2, 9):
        handle(store, "n", "k1").update(checkpoint_id)
        checkpoint(store, checkpoint_id)
        fold(store)
    store.close()
    assert {ref.name: (tmp_path / "files" / ref.name).read_bytes() for ref in snapshot.files()} == before
    assert restored_value(RocksDbKeyedStore, tmp_path, snapshot, "n", "k1") == 1


def test_a_fold_is_due_when_the_logs_would_take_long_to_replay(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_set, "REWRITTEN", 2_000)
    store = open_store(kind, tmp_path, memory_bytes=1 << 20)
    assert not store.fold_due()
    for number in range(2_200):
        handle(store, "n", f"k{number}").update(number)
    checkpoint(store, 1)
    assert store.fold_due()
    store.close()


def rewritten(store: Any, checkpoint_id: int) -> StoreSnapshot:
    """A checkpoint that takes everything."""
    assert store.is_rewrite_due() and not store.fold_due()
    snapshot = checkpoint(store, checkpoint_id)
    assert not snapshot.base and [log.cut for log in snapshot.logs] == [checkpoint_id]
    return snapshot


def test_a_small_state_is_written_anew_when_its_logs_would_take_long_to_replay(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_set, "FOLD_LOGS", 3)
    store = open_store(kind, tmp_path)
    for number in range(1, 4):
        assert not store.is_rewrite_due()
        handle(store, "n", "a").update(number)
        handle(store, "n", f"gone{number}").update(number)
        handle(store, "names", "a").put(f"m{number}", number)
        if number > 1:
            handle(store, "n", f"gone{number - 1}").clear()
        checkpoint(store, number)
    handle(store, "n", "gone3").clear()
    handle(store, "log", "b").extend(["x", "y"])
    before = rewritten(store, 4)
    assert [log.cut for log in before.logs] == [4]
    handle(store, "n", "a").update(5)
    behind = checkpoint(store, 5)
    assert [log.cut for log in behind.logs] == [4, 5]
    store.evict(1.0)
    assert store.keys_in_memory == 2, "what is gone needs no tombstone"
    store.close()
    for snapshot, value in ((before, 3), (behind, 5)):
        again = open_store(kind, tmp_path, snapshot)
        assert handle(again, "n", "a").value() == value
        assert [handle(again, "n", f"gone{number}").value() for number in range(1, 4)] == [None] * 3
        assert list(handle(again, "names", "a").items()) == [("m1", 1), ("m2", 2), ("m3", 3)]
        assert handle(again, "log", "b").get() == ["x", "y"]
        again.close()


def test_a_state_is_folded_where_little_of_it_has_changed(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_set, "FOLD_LOGS", 3)
    store = open_store(kind, tmp_path)
    for checkpoint_id in range(1, 4):
        for number in range(100):
            handle(store, "n", f"k{number}").update(checkpoint_id)
        checkpoint(store, checkpoint_id)
    rewritten(store, 4)
    for checkpoint_id in (5, 6):
        for number in range(5):
            handle(store, "n", f"k{number}").update(checkpoint_id)
        checkpoint(store, checkpoint_id)
    assert store.fold_due() and not store.is_rewrite_due(), "100 cells for 10 changes"
    for number in range(5):
        handle(store, "n", f"k{number}").update(7)
    checkpoint(store, 7)
    assert store.is_rewrite_due()
    store.close()


def test_a_state_of_many_bytes_is_folded(kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_set, "FOLD_BYTES", 4_000)
    rng = random.Random(1)
    for length, is_rewritten in ((200, True), (6_000, False)):
        store = open_store(kind, tmp_path)
        for checkpoint_id in range(1, 30):
            handle(store, "free", "a").update(rng.randbytes(length))
            checkpoint(store, checkpoint_id)
            if store.is_rewrite_due() or store.fold_due():
                break
        assert (store.is_rewrite_due(), store.fold_due()) == (is_rewritten, not is_rewritten)
        store.close()


def test_a_rewrite_has_what_was_restored_and_is_in_no_cell(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_set, "FOLD_LOGS", 2)
    store = open_store(kind, tmp_path)
    for key in ("untouched", "read", "changed", "deleted"):
        handle(store, "n", key).update(1)
    checkpoint(store, 1)
    snapshot = checkpoint(store, 2)
    store.close()
    store = open_store(kind, tmp_path, snapshot)
    assert handle(store, "n", "read").value() == 1
    for number in range(3, 6):
        handle(store, "n", "changed").update(number)
        handle(store, "n", "deleted").update(number)
        snapshot = checkpoint(store, number)
    assert [log.cut for log in snapshot.logs] == [4, 5], "what was restored is in no log but the rewritten one"
    handle(store, "n", "deleted").clear()
    snapshot = checkpoint(store, 6)
    store.close()
    again = open_store(kind, tmp_path, snapshot)
    found = {key: handle(again, "n", key).value() for key in ("untouched", "read", "changed", "deleted")}
    assert found == {"untouched": 1, "read": 1, "changed": 5, "deleted": None}
    with pytest.raises(KeyTypeError, match="int"):
        again.lookup([7])
    again.close()


def test_a_rewrite_takes_what_was_there_at_its_freeze(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_set, "FOLD_LOGS", 2)
    store = open_store(kind, tmp_path)
    for number in (1, 2):
        for key in "abcd":
            handle(store, "n", key).update(number)
        checkpoint(store, number)
    assert store.is_rewrite_due()
    store.freeze(3)
    assert store.begin_fold() is None, "what is deleted behind its logs would be there again"
    handle(store, "n", "a").update(9)
    handle(store, "n", "b").clear()
    handle(store, "n", "new").update(9)
    store.pack(1.0)
    assert store.begin_fold() is None
    store.write_log()
    snapshot = store.snapshot(3)
    store.close()
    again = open_store(kind, tmp_path, snapshot)
    assert [handle(again, "n", key).value() for key in ("a", "b", "c", "new")] == [2, 2, 2, None]
    again.close()


def test_a_rewrite_that_cannot_be_written_loses_nothing(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_set, "FOLD_LOGS", 2)
    store = open_store(kind, tmp_path)
    for number in (1, 2):
        handle(store, "n", "a").update(number)
        handle(store, "n", "b").update(number)
        checkpoint(store, number)
    store.freeze(3)
    store.pack(1.0)
    store.files.failing = 1
    with pytest.raises(OSError):
        store.write_log()
    with pytest.raises(CheckpointFailedError):
        store.snapshot(3)
    handle(store, "n", "a").clear()
    snapshot = checkpoint(store, 4)
    assert [log.cut for log in snapshot.logs] == [4]
    with pytest.raises(CheckpointFailedError):
        store.snapshot(3)
    store.close()
    again = open_store(kind, tmp_path, snapshot)
    assert [handle(again, "n", key).value() for key in "ab"] == [None, 2]
    again.close()


def test_no_rewrite_begins_while_a_fold_is_under_way(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(kind, tmp_path)
    for number in (1, 2):
        handle(store, "n", "a").update(number)
        checkpoint(store, number)
    job = store.begin_fold()
    monkeypatch.setattr(log_set, "FOLD_LOGS", 2)
    assert not store.is_rewrite_due()
    store.abandon_fold(job)
    assert store.is_rewrite_due()
    fold(store)
    for number in (3, 4, 5):
        handle(store, "n", "a").update(number)
        logs = checkpoint(store, number).logs
    assert [log.cut for log in logs] == ([3, 4, 5] if kind is RocksDbKeyedStore else [4, 5]), "a base stays"
    store.close()
