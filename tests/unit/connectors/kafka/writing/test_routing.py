"""Keys become bytes and partitions, once per key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streamlet import Json, Text
from streamlet.connect import Batch
from streamlet.errors import EncodeError, UserFunctionError
from streamlet_connectors.kafka.writing.partitioner import partition_of
from streamlet_connectors.kafka.writing.routing import Router, encode_key

PARTITIONS = 7


class Point(msgspec.Struct, frozen=True):
    x: int


class Slot:
    def __init__(self, key: Any) -> None:
        self.key = key
        self.memo: Any = None


def router(**given: Any) -> Router[str]:
    return Router(
        [str(partition) for partition in range(PARTITIONS)],
        key=given.get("key", "stream"),
        key_format=given.get("key_format"),
        partition=given.get("partition"),
        owns_memo=given.get("owns_memo", False),
    )


def routes(router: Router[str], values: list[Any], keys: list[Any] | None = None) -> list[tuple[int, bytes | None]]:
    targets, data = router.route(Batch(values, None, None if keys is None else [Slot(key) for key in keys]))
    return list(zip(map(int, targets), data, strict=True))


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("größe", "größe".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (None, None),
        (42, b"42"),
        (True, b"true"),
        (("a", 1), b'["a",1]'),
        (Point(3), b'{"x":3}'),
    ],
)
def test_a_key_is_written_as_text_bytes_or_json(key: Any, data: bytes | None) -> None:
    assert encode_key(key) == data


@pytest.mark.parametrize("owns_memo", [False, True])
def test_the_streams_key_decides_the_partition(owns_memo: bool) -> None:
    keys = ["a", "b", "a"]
    chosen = routes(router(owns_memo=owns_memo), [1, 2, 3], keys)
    assert chosen == [(partition_of(key.encode(), PARTITIONS), key.encode()) for key in keys]


def test_a_partition_is_remembered_at_the_key_when_the_sink_owns_the_memo() -> None:
    slot = Slot("a")
    one = router(owns_memo=True)
    assert one.route(Batch([1], None, [slot])) == ([slot.memo], [b"a"])
    slot.memo = "other"
    assert one.route(Batch([2], None, [slot])) == (["other"], [b"a"])


def test_memos_are_left_alone_when_the_sink_does_not_own_them() -> None:
    slot = Slot("a")
    router().route(Batch([1], None, [slot]))
    assert slot.memo is None


def test_keys_that_are_equal_but_of_other_types_stay_apart() -> None:
    chosen = routes(router(key=lambda value: value), [1, True, 1.0, 1, True])
    assert [key for _, key in chosen] == [b"1", b"true", b"1.0", b"1", b"true"]
    assert [key for _, key in routes(router(key=lambda value: value), [1, 1])] == [b"1", b"1"]


def test_records_without_a_key_take_the_partitions_in_turn_batch_by_batch() -> None:
    one = router()
    turns = [routes(one, [1, 2]) for _ in range(PARTITIONS)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert {turn[0][0] for turn in turns} == set(range(PARTITIONS))


def test_a_key_function_may_give_none_for_some() -> None:
    chosen = routes(router(key=lambda value: value), ["a", None])
    assert [key for _, key in chosen] == [b"a", None]
    assert [key for _, key in routes(router(key=lambda _: None), [1, 2])] == [None, None]


def test_none_is_no_key_for_a_key_format_that_could_write_it_too() -> None:
    chosen = routes(router(key=lambda value: value, key_format=Json()), ["a", None])
    assert [key for _, key in chosen] == [b'"a"', None]


def test_no_key_at_all_can_be_asked_for() -> None:
    assert [key for _, key in routes(router(key=None), [1], ["a"])] == [None]


def test_a_partition_function_gets_key_value_and_count() -> None:
    seen: list[tuple[Any, ...]] = []

    def choose(*arguments: Any) -> int:
        seen.append(arguments)
        return 3

    assert routes(router(partition=choose), ["v"], ["k"]) == [(3, b"k")]
    assert seen == [("k", "v", PARTITIONS)]


@pytest.mark.parametrize("wrong", [-1, PARTITIONS, "1", None, True])
def test_a_partition_that_is_not_there_is_refused_and_the_record_is_named(wrong: Any) -> None:
    with pytest.raises(EncodeError, match="partitions 0 to 6") as caught:
        routes(router(partition=lambda key, value, count: wrong if value == "bad" else 0), ["good", "bad"])
    assert caught.value.index == 1


def test_a_key_format_is_used() -> None:
    assert routes(router(key_format=Text("utf-16-le")), [1], ["a"])[0][1] == b"a\x00"


@pytest.mark.parametrize("key", [object(), {"a": object()}, "\ud800"])
def test_a_key_that_cannot_be_written_is_refused_with_a_remedy(key: Any) -> None:
    with pytest.raises(EncodeError, match=r"cannot be written[\s\S]*key_format") as caught:
        routes(router(key=lambda value: key if value else "a"), [0, 1])
    assert caught.value.index == 1


def test_a_key_of_the_stream_that_cannot_be_written_is_named_by_its_row() -> None:
    with pytest.raises(EncodeError, match="cannot be written") as caught:
        routes(router(owns_memo=True), [1, 2, 3], ["a", "b", "\ud800"])
    assert caught.value.index == 2


def test_a_key_that_cannot_be_hashed_is_written_all_the_same() -> None:
    chosen = routes(router(key=lambda value: [value]), [1, 2])
    assert [key for _, key in chosen] == [b"[1]", b"[2]"]


def _stops(_: Any) -> Any:
    raise StopIteration


def _fails(value: Any) -> Any:
    return value["missing"]


@pytest.mark.parametrize("function", [_stops, _fails])
@pytest.mark.parametrize("option", ["key", "partition"])
def test_a_function_that_raises_is_named_with_its_place_and_loses_no_record(option: str, function: Any) -> None:
    given = function if option == "key" else lambda key, value, count: function(value)
    with pytest.raises(UserFunctionError, match=rf"function {option}= (.|\n)*record: row 0 of a batch") as caught:
        routes(router(**{option: given}), [{"a": "secret"}])
    assert "secret" not in str(caught.value)
