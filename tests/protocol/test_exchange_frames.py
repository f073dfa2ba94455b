"""What crosses between two processes is the same on the other side, in type too, or an error that says what to do."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet.connect import Batch
from streamlet.elements import Barrier, EndOfInput, Watermark
from streamlet.errors import ExchangeError, WorkerDiedError
from streamlet.runtime.processes.frames import (
    MOST_RECORDS,
    FrameKind,
    batch_body,
    batch_of,
    element_body,
    element_of,
    frame,
    parsed,
)
from streamlet.runtime.task.columns import packed, unpacked
from streamlet.runtime.task.placement import ChannelAddress
from streamlet.state.memory.cells import Slot
from tests.naming import shown


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    left: int
    right: str


class Click(msgspec.Struct, frozen=True):
    user: str
    at: datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visit:
    pages: list[Pair]
    colour: Colour | None = None


K = TypeVar("K")
V = TypeVar("V")


class Result(msgspec.Struct, Generic[K, V], frozen=True):
    key: K
    value: V
    second: V | None = None


class Open(msgspec.Struct):
    anything: Any


@dataclass
class OpenList:
    items: list[Any]


@dataclass
class Wrong:
    number: int


INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | INTEGERS, inner, max_size=3)
)
PAIRS = st.builds(Pair, INTEGERS, st.text())
CLICKS = st.builds(Click, st.text(), st.datetimes(timezones=st.just(UTC)), st.lists(st.text()).map(tuple))
VISITS = st.builds(Visit, st.lists(PAIRS, max_size=3), st.none() | st.sampled_from(Colour))
OTHERS = st.dates() | st.decimals(allow_nan=False) | st.uuids() | st.sampled_from(Colour) | st.datetimes()
RESULTS = st.builds(Result, st.text() | st.tuples(st.text(), INTEGERS), st.tuples(INTEGERS, PAIRS) | st.none())
COLUMNS = st.one_of(
    st.lists(PLAIN),
    st.lists(st.tuples(st.text(), INTEGERS)),
    st.lists(st.tuples(st.tuples(st.text(), INTEGERS), st.none() | PAIRS)),
    st.lists(st.lists(INTEGERS).map(tuple)),
    st.lists(st.dictionaries(st.text(), CLICKS, max_size=3)),
    st.lists(st.lists(VISITS, max_size=3)),
    st.lists(SCALARS | PAIRS | CLICKS | VISITS | OTHERS),
)


def typed(value: Any) -> Any:
    """The value with the class of everything in it, so that 1, True and 1.0 differ."""
    if isinstance(value, dict):
        return [dict, [(typed(key), typed(inner)) for key, inner in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value), [typed(inner) for inner in value]]
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return [type(value), value]


@given(COLUMNS)
def test_a_column_comes_back_as_it_was(column: list[Any]) -> None:
    assert typed(unpacked(packed(column))) == typed(column)


@given(st.lists(PLAIN | st.tuples(PLAIN) | PAIRS | st.frozensets(INTEGERS) | st.tuples(PLAIN, PAIRS), max_size=5))
def test_whatever_a_column_holds_nothing_arrives_as_something_else(column: list[Any]) -> None:
    try:
        parts = packed(column)
    except ExchangeError:
        return
    assert typed(unpacked(parts)) == typed(column)


@given(st.lists(st.tuples(st.text(), st.integers(0, 9)), min_size=1), st.lists(st.integers()), st.sampled_from(Colour))
def test_a_generic_class_carries_what_its_parameters_stand_for(
    keys: list[Any], pages: list[int], colour: Colour
) -> None:
    column = [Result(key, (Pair(number % 5, "a"), colour)) for number, key in enumerate(keys)]
    back = unpacked(packed([(one, len(pages)) for one in column]))
    assert [(typed(one.key), typed(one.value)) for one, _ in back] == [
        (typed(one.key), typed(one.value)) for one in column
    ]


@given(st.lists(RESULTS, max_size=5))
def test_a_generic_class_arrives_as_it_was_or_not_at_all(column: list[Any]) -> None:
    try:
        back = unpacked(packed(column))
    except ExchangeError:
        return
    assert [(typed(one.key), typed(one.value)) for one in back] == [
        (typed(one.key), typed(one.value)) for one in column
    ]


@given(st.lists(PLAIN | st.tuples(PLAIN), max_size=5))
def test_a_field_without_a_type_carries_plain_data_or_is_refused(column: list[Any]) -> None:
    try:
        parts = packed([Open(value) for value in column])
    except ExchangeError:
        return
    assert typed([one.anything for one in unpacked(parts)]) == typed(column)


@given(
    st.lists(st.tuples(PLAIN, st.integers(-(1 << 62), 1 << 62), st.text() | st.tuples(st.text(), INTEGERS))),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_batch_comes_back_as_it_was(rows: list[Any], has_times: bool, has_keys: bool, has_slots: bool) -> None:
    values, times, keys = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    column: list[Any] = [Slot(0, None, 0, 0, key, b"", 0) for key in keys] if has_slots else keys
    back = batch_of(batch_body(Batch(values, times if has_times else None, column if has_keys else None)))
    assert typed(back.values) == typed(values)
    assert back.timestamps == (times if has_times else None)
    if not has_keys:
        assert back.keys is None
    else:
        assert back.keys is not None
        assert typed([one.key for one in back.keys] if has_slots else back.keys) == typed(keys)


@given(st.integers(0, 2500))
def test_a_long_batch_is_cut_into_frames_of_a_thousand_rows_in_order(count: int) -> None:
    batch = Batch(list(range(count)), list(range(count)), [str(one) for one in range(count)])
    cut = batch.pieces(MOST_RECORDS)
    assert [value for piece in cut for value in piece.values] == batch.values
    assert [time for piece in cut for time in piece.timestamps or ()] == batch.timestamps
    assert [key for piece in cut for key in piece.keys or ()] == batch.keys
    assert all(len(piece) <= 1000 for piece in cut)


def test_an_origin_crosses_in_words() -> None:
    class Numbered:
        def describe(self, row: int) -> str:
            return f"line {row}"

    batch = Batch([10, 30], origin=Numbered(), rows=[1, 3])
    assert batch_of(batch_body(batch)).describe_row(1) == "line 3"
    long = Batch(list(range(1500)), origin=Numbered())
    assert batch_of(batch_body(long.pieces(MOST_RECORDS)[1])).describe_row(2) == "line 1002"


@given(
    st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 1 << 31), st.binary(max_size=50)
)
def test_a_frame_comes_back_as_it_was(task: int, sender: int, receiver: int, records: int, body: bytes) -> None:
    address = ChannelAddress(task, 1, sender, receiver)
    assert parsed(frame(FrameKind.BATCH, address, records, body)) == (FrameKind.BATCH, address, records, body)


@pytest.mark.parametrize("element", [Watermark(-5), Watermark(7, is_idle=True), Barrier(3), EndOfInput()])
def test_what_is_no_batch_comes_back_as_it_was(element: Watermark | Barrier | EndOfInput) -> None:
    assert element_of(element_body(element)) == element


def test_bytes_that_are_no_frame_are_refused() -> None:
    with pytest.raises(WorkerDiedError, match="3 bytes that are no frame"):
        parsed(b"abc")


@pytest.mark.parametrize(
    "value",
    [
        1 << 64,
        object(),
        {"a": object()},
        Counter("ab"),
        defaultdict(int),
        {1.5: {"a": {1, 2}}, 2: "b"},
        [(1, 2), "three"],
        {"pair": (1, 2), "other": "text"},
        Open((1, 2)),
        OpenList([Pair(1, "a")]),
        "\ud800",
        lambda: 1,
    ],
    ids=shown,
)
def test_what_cannot_cross_is_an_error_with_a_remedy(value: Any) -> None:
    with pytest.raises(ExchangeError) as raised:
        packed([value])
    assert raised.value.remedy


def test_a_class_inside_a_function_is_refused_by_its_name() -> None:
    @dataclass
    class Hidden:
        number: int

    with pytest.raises(ExchangeError, match=r"Hidden cannot be sent to another process, which could not find"):
        packed([Hidden(1)])


def test_a_field_that_is_not_of_its_declared_type_is_refused_on_arrival() -> None:
    with pytest.raises(ExchangeError, match="not what its class declares"):
        batch_of(batch_body(Batch([Wrong("text")])))  # type: ignore[arg-type]


def test_the_classes_that_keep_their_values_are_these() -> None:
    column = [Decimal("1.50"), UUID(int=7), date(2020, 1, 2), datetime(2020, 1, 2, 3), Colour.RED, Pair(1, "a"), None]
    assert typed(unpacked(packed(column))) == typed(column)
