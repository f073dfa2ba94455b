"""Values of a state as plain data, by the text of their type alone: out of stored bytes, to JSON, and back."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec
import pytest

from streamlet.errors import StateTypeError
from streamlet.inspect.plain_forms import json_line
from streamlet.inspect.plain_keys import parse_key, parse_map_key
from streamlet.inspect.plain_types import ANY, parse
from streamlet.inspect.plain_values import PlainValues
from streamlet.state.encoding.extensions import of_extension, pack_wide
from streamlet.state.encoding.key_groups import pack_key
from streamlet.state.encoding.key_type import forms_text, key_type_of, key_type_text
from streamlet.state.encoding.types import type_text

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


class Place(NamedTuple):
    shop: str
    row: int | None = None


@dataclass
class Visit:
    at: int
    places: list[Place]
    shares: dict[tuple[int, str], float]
    raw: bytes
    when: datetime
    rest: Any = None


class Tagged(msgspec.Struct, tag="t", array_like=True):
    at: int


class Other(msgspec.Struct, tag="o", array_like=True):
    by: str


class Named(msgspec.Struct, tag=True, rename="kebab"):
    by_hand: str
    raw: bytes = b""


class Tree(msgspec.Struct):
    kids: list[Tree]
    size: int = 0


class Colour(enum.Enum):
    RED = "red"
    ODD = 'it\'s [odd] (or "so") \\'


@pytest.mark.parametrize(
    ("declared", "value", "shown"),
    [
        (int, 5, 5),
        (int, 1 << 80, 1 << 80),
        (str, "half \ud800 of a pair", "half \ud800 of a pair"),
        (float, float("inf"), float("inf")),
        (bytes, b"\0\xff", b"\0\xff"),
        (Any, b"bytes", b"bytes"),
        (Any, None, None),
        (int | None, None, None),
        (set[int], {3}, [3]),
        (tuple[int, str], (1, "a"), (1, "a")),
        (tuple[Place, ...], (Place("a"),), [{"shop": "a", "row": None}]),
        (tuple[int, Place], (1, Place("a", 2)), (1, {"shop": "a", "row": 2})),
        (Place | None, Place("a", 2), {"shop": "a", "row": 2}),
        (dict[str, Place], {"k": Place("a", 1)}, {"k": {"shop": "a", "row": 1}}),
        (dict[int, str], {1: "a"}, {1: "a"}),
        (Named | None, Named("x", b"y"), {"by-hand": "x", "raw": b"y"}),
        (Tree, Tree([Tree([], 3)], 1), {"kids": [{"kids": [], "size": 3}], "size": 1}),
        (Colour, Colour.ODD, Colour.ODD.value),
        (Literal["a", 3], 3, 3),
        (date, date(2026, 1, 2), date(2026, 1, 2)),
        (timedelta, timedelta(seconds=1.5), timedelta(seconds=1.5)),
        (
            Visit,
            Visit(1, [Place("s", 2)], {(1, "a"): 0.5}, b"raw", NOW, {b"k": [b"v", 1.5]}),
            {
                "at": 1,
                "places": [{"shop": "s", "row": 2}],
                "shares": {(1, "a"): 0.5},
                "raw": b"raw",
                "when": NOW,
                "rest": {b"k": [b"v", 1.5]},
            },
        ),
    ],
)
def test_a_value_is_shown_as_plain_data_and_comes_back_the_same_by_json(declared: Any, value: Any, shown: Any) -> None:
    values = PlainValues(parse(type_text(declared)))
    stored = pack_wide(value)
    plain = values.read(stored)
    assert plain == shown
    assert type(plain) is type(shown)
    line = json_line({"value": values.for_json(plain)})
    assert line.endswith(b"}\n")
    for back in (msgspec.json.decode(line)["value"], plain):
        assert decoded(values.write(back, "here"), declared) == value


def test_nan_is_no_null() -> None:
    values = PlainValues(parse("list[float]"))
    line = json_line({"value": values.read(pack_wide([1.0, float("nan")]))})
    assert line == b'{"value":[1.0,{"$float":"nan"}]}\n'
    (one, nan) = msgspec.msgpack.decode(values.write(msgspec.json.decode(line)["value"], "here"))
    assert one == 1.0
    assert nan != nan


def test_classes_of_a_union_that_nothing_tells_apart_are_shown_as_they_lie_there() -> None:
    values = PlainValues(parse(type_text(Tagged | Other)))
    assert values.read(pack_wide(Other("x"))) == ["o", "x"]
    assert decoded(values.write(["o", "x"], "here"), Tagged | Other) == Other("x")


def test_a_value_of_another_type_is_refused_with_the_type() -> None:
    values = PlainValues(parse(type_text(Visit)))
    with pytest.raises(StateTypeError) as refused:
        values.write({"at": "x"}, "state 'visits' of 'p', key 7")
    assert refused.value.message == "state 'visits' of 'p', key 7: Expected `int`, got `str` - at `$.at`"
    assert "Visit{at: int, " in str(refused.value.remedy)


@pytest.mark.parametrize("text", ["", "dict[int", "Visit{at", "tuple[int]]", "Literal['a", "list[int, str]"])
def test_a_text_that_is_no_type_is_any(text: str) -> None:
    assert parse(text) == ANY


class ByMap(msgspec.Struct, frozen=True):
    shop: str
    row: int


class ByArray(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    shop: str


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("a", "a"),
        (7, 7),
        (True, True),
        (b"x", b"x"),
        (("a", (1, b"x")), ("a", (1, b"x"))),
        (Place("a", 2), {"shop": "a", "row": 2}),
        (ByMap("a", 2), {"shop": "a", "row": 2}),
        ((ByArray("a"), 1), ({"type": "p", "shop": "a"}, 1)),
    ],
)
def test_a_key_comes_back_as_the_very_same_bytes(key: Any, shown: Any) -> None:
    keys = PlainValues(parse_key(key_type_text(key_type_of(key))))
    packed = pack_key(key)
    assert keys.read(packed) == shown
    by_json = msgspec.json.decode(json_line(keys.for_json(shown)))
    assert keys.write(by_json, "the key") == packed == keys.write(shown, "the key")


def test_a_key_of_a_map_comes_back_as_the_very_same_bytes() -> None:
    noted = type_text(ByMap) + forms_text(key_type_of(ByMap("a", 1)))
    assert noted == "ByMap{shop: str, row: int}; ByMap as map"
    keys = PlainValues(parse_map_key(noted))
    assert keys.write(keys.read(pack_key(ByMap("a", 1))), "the key") == pack_key(ByMap("a", 1))


def decoded(data: bytes, declared: Any) -> Any:
    return msgspec.convert(msgspec.msgpack.decode(data, ext_hook=of_extension), declared)
