"""TopK, Distinct, ApproxDistinct and Collect: what they give, that they merge, and what they refuse."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlet.aggregates import AggregateFunction, ApproxDistinct, Collect, Distinct, TopK
from streamlet.errors import JobDefinitionError

FUNCTIONS: dict[str, tuple[Callable[[], AggregateFunction[int, Any, Any]], Callable[[list[int]], Any]]] = {
    "TopK": (lambda: TopK(3), lambda values: sorted(values, reverse=True)[:3]),
    "TopK by": (
        lambda: TopK(2, by=lambda value: -(value // 2)),
        lambda values: sorted(values, key=lambda value: -(value // 2), reverse=True)[:2],
    ),
    "Distinct": (lambda: Distinct(lambda value: value % 5), lambda values: len({value % 5 for value in values})),
    "ApproxDistinct": (lambda: ApproxDistinct(lambda value: value % 5), lambda values: len({v % 5 for v in values})),
    "Collect": (lambda: Collect(limit=4), lambda values: values[:4]),
}
NUMBERS = st.lists(st.integers(-20, 20), max_size=20)


def _accumulated(function: AggregateFunction[int, Any, Any], values: list[int]) -> Any:
    accumulator = function.create_accumulator()
    for value in values:
        accumulator = function.add(accumulator, value)
    packed = msgspec.msgpack.encode(accumulator)
    return msgspec.msgpack.decode(packed, type=function.accumulator_type)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(deadline=None)
@given(values=NUMBERS, others=NUMBERS)
def test_the_result_of_all_values_is_that_of_merged_parts(name: str, values: list[int], others: list[int]) -> None:
    make, oracle = FUNCTIONS[name]
    function = make()
    one, other = _accumulated(function, values), _accumulated(function, others)
    assert function.result(one) == oracle(values)
    assert function.result(function.merge(one, other)) == oracle(values + others)


def test_a_sketch_is_small_and_near_the_truth() -> None:
    function: ApproxDistinct[str] = ApproxDistinct()
    accumulator = function.create_accumulator()
    numbers = random.Random(1)
    seen = [str(numbers.randrange(20_000)) for _ in range(20_000)]
    for value in seen:
        accumulator = function.add(accumulator, value)
    assert len(accumulator) < 5000
    assert abs(function.result(accumulator) / len(set(seen)) - 1) < 0.05


def test_a_sketch_tells_values_of_different_types_apart() -> None:
    function: ApproxDistinct[Any] = ApproxDistinct()
    accumulator = function.create_accumulator()
    for value in (1, "1", b"1", 1.5, None, ("a", 1), ("a", 2)):
        accumulator = function.add(accumulator, value)
    assert function.result(accumulator) == 7


def test_without_the_library_a_sketch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(JobDefinitionError, match=r"test_collecting\.py:\d+: ApproxDistinct needs") as caught:
        ApproxDistinct()
    assert caught.value.remedy is not None
    assert "streamlet[sketches]" in caught.value.remedy


@pytest.mark.parametrize(
    "make", [lambda: TopK(0), lambda: TopK(True), lambda: Collect(limit=-1), lambda: ApproxDistinct(precision=3)]
)
def test_sizes_that_cannot_be_are_refused_at_the_users_line(make: Callable[[], object]) -> None:
    with pytest.raises(JobDefinitionError, match=r"test_collecting\.py:\d+: .* is (0|True|-1|3)"):
        make()


def test_collect_keeps_a_thousand_unless_told_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    function = Collect[int]()
    values: tuple[Any, ...] = ()
    for one in range(1500):
        values = function.add(values, one)
    assert function.result(values) == list(range(1000))
    assert function.merge(values[:600], values[:600]) == (*range(600), *range(400))
    assert caplog.text.count(f"{__file__}:") == 1
    assert "collect keeps the first 1,000 values" in caplog.text
    assert "collect(limit=...)" in caplog.text


def test_a_limit_that_was_said_is_meant(caplog: pytest.LogCaptureFixture) -> None:
    function = Collect[int](limit=2)
    assert function.add((1, 2), 3) == function.merge((1,), (2, 3)) == (1, 2)
    assert Collect[int]().merge(tuple(range(500)), tuple(range(500))) == (*range(500), *range(500))
    assert caplog.text == ""
