"""reduce and aggregate on both stores: one result per record, one accumulator per key, the same after a restore."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import Count, Max, Mean, Min, Sum
from streamlet.aggregates import AggregateFunction, Composed, TopK
from streamlet.connect import Batch
from streamlet.errors import JobDefinitionError, RecordError, UserFunctionError
from streamlet.operators.aggregates import collecting
from streamlet.operators.aggregates.rolling import Aggregate, AggregateSeveral, Reduce, aggregating
from streamlet.operators.operator import Operator
from tests.unit.operator_kit import Keyed, Origin
from tests.unit.state_kit import STORES


class Distinct(AggregateFunction[int, list[int], int]):
    """Counts distinct values, with a mutable accumulator that it changes in place though it must not."""

    accumulator_type = list[int]

    def create_accumulator(self) -> list[int]:
        return []

    def add(self, accumulator: list[int], value: int) -> list[int]:
        if value not in accumulator:
            accumulator.append(value)
        return accumulator

    def result(self, accumulator: list[int]) -> int:
        return len(accumulator)


class Spread(msgspec.Struct, frozen=True):
    low: int
    high: int


class Widest(AggregateFunction[int, Spread | None, int]):
    accumulator_type = Spread | None

    def create_accumulator(self) -> Spread | None:
        return None

    def add(self, accumulator: Spread | None, value: int) -> Spread:
        if accumulator is None:
            return Spread(value, value)
        return Spread(min(accumulator.low, value), max(accumulator.high, value))

    def result(self, accumulator: Spread | None) -> int:
        assert accumulator is not None
        return accumulator.high - accumulator.low


def _parity(value: int) -> str:
    return "odd" if value % 2 else "even"


VALUES = [3, 4, 1, 8, 5, 4, 3]

CASES: dict[str, tuple[Callable[[], Operator], list[Any]]] = {
    "Count": (lambda: Aggregate(Count(), None), [1, 1, 2, 2, 3, 3, 4]),
    "Sum": (lambda: Aggregate(Sum(), None), [3, 4, 4, 12, 9, 16, 12]),
    "Sum of a selection": (lambda: Aggregate(Sum(lambda value: -value), None), [-3, -4, -4, -12, -9, -16, -12]),
    "Sum of Decimals": (
        lambda: Aggregate(Sum(lambda value: Decimal(value) / 2, type=Decimal | int), None),
        [Decimal(value) / 2 for value in (3, 4, 4, 12, 9, 16, 12)],
    ),
    "Min": (lambda: Aggregate(Min(), None), [3, 4, 1, 4, 1, 4, 1]),
    "Max": (lambda: Aggregate(Max(), None), [3, 4, 3, 8, 5, 8, 5]),
    "Max of tuples": (
        lambda: Aggregate(Max(lambda value: (value, "x"), type=tuple[int, str]), None),
        [(value, "x") for value in (3, 4, 3, 8, 5, 8, 5)],
    ),
    "Mean": (lambda: Aggregate(Mean(), None), [3.0, 4.0, 2.0, 6.0, 3.0, 16 / 3, 3.0]),
    "own, mutable": (lambda: Aggregate(Distinct(), None), [1, 1, 2, 2, 3, 2, 3]),
    "own, frozen": (lambda: Aggregate(Widest(), None), [0, 0, 2, 4, 4, 4, 4]),
    "own, with result=": (
        lambda: Aggregate(Distinct(), lambda key, count: f"{key} {count}"),
        ["odd 1", "even 1", "odd 2", "even 2", "odd 3", "even 2", "odd 3"],
    ),
    "two": (
        lambda: AggregateSeveral([Count(), Sum()], None),
        [(1, 3), (1, 4), (2, 4), (2, 12), (3, 9), (3, 16), (4, 12)],
    ),
    "two that add": (
        lambda: aggregating([Count(), Sum()], None),
        [(1, 3), (1, 4), (2, 4), (2, 12), (3, 9), (3, 16), (4, 12)],
    ),
    "three": (
        lambda: AggregateSeveral([Count(), Distinct(), Mean()], lambda key, *rest: (key[0], *rest)),
        [
            ("o", 1, 1, 3.0),
            ("e", 1, 1, 4.0),
            ("o", 2, 2, 2.0),
            ("e", 2, 2, 6.0),
            ("o", 3, 3, 3.0),
            ("e", 3, 2, 16 / 3),
            ("o", 4, 3, 3.0),
        ],
    ),
    "reduce": (lambda: Reduce(lambda one, other: one * 10 + other), [3, 4, 31, 48, 315, 484, 3153]),
}


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", CASES)
def test_each_record_gives_the_result_of_its_key_so_far(kind: type[Any], name: str, tmp_path: Path) -> None:
    make, expected = CASES[name]
    keyed = Keyed(kind, tmp_path, make())
    assert keyed.values(VALUES, _parity) == expected
    keyed.checkpoint()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [1, 4])
def test_a_restored_operator_goes_on_as_if_nothing_had_happened(
    kind: type[Any], name: str, cut: int, tmp_path: Path
) -> None:
    make, expected = CASES[name]
    before = Keyed(kind, tmp_path, make())
    assert before.values(VALUES[:cut], _parity) == expected[:cut]
    after = Keyed(kind, tmp_path, make(), before.checkpoint())
    assert after.values(VALUES[cut:], _parity) == expected[cut:]
    after.checkpoint()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(
    ("make", "then"),
    [(lambda: Aggregate(Distinct(), None), 3), (lambda: aggregating([Count(), Sum()], None), (3, 12))],
    ids=["mutable", "two halves"],
)
def test_an_accumulator_that_is_changed_in_place_behind_the_freeze_is_not_in_the_snapshot(
    kind: type[Any], make: Callable[[], Operator], then: Any, tmp_path: Path
) -> None:
    before = Keyed(kind, tmp_path, make())
    before.values([1, 2], lambda _: "k")
    before.store.freeze(1)
    before.values([3, 4, 5], lambda _: "k")
    before.store.pack(1.0)
    before.store.write_log()
    snapshot = before.store.snapshot(1)
    before.store.close()
    after = Keyed(kind, tmp_path, make(), snapshot)
    assert after.values([9], lambda _: "k") == [then]
    after.checkpoint()


def test_two_numbers_that_add_are_kept_in_two_halves_once_they_are_added_to(tmp_path: Path) -> None:
    before = Keyed(STORES[1], tmp_path, aggregating([Count(), Sum()], None))
    (batch,) = before.feed([3, 4], lambda _: "k")
    (slot, _) = batch.keys or ()
    assert (slot.value, slot.second) == (2, 7)
    after = Keyed(STORES[1], tmp_path, aggregating([Count(), Sum()], None), before.checkpoint())
    assert [slot.value for slot in after.store.lookup(["k"])] == [(2, 7)]  # loaded in one piece
    assert after.values([0.5], lambda _: "k") == [(3, 7.5)]
    after.checkpoint()


def test_results_keep_times_keys_and_origins(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, Aggregate(Count(), None))
    (batch,) = keyed.feed([3, 4], _parity, timestamps=[30, 40], origin=Origin(), rows=[7, 9])
    assert batch.timestamps == [30, 40]
    assert batch.keys is not None
    assert [slot.key for slot in batch.keys] == ["odd", "even"]
    assert [batch.describe_row(row) for row in range(2)] == ["record 7", "record 9"]


@pytest.mark.parametrize("name", CASES)
def test_an_empty_batch_gives_no_result(name: str, tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, CASES[name][0]())
    assert keyed.values([], _parity) == []


def _fail_at_four(value: int, _: object = None) -> int:
    if value == 4:
        raise ValueError("four")
    return value


def _stop_at_four(value: int, other: int = 0) -> int:
    if other == 4 or value == 4:
        raise StopIteration
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: Aggregate(Sum(_fail_at_four), None),
        lambda: Aggregate(Count(), lambda key, count: _fail_at_four(count + 2)),
        lambda: AggregateSeveral([Count(), Max(_fail_at_four)], None),
        lambda: aggregating([Count(), Sum(_fail_at_four)], None),
        lambda: Reduce(lambda so_far, value: _fail_at_four(value)),
    ],
)
def test_an_error_in_any_function_names_its_line_and_its_record(make: Callable[[], Operator], tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, make())
    with pytest.raises(UserFunctionError) as caught:
        keyed.feed([1, 4, 5], lambda _: "k", origin=Origin())
    assert str(caught.value).startswith(f"{__file__}:{_fail_at_four.__code__.co_firstlineno + 2} in _fail_at_four")
    assert "record: record 1" in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Aggregate(Sum(_stop_at_four), None),
        lambda: Aggregate(Count(), lambda key, count: _stop_at_four(count + 2)),
        lambda: AggregateSeveral([Count(), Max(_stop_at_four)], None),
        lambda: Reduce(_stop_at_four),
    ],
)
def test_stop_iteration_in_any_function_is_an_error(make: Callable[[], Operator], tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, make())
    with pytest.raises(UserFunctionError, match=r"StopIteration(.|\n)*record: record 1"):
        keyed.feed([1, 4, 5], lambda _: "k", origin=Origin())


@pytest.mark.parametrize("function", [Sum(Decimal), Mean(Decimal)], ids=["Sum", "Mean"])
def test_a_sum_of_what_could_not_be_restored_is_refused_at_once(
    function: AggregateFunction[int, Any, Any], tmp_path: Path
) -> None:
    keyed = Keyed(STORES[1], tmp_path, Aggregate(function, None))
    with pytest.raises(UserFunctionError, match="takes int and float, not Decimal"):
        keyed.feed([1], _parity)


def test_an_accumulator_of_another_type_than_declared_is_refused_at_once(tmp_path: Path) -> None:
    class Wrong(Distinct):
        accumulator_type = dict[str, int]

    keyed = Keyed(STORES[1], tmp_path, Aggregate(Wrong(), None))
    with pytest.raises(UserFunctionError, match=r"StateTypeError(.|\n)*dict\[str, int\]"):
        keyed.feed([1], _parity)


def test_a_key_that_cannot_be_one_names_operator_and_record(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, Aggregate(Count(), None))
    with pytest.raises(RecordError, match=r"type float cannot be a key(.|\n)*record: record 0(.|\n)*use str"):
        keyed.feed([5], lambda value: value / 2, origin=Origin())


def test_several_functions_of_which_one_has_no_declared_accumulator_are_refused() -> None:
    class Untyped(AggregateFunction[int, int, int]):
        pass

    with pytest.raises(JobDefinitionError, match="no accumulator_type"):
        AggregateSeveral([Count(), Untyped()], None)


MERGED: list[tuple[AggregateFunction[Any, Any, Any], list[int], list[int]]] = [
    (Count(), [1, 2], [3]),
    (Sum(), [1, 2], [3]),
    (Min(), [4, 2], [3]),
    (Max(), [4, 2], [3]),
    (Mean(), [1, 2], [6]),
    (Min(), [], [3]),
    (Max(), [3], []),
]


@pytest.mark.parametrize(("function", "one", "other"), MERGED)
def test_merging_two_accumulators_is_like_adding_all_values(
    function: AggregateFunction[Any, Any, Any], one: list[int], other: list[int]
) -> None:
    def fold(values: list[int]) -> Any:
        accumulator = function.create_accumulator()
        for value in values:
            accumulator = function.add(accumulator, value)
        return accumulator

    assert function.result(function.merge(fold(one), fold(other))) == function.result(fold(one + other))


def test_a_batch_leaves_its_columns_as_they_were(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, Reduce(lambda one, other: one + other))
    slots = keyed.store.lookup(["a", "a"])
    batch = Batch([1, 2], keys=slots)
    keyed.operator.process(batch, lambda _: None)
    assert (batch.values, batch.keys) == ([1, 2], slots)


def test_a_composed_function_merges_part_by_part() -> None:
    composed: Composed[int, dict[str, Any]] = Composed(total=Sum(), least=Min(), mean=Mean())
    one, other = composed.create_accumulator(), composed.create_accumulator()
    for value in (3, 5):
        one = composed.add(one, value)
    other = composed.add(other, 1)
    assert composed.result(composed.merge(one, other)) == {"total": 9, "least": 1, "mean": 3.0}


def test_a_composed_function_puts_its_results_into_a_class() -> None:
    composed: Composed[int, Spread] = Composed(Spread, low=Min(), high=Max())
    assert composed.result(composed.add(composed.add(composed.create_accumulator(), 3), 7)) == Spread(3, 7)


@pytest.mark.parametrize("kind", STORES)
def test_the_result_function_gets_what_a_composed_function_gives(kind: type[Any], tmp_path: Path) -> None:
    operator = aggregating((Composed(Spread, low=Min(), high=Max()),), lambda key, spread: (key, spread.high))
    assert Keyed(kind, tmp_path, operator).values([3, 1, 5], _parity) == [("odd", 3), ("odd", 3), ("odd", 5)]


@pytest.mark.parametrize("order", list(permutations([math.nan, 2.0, 4.0])))
def test_nan_is_larger_than_every_number_wherever_it_stands(order: tuple[float, ...]) -> None:
    def over(function: Any, values: Iterable[float]) -> Any:
        accumulator = function.create_accumulator()
        for value in values:
            accumulator = function.add(accumulator, value)
        return accumulator

    minimum: Any = Min()
    maximum: Any = Max()
    top: Any = TopK(2)
    distinct: Any = collecting.Distinct()
    for function in (minimum, maximum, top, distinct):
        whole = function.result(over(function, order))
        for cut in range(1, 3):
            merged = function.merge(over(function, order[:cut]), over(function, order[cut:]))
            assert repr(function.result(merged)) == repr(whole)
    assert minimum.result(over(minimum, order)) == 2.0
    assert math.isnan(maximum.result(over(maximum, order)))
    first, second = top.result(over(top, order))
    assert math.isnan(first) and second == 4.0
    assert distinct.result(over(distinct, (*order, math.nan, float("nan")))) == 3
    assert math.isnan(minimum.result(over(minimum, [math.nan, float("nan")])))
