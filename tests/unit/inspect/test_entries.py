"""Reading the entries of one state: base, logs, tombstones, several stores; in order, and while files are removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamlet.errors import CheckpointDamagedError
from streamlet.inspect import entries
from streamlet.inspect.entries import StoredEntries, entries_of
from streamlet.machine.held_files import HeldFiles
from streamlet.state.backends import rocksdb_database
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.descriptors import TimerState, ValueState
from streamlet.state.encoding.key_groups import key_group, pack_key, stored_key
from streamlet.state.snapshot import StoreSnapshot
from tests.unit.state_kit import KEY_GROUPS, STORES, checkpoint, declare, fold, handle, make_store

STATES = declare(a=ValueState(int), b=ValueState(int), t=TimerState())


@contextmanager
def opened(root: Path, *snapshots: StoreSnapshot) -> Iterator[list[StoredEntries]]:
    held = HeldFiles()
    try:
        yield [StoredEntries(one, root / "files", held, number) for number, one in enumerate(snapshots)]
    finally:
        held.close()


def written(kind: type[Any], root: Path) -> StoreSnapshot:
    """Keys 0 to 99 in a base where there is one, and over it logs with changes, tombstones and new keys."""
    store = make_store(kind, root, STATES)
    store.open()
    for key in range(100):
        handle(store, "a", key).update(key)
        handle(store, "b", key).update(-key)
    checkpoint(store, 1)
    fold(store)
    for key in range(0, 100, 3):
        handle(store, "a", key).clear()
    checkpoint(store, 2)
    for key in range(0, 120, 6):
        handle(store, "a", key).update(1000 + key)
    snapshot = checkpoint(store, 3)
    store.close()
    return snapshot


EXPECTED = {key: 1000 + key if not key % 6 else key for key in range(120) if (key < 100 and key % 3) or not key % 6}


@pytest.mark.parametrize("kind", STORES)
def test_the_last_word_on_each_key_counts_in_the_order_of_stored_keys(tmp_path: Path, kind: type[Any]) -> None:
    snapshot = written(kind, tmp_path)
    with opened(tmp_path, snapshot) as stores:
        found = list(entries_of(stores, 1))
        expected = {
            stored_key(key_group(pack_key(key), KEY_GROUPS), 1, pack_key(key)): pack_key(value)
            for key, value in EXPECTED.items()
        }
        assert dict(found) == expected
        assert [key for key, _ in found] == sorted(expected)
        assert len(list(entries_of(stores, 2))) == 100
        assert stores[0].key_type() == "int"


@pytest.mark.parametrize("kind", STORES)
def test_logs_too_large_for_memory_are_sorted_piece_by_piece(
    tmp_path: Path, kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = written(kind, tmp_path)
    with opened(tmp_path, snapshot) as stores:
        whole = [list(entries_of(stores, state)) for state in (1, 2)]
    pieces: list[int] = []

    def counted(path: Path, some: Iterator[tuple[bytes, bytes | None]]) -> int:
        pieces.append(rocksdb_database.write_sst(path, some))
        return pieces[-1]

    monkeypatch.setattr(entries, "write_sst", counted)
    monkeypatch.setattr(entries, "PART_ENTRIES", 10)
    with opened(tmp_path, snapshot) as stores:
        assert [list(entries_of(stores, state)) for state in (1, 2)] == whole
    assert len(pieces) > 1, "in several pieces, and once for both states"


@pytest.mark.parametrize("kind", STORES)
def test_one_key_is_found_with_its_tombstones(tmp_path: Path, kind: type[Any]) -> None:
    snapshot = written(kind, tmp_path)
    with opened(tmp_path, snapshot) as (store,):
        for key, value in ((1, 1), (3, None), (6, 1006), (114, 1114), (115, None)):
            place = stored_key(key_group(pack_key(key), KEY_GROUPS), 1, pack_key(key))
            assert dict(store.with_prefix(place)).get(place) == (None if value is None else pack_key(value))


@pytest.mark.parametrize("kind", STORES)
def test_what_is_open_can_be_read_when_the_job_has_removed_it(tmp_path: Path, kind: type[Any]) -> None:
    snapshot = written(kind, tmp_path)
    with opened(tmp_path, snapshot) as stores:
        for path in (tmp_path / "files").iterdir():
            path.unlink()
        assert len(list(entries_of(stores, 1))) == len(EXPECTED)
    with pytest.raises(OSError, match="No such file"), opened(tmp_path, snapshot):
        pass


def test_nothing_is_written_beside_the_checkpoint_and_nothing_is_left_behind(tmp_path: Path) -> None:
    snapshot = written(STORES[0], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "files").iterdir()}
    with opened(tmp_path, snapshot) as stores:
        list(entries_of(stores, 1))
        scratch = stores[0]._held.folder
        assert scratch.is_dir()
    assert not scratch.exists()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "files").iterdir()} == before


def test_stores_that_hold_the_same_part_of_a_state_are_refused(tmp_path: Path) -> None:
    snapshots = []
    for name in ("left", "right"):
        store = make_store(MemoryKeyedStore, tmp_path, STATES[:1], name=name)
        store.open()
        handle(store, "a", "x").update(1)
        snapshots.append(checkpoint(store, 1))
        store.close()
    with opened(tmp_path, *snapshots) as stores, pytest.raises(CheckpointDamagedError, match="two stores"):
        list(entries_of(stores, 1))
