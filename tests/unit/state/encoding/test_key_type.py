"""Keys: one type per stream, one place per key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet.errors import KeyTypeError, StateTypeError
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.descriptors import ValueState
from streamlet.state.encoding.key_groups import (
    group_range,
    key_group,
    namespace_of,
    pack_key,
    state_of,
    stored_key,
    subtask_of,
)
from streamlet.state.encoding.key_type import KeyType
from tests.unit.state_kit import checkpoint, declare, make_store

STATES = declare(n=ValueState(int))


class Place(NamedTuple):
    city: str
    number: int


class Frozen(msgspec.Struct, frozen=True):
    name: str


class Loose(msgspec.Struct):
    name: str


def store(tmp_path: Path, **options: Any) -> Any:
    made = make_store(MemoryKeyedStore, tmp_path, STATES, **options)
    made.open()
    return made


@given(st.integers(1, 200), st.integers(1, 300))
def test_the_ranges_of_all_subtasks_are_the_key_groups_that_they_own(parallelism: int, key_groups: int) -> None:
    owned: list[int] = []
    for subtask in range(parallelism):
        first, end = group_range(subtask, parallelism, key_groups)
        assert all(subtask_of(group, parallelism, key_groups) == subtask for group in range(first, end))
        owned += range(first, end)
    assert owned == list(range(key_groups))


def test_the_key_group_of_a_key_never_changes() -> None:
    assert [key_group(pack_key(key), 128) for key in ("user-1", 7, (1, "a"), b"x", True)] == GOLDEN_GROUPS


GOLDEN_GROUPS = [52, 31, 10, 7, 37]


def test_a_stored_key_is_laid_out_big_endian_and_can_be_taken_apart() -> None:
    stored = stored_key(3, 258, b"\xa1k", b"window")
    assert stored == b"\x00\x03" + b"\x01\x02" + b"\x00\x00\x00\x02" + b"\xa1k" + b"window"
    assert (state_of(stored), namespace_of(stored)) == (258, b"window")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (1, True),
        (1, 1.0),
        (True, 1),
        ("a", b"a"),
        ("a", None),
        ((1, "a"), (True, "a")),
        ((1, "a"), (1.0, "a")),
        ((1, "a"), (1, "a", "b")),
        ((1, 2), Place("a", 1)),
        (Place("a", 1), Place("a", True)),
        (Frozen("a"), Frozen(1)),  # type: ignore[arg-type]
        ("a", Loose("a")),
        ("a", ["a"]),
        ("a", {"a": 1}),
    ],
)
def test_a_key_of_another_type_is_refused_with_its_row(tmp_path: Path, good: Any, bad: Any) -> None:
    made = store(tmp_path)
    made.lookup([good])
    with pytest.raises(KeyTypeError, match=r"keyed state of 'task'[^$]*\n  -> ") as caught:
        made.lookup([good, good, bad, good])
    assert caught.value.index == 2
    assert len(made.lookup([good, good])) == 2


@pytest.mark.parametrize("key", [1.0, None, [1], Loose("a"), (1, None), {"a": 1}])
def test_what_cannot_be_a_key_is_refused_as_the_first_key_too(tmp_path: Path, key: Any) -> None:
    with pytest.raises(KeyTypeError, match="use str, bytes, int, bool"):
        store(tmp_path).lookup([key])


@pytest.mark.parametrize("key", [2**70, "\ud800"])
def test_a_key_that_cannot_be_written_is_refused_with_its_row(tmp_path: Path, key: Any) -> None:
    good = type(key)(5)
    with pytest.raises(KeyTypeError, match="cannot be written") as caught:
        store(tmp_path).lookup([good, key])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        (str, "a", 1),
        (tuple[str, int], ("a", 1), ("a", "b")),
        (Place, Place("a", 1), ("a", 1)),
        (Frozen, Frozen("a"), "a"),
    ],
)
def test_a_declared_key_type_binds_the_first_key(tmp_path: Path, declared: Any, good: Any, bad: Any) -> None:
    made = store(tmp_path, keys=KeyType("keys", declared))
    with pytest.raises(KeyTypeError):
        made.lookup([bad])
    assert made.lookup([good])[0].key == good


@pytest.mark.parametrize("declared", [float, list[int], Loose, tuple[int, ...], int | None])
def test_a_declared_type_that_is_no_key_type_is_refused(tmp_path: Path, declared: Any) -> None:
    with pytest.raises(StateTypeError, match="is not a type for keys"):
        store(tmp_path, keys=KeyType("keys", declared))


def test_the_same_key_gives_the_same_slot_with_its_key_group_and_packed_bytes(tmp_path: Path) -> None:
    made = store(tmp_path)
    first, other, again = made.lookup(["a", "b", "a"])
    assert first is again
    assert first is not other
    assert first.packed == pack_key("a")
    assert first.group == key_group(pack_key("a"), 16)
    assert made.keys_in_memory == 2


def test_a_restored_store_refuses_keys_of_another_type_than_before(tmp_path: Path) -> None:
    before = store(tmp_path)
    before.lookup(["a"])
    snapshot = checkpoint(before, 1)
    after = make_store(MemoryKeyedStore, tmp_path, STATES)
    after.open([snapshot])
    with pytest.raises(KeyTypeError, match="key 7 is int, but the keys of the checkpoint are str"):
        after.lookup([7])
    assert after.lookup(["a"])[0].key == "a"
    with pytest.raises(StateTypeError, match="keys are int, but the checkpoint has keys of type str"):
        make_store(MemoryKeyedStore, tmp_path, STATES, keys=KeyType("keys", int)).open([snapshot])


def test_stores_that_share_a_key_type_refuse_what_the_other_has_not_seen(tmp_path: Path) -> None:
    shared = KeyType("keys")
    one = make_store(MemoryKeyedStore, tmp_path, STATES, keys=shared)
    other = make_store(MemoryKeyedStore, tmp_path, STATES, subtask=1, keys=shared)
    one.lookup(["a"])
    with pytest.raises(KeyTypeError, match="key 7 is int, but the keys here are str"):
        other.lookup([7])


def test_a_key_type_that_another_store_saw_first_is_in_the_snapshot_of_each(tmp_path: Path) -> None:
    shared = KeyType("keys")
    make_store(MemoryKeyedStore, tmp_path, STATES, keys=shared).lookup(["a"])
    other = make_store(MemoryKeyedStore, tmp_path, STATES, subtask=1, keys=shared)
    snapshot = checkpoint(other, 1)
    restored = make_store(MemoryKeyedStore, tmp_path, STATES, subtask=1)
    restored.open([snapshot])
    with pytest.raises(KeyTypeError, match="key 7 is int, but the keys of the checkpoint are str"):
        restored.lookup([7])
