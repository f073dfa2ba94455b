"""Formats work on whole columns and name the first bad element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamlet import Bytes, Json, Text
from streamlet.errors import DecodeError, EncodeError
from tests.naming import shown


class Struct(msgspec.Struct):
    user: str
    amount: int = 0


@dataclass
class Data:
    user: str
    amount: int = 0


class Typed(TypedDict):
    user: str


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=8))
def test_json_comes_back_as_it_went_in(column: list[Any]) -> None:
    assert Json().decode_batch(Json().encode_batch(column)) == column


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
def test_text_comes_back_as_it_went_in(column: list[str]) -> None:
    assume(not any(text.startswith("\0\0") for text in column))  # as records of a schema registry begin
    assert Text().decode_batch(Text().encode_batch(column)) == column


@given(st.lists(st.binary(), max_size=8))
def test_bytes_come_back_as_they_went_in(column: list[bytes]) -> None:
    assert Bytes().decode_batch(Bytes().encode_batch(column)) == column


@pytest.mark.parametrize(("type", "expected"), [(Struct, Struct("a", 5)), (Data, Data("a", 5)), (Typed, {"user": "a"})])
def test_json_of_a_type_gives_that_type_and_ignores_other_fields(type: Any, expected: Any) -> None:
    assert Json(type).decode_batch([b'{"user": "a", "amount": 5, "more": [1]}'])[0] == expected


@pytest.mark.parametrize("format", [Json(), Text(), Bytes()], ids=shown)
def test_an_empty_column_stays_empty(format: Any) -> None:
    assert format.decode_batch([]) == format.encode_batch([]) == []


@pytest.mark.parametrize(
    ("format", "bad", "message"),
    [
        (Json(), b"{", "not JSON: "),
        (Json(), b"", "not JSON: "),
        (Json(), b'"\xff"', "not JSON: "),
        (Json(Struct), b'{"user": 5}', "not JSON of Struct: Expected `str`"),
        (Json(Struct), b"{}", "missing required field `user`"),
        (Json(), None, "not JSON: "),
        (Text(), b"\xff", "not utf-8 text: "),
        (Text("ascii"), "ä".encode(), "not ascii text: "),
        (Text(), None, "not utf-8 text: "),
        (Bytes(), None, "not bytes but NoneType"),
    ],
)
def test_the_first_element_that_cannot_be_read_is_named(format: Any, bad: Any, message: str) -> None:
    fine = b'{"user": "a"}'
    with pytest.raises(DecodeError, match=message) as caught:
        format.decode_batch([fine, fine, bad, fine, bad])
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("format", "fine", "bad", "message"),
    [
        (Json(), 1, object(), "cannot be written as JSON"),
        (Json(), 1, {1.5j: 2}, "cannot be written as JSON"),
        (Text(), "x", 5, "not text for utf-8"),
        (Text("ascii"), "x", "ä", "not text for ascii"),
        (Text(), "x", "\ud800", "not text for utf-8"),
        (Bytes(), b"x", "x", "not bytes but str"),
    ],
)
def test_the_first_element_that_cannot_be_written_is_named(format: Any, fine: Any, bad: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message) as caught:
        format.encode_batch([fine, bad, fine, bad])
    assert caught.value.index == 1


def test_a_value_that_contains_itself_cannot_be_written_as_json() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError) as caught:
        Json().encode_batch([1, loop])
    assert caught.value.index == 1


def test_json_writes_no_line_feeds() -> None:
    assert Json().encode_batch(["a\nb", {"c\n": "\u2028"}]) == [b'"a\\nb"', '{"c\\n":"\u2028"}'.encode()]


def test_a_raw_value_with_a_line_feed_stays_one_record() -> None:
    assert Json().encode_batch([msgspec.Raw(b"[\n]"), 1]) == [b"[\n]", b"1"]


@given(st.lists(st.integers() | st.lists(st.integers(min_value=2**60), max_size=2), max_size=5))
def test_whole_numbers_of_any_size_are_exact(column: list[Any]) -> None:
    assert Json().decode_batch(Json().encode_batch(column)) == column
