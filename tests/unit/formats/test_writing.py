"""A value that JSON cannot hold is refused with its path; what JSON writes as something else is told."""

from __future__ import annotations

import logging
import math
import re
from collections import namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import pytest

from streamlet import DeadLetter, Json
from streamlet.errors import EncodeError


class Reading(msgspec.Struct):
    value: Any
    unit: str | None = None


@dataclass
class Data:
    value: Any


class Named(str):
    __slots__ = ()


class Ratio(float):
    __slots__ = ()


class Kind(Enum):
    NEW = "new"


Pair = namedtuple("Pair", "left right")
Scalar = type("float64", (), {"__module__": "numpy"})
_circle: dict[str, Any] = {"a": [1]}
_circle["a"].append(_circle)

REFUSED: list[tuple[Any, str, str]] = [
    (math.nan, "$ is nan, which JSON does not have", 'Json(nan="null")'),
    ({"k": [1, {"v": math.inf}]}, "$.k[1].v is inf,", 'Json(nan="literal")'),
    (Reading(-math.inf), "$.value is -inf,", "nan="),
    (Data({"a": math.nan, "b": None}), "$.value.a is nan,", "nan="),
    (Pair(None, math.nan), "$.right is nan,", "nan="),
    ({"big": 1 << 80, "v": math.nan}, "$.v is nan,", "nan="),
    ({"s": {math.nan}}, "$.s[...] is nan,", "nan="),
    ({"d": [{"x": Kind}]}, "$.d[0].x is an enum.EnumType", "values made of dict"),
    (Reading(object()), "$.value is an object", "values made of dict"),
    ({"n": Scalar()}, "$.n is a numpy.float64 of numpy", ".item()"),
    ({"n": Ratio(1.5)}, "a class made from float", "float(...)"),
    ({"n": Named("x")}, "a class made from str", "str(...)"),
    ({"n": range(3)}, "$.n is a range", "make a list"),
    ({"n": (one for one in "ab")}, "$.n is a generator", "make a list"),
    ({"s": {1j}}, "$.s[...] is a complex", "values made of dict"),
    ({(1, 2): 3}, "$ has a key that is a tuple", "list of pairs"),
    ({"a": {None: 1}}, "$.a has a key that is None", "list of pairs"),
    ({True: 1}, "$ has a key that is a bool", "list of pairs"),
    ({"s": ["half \ud83d"]}, "$.s[0] is a text with half a surrogate pair", 'surrogates="replace"'),
    ({"\udc00": 1}, "$ has a key that is a text with half a surrogate pair", 'surrogates="replace"'),
    (_circle, "$.a[1] is the same object as one that holds it", "copy"),
]


@pytest.mark.parametrize(("value", "what", "remedy"), REFUSED, ids=[what for _, what, _ in REFUSED])
def test_what_json_cannot_hold_is_refused_with_its_path(value: Any, what: str, remedy: str) -> None:
    with pytest.raises(EncodeError, match=re.escape(what)) as caught:
        Json().encode_batch([None, {"a": None}, value, value])
    assert caught.value.index == 2
    assert f"(Json() of {__file__}:" in caught.value.message
    assert remedy in (caught.value.remedy or "")


def test_nan_is_written_as_asked() -> None:
    value = {"ä": math.nan, "b": [math.inf, None], "d": Decimal("1.10"), "t": date(2026, 1, 1), 1: 2**70}
    null = '{"ä":null,"b":[null,null],"d":"1.10","t":"2026-01-01","1":1180591620717411303424}'
    literal = null.replace("null", "NaN", 1).replace("[null", "[Infinity")
    assert Json(nan="null").encode_batch([1, value]) == [b"1", null.encode()]
    assert Json(nan="literal").encode_batch([None, value, 1.5]) == [b"null", literal.encode(), b"1.5"]
    assert Json(nan="literal", encoding="cp1252").encode_batch([["ä", -math.inf]]) == [b'["\xe4",-Infinity]']


def test_half_a_pair_of_surrogates_is_written_as_the_replacement_character() -> None:
    assert Json(surrogates="replace").encode_batch(["a\ud83d", {"\udc00": "😀"}]) == [
        '"a\ufffd"'.encode(),
        '{"\ufffd":"😀"}'.encode(),
    ]
    with pytest.raises(EncodeError, match=r"\$\[1\] is nan"):
        Json(surrogates="replace").encode_batch([["a\ud83d", math.nan]])
    assert Json(surrogates="replace", nan="null").encode_batch([["\ud83d", math.nan]]) == ['["\ufffd",null]'.encode()]


def test_values_that_are_null_are_no_nan() -> None:
    column = [None, [None], {"a": None}, Reading(None), "null", {"null": "nan"}, {"big": 1 << 99, "n": None}]
    assert len(Json().encode_batch(column)) == len(column)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"d": [Decimal("1.5")]}, "$.d[0] is a Decimal, which JSON writes as text"),
        ({"b": b"x"}, "$.b is a bytes, which JSON writes as base64 text"),
        ((1, {2}), "$[1] is a set, which JSON writes as an array in any order"),
    ],
)
def test_what_json_writes_as_something_else_is_told_once_with_the_line_of_the_format(
    value: Any, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    format = Json[Any]()
    format.encode_batch([1, value])
    format.encode_batch([value])
    assert caplog.text.count("JSON output") == 1
    assert what in caplog.text
    assert f"{__file__}:" in caplog.text


def test_what_has_a_type_or_one_meaning_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    Json(Reading).encode_batch([Reading(Decimal("1.5")), {"d": Decimal(1)}])  # type: ignore[list-item]
    Json().encode_batch([Reading(Decimal("1.5")), Data(b"x"), {"t": datetime(2026, 1, 1), "k": Kind.NEW}])
    Json().encode_batch([{"d": timedelta(1), "n": None, "f": 1.5}])
    assert caplog.text == ""


def test_one_value_of_many_that_is_written_as_something_else_is_found(caplog: pytest.LogCaptureFixture) -> None:
    Json().encode_batch([{"n": n} if n != 777 else {"n": Decimal(n)} for n in range(1000)])
    assert "$.n is a Decimal" in caplog.text


class Silent:
    def __repr__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"v": math.nan}, "{'v': nan}"),
        ({"v": [Kind]}, "{'v': [<enum 'Kind'>]}"),
        ("half \ud83d", r"'half \ud83d'"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (Silent(), "<Silent, which has no text>"),
    ],
)
def test_a_dead_letter_is_written_whatever_its_record_holds(value: Any, text: str) -> None:
    letter = DeadLetter(value, "m", "map", "job.py:1", "ValueError", "half \ud83d", key=("a", 1))
    for column in ([letter], [letter, {"n": None}]):
        written = Json().decode_batch(Json().encode_batch(column))[0]
        assert (written["value"], written["message"], written["key"]) == (text, r"half \ud83d", "('a', 1)")
    fine = Json().decode_batch(Json().encode_batch([DeadLetter({"v": 1}, "m", "map", "", "", "", key=("a", 1))]))[0]
    assert (fine["value"], fine["key"]) == ({"v": 1}, ["a", 1])


def test_characters_that_an_encoding_does_not_have_are_refused() -> None:
    with pytest.raises(EncodeError, match="characters that cp1252 does not have"):
        Json(encoding="cp1252").encode_batch(["é", "日"])
