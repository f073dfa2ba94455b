"""Declared types: what may be shared with a snapshot, what is kept packed, and how a type is written down."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest

from streamlet.errors import StateTypeError
from streamlet.state.encoding.codec import Codec
from streamlet.state.encoding.types import type_text


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Total(msgspec.Struct, frozen=True):
    count: int
    sum: float = 0.0


class Node(msgspec.Struct, frozen=True):
    name: str
    next: Node | None = None


class Open(msgspec.Struct):
    count: int


class Holder(msgspec.Struct, frozen=True):
    values: list[int]


@dataclasses.dataclass(frozen=True)
class Visit:
    page: str


@dataclasses.dataclass
class Basket:
    items: list[str]


class Row(TypedDict):
    a: int


class Stranger:
    pass


def codec(declared: Any) -> Codec:
    return Codec(declared, where="value state 'x' of 'op'")


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (int, 1),
        (float, 0.5),
        (str, "a"),
        (bytes, b"a"),
        (bool, True),
        (int | None, None),
        (Colour, Colour.RED),
        (Point, Point(1, 2)),
        (Total, Total(1, 2.0)),
        (Node, Node("a", Node("b"))),
        (Visit, Visit("home")),
        (tuple[int, str], (1, "a")),
        (frozenset[int], frozenset({1})),
    ],
)
def test_an_immutable_value_is_held_as_it_is(declared: Any, value: Any) -> None:
    made = codec(declared)
    assert not made.holds_bytes
    assert made.decode(made.encode(value)) == value
    assert made.unpack(made.pack(value)) == value


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (list[int], [1]),
        (dict[str, int], {"a": 1}),
        (set[int], {1}),
        (Open, Open(1)),
        (Holder, Holder([1])),
        (Basket, Basket(["a"])),
        (Row, {"a": 1}),
        (list[int] | None, None),
        (tuple[Any, ...], (1, [2])),
        (bytearray, bytearray(b"a")),
    ],
)
def test_a_mutable_value_is_held_packed_and_comes_back_as_a_fresh_object(declared: Any, value: Any) -> None:
    made = codec(declared)
    assert made.holds_bytes
    assert not made.plain
    stored = made.encode(value)
    first, second = made.decode(stored), made.decode(stored)
    assert first == second == value
    assert value is None or first is not second


def test_classes_of_exact_fields_need_no_encoding() -> None:
    assert codec(int).plain == {int}
    assert codec(int | None).plain == {int, type(None)}
    assert codec(Visit).plain == {Visit}
    assert codec(Node).plain == {Node}
    assert codec(Total).plain == frozenset()


def test_an_int_in_a_float_becomes_what_a_restore_would_give() -> None:
    assert type(codec(float).encode(1)) is float
    total = Total(1, 2.0)
    assert codec(Total).encode(total) is total
    assert type(codec(Total).encode(Total(1, 2)).sum) is float


def test_a_time_zone_becomes_what_a_restore_would_give() -> None:
    made = codec(datetime)
    local = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert made.encode(local).isoformat() == made.unpack(made.pack(local)).isoformat()
    assert made.encode(local) == datetime(2024, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("declared", "value"), [(int, True), (int, "1"), (str, 1), (int, None), (Total, 5), (list[int], ["a"])]
)
def test_a_value_of_another_type_is_refused(declared: Any, value: Any) -> None:
    with pytest.raises(StateTypeError, match="value state 'x' of 'op' is declared as"):
        codec(declared).encode(value)


class Pair(NamedTuple):
    one: int
    text: str


class Kept(msgspec.Struct):
    big: int
    many: list[int]


class Tagged(msgspec.Struct, tag=True, array_like=True, frozen=True):
    big: int


@dataclasses.dataclass
class Plain:
    big: int
    text: str = ""


LONELY = "half \ud83d"


@pytest.mark.parametrize(
    "type, value",
    [
        (int, 2**70),
        (int, -(2**63) - 1),
        (int, 2**64),
        (int | float, 10**30),
        (Any, 10**30),
        (Any, LONELY),
        (str, LONELY),
        (list[int], [1, 2**70, -(2**90)]),
        (tuple[int | float, int], (10**40, 3)),
        (tuple[int, ...], (2**64, 1)),
        (frozenset[int], frozenset({1, 2**64})),
        (dict[str, list[int]], {"a": [2**70]}),
        (Pair, Pair(2**70, LONELY)),
        (Kept, Kept(2**70, [2**71])),
        (Tagged, Tagged(2**70)),
        (Plain, Plain(2**70, LONELY)),
        (Kept | None, Kept(-(2**70), [])),
    ],
)
def test_integers_of_any_size_and_half_characters_are_kept(type: Any, value: Any) -> None:
    made = codec(type)
    assert made.decode(made.encode(value)) == value
    back = made.decode(made.unpack(made.pack(value)))
    assert back == value and back.__class__ is value.__class__


def test_what_the_plain_way_takes_is_written_as_ever() -> None:
    for value in (2**64 - 1, -(2**63), "text", [1, 2]):
        assert codec(Any if not isinstance(value, list) else list[int]).pack(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", b"a"])
def test_without_a_declared_type_scalars_are_kept(value: Any) -> None:
    made = codec(Any)
    assert made.encode(value) is value
    assert type(made.unpack(made.pack(value))) is type(value)


@pytest.mark.parametrize("value", [[1], {"a": 1}, (1,), Total(1)])
def test_without_a_declared_type_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(StateTypeError, match="declare the type"):
        codec(Any).encode(value)


@pytest.mark.parametrize("declared", [Stranger, list[Stranger], object, "int", msgspec.Raw, Total | Node])
def test_a_type_that_cannot_be_stored_is_refused_at_declaration(declared: Any) -> None:
    with pytest.raises(StateTypeError, match="value state 'x' of 'op'"):
        codec(declared)


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (int, "int"),
        (Any, "Any"),
        (None | int, "None | int"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[int, str], "tuple[int, str]"),
        (Total, "Total{count: int, sum?: float}"),
        (Node, "Node{name: str, next?: Node | None}"),
        (Colour, "Colour(1)"),
        (list, "list[Any]"),
    ],
)
def test_a_type_has_one_text(declared: Any, text: str) -> None:
    assert type_text(declared) == text
