"""map, filter, flat_map, key_by and union: batches in, batches out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlet.connect import Batch
from streamlet.errors import UserFunctionError
from streamlet.operators.operator import Operator
from streamlet.operators.stateless import Filter, FlatMap, KeyBy, Map, Union
from tests.naming import shown
from tests.unit.operator_kit import Origin, emitted, feed, open_operator


def _twice(value: int) -> Iterator[int]:
    yield value
    yield -value


def _origins(batch: Batch[Any]) -> list[str | None]:
    return [batch.describe_row(row) for row in range(len(batch))]


def test_map_emits_one_value_for_each() -> None:
    assert emitted(Map(lambda value: value * 2), [1, 2], [3]) == [[2, 4], [6]]


def test_filter_emits_the_values_for_which_the_function_is_true() -> None:
    assert emitted(Filter(lambda value: value % 2), [1, 2, 3], [5]) == [[1, 3], [5]]


def test_a_filter_that_drops_everything_emits_no_batch() -> None:
    assert emitted(Filter(lambda value: None), [1, 2, 3]) == []


def test_flat_map_emits_what_a_generator_gives_in_order() -> None:
    assert emitted(FlatMap(_twice), [1, 2]) == [[1, -1, 2, -2]]


def test_flat_map_takes_any_iterable() -> None:
    assert emitted(FlatMap(lambda text: text), ["ab", "", "c"]) == [["a", "b", "c"]]


def test_a_flat_map_that_gives_nothing_emits_no_batch() -> None:
    assert emitted(FlatMap(lambda value: ()), [1, 2]) == []


def test_key_by_leaves_the_values_and_fills_the_key_column() -> None:
    (batch,) = feed(open_operator(KeyBy(str)), Batch([1, 2], [10, 20]))
    assert (batch.values, batch.keys, batch.timestamps) == ([1, 2], ["1", "2"], [10, 20])


def test_union_passes_values_and_times_and_drops_keys() -> None:
    (batch,) = feed(open_operator(Union()), Batch([1, 2], [10, 20], ["a", "b"]))
    assert (batch.values, batch.keys, batch.timestamps) == ([1, 2], None, [10, 20])


@pytest.mark.parametrize("operator", [Map(str), Filter(bool), FlatMap(str), KeyBy(str), Union()], ids=shown)
def test_an_empty_batch_calls_no_function_and_emits_no_record(operator: Operator) -> None:
    assert all(not batch.values for batch in feed(open_operator(operator), Batch([], [], [])))


@pytest.mark.parametrize(
    "operator", [Map(abs), Filter(lambda v: v > 1), FlatMap(_twice), KeyBy(str), Union()], ids=shown
)
def test_no_operator_changes_the_columns_that_it_got(operator: Operator) -> None:
    batch = Batch([1, 2, 3], [10, 20, 30], ["a", "b", "c"])
    feed(open_operator(operator), batch)
    assert (batch.values, batch.timestamps, batch.keys) == ([1, 2, 3], [10, 20, 30], ["a", "b", "c"])


def test_filter_keeps_every_column_and_the_origin_of_each_row() -> None:
    batch = Batch([1, 2, 3, 4], [10, 20, 30, 40], ["a", "b", "c", "d"], origin=Origin(), split="s")
    (kept,) = feed(open_operator(Filter(lambda value: value % 2 == 0)), batch)
    assert (kept.values, kept.timestamps, kept.keys, kept.split) == ([2, 4], [20, 40], ["b", "d"], "s")
    assert _origins(kept) == ["record 1", "record 3"]


def test_flat_map_gives_every_new_row_the_columns_and_the_origin_of_its_record() -> None:
    batch = Batch([2, 0, 1], [20, 0, 10], ["b", "-", "a"], origin=Origin())
    (made,) = feed(open_operator(FlatMap(lambda value: ["x"] * value)), batch)
    assert (made.timestamps, made.keys) == ([20, 20, 10], ["b", "b", "a"])
    assert _origins(made) == ["record 0", "record 0", "record 2"]


def test_origins_are_kept_through_filters_and_flat_maps_in_a_row() -> None:
    batches: list[Batch[Any]] = [Batch(list(range(6)), origin=Origin())]
    for operator in (Filter(lambda v: v > 1), FlatMap(lambda v: [v] * (v % 3)), Map(str), Filter(lambda v: v != "4")):
        batches = feed(open_operator(operator), *batches)
    (last,) = batches
    assert last.values == ["2", "2", "5", "5"]
    assert _origins(last) == ["record 2", "record 2", "record 5", "record 5"]


FAILING: list[Callable[[Callable[[Any], Any]], Operator]] = [Map, Filter, FlatMap, KeyBy]


@pytest.mark.parametrize("make", FAILING)
def test_an_error_names_the_users_line_first_then_operator_and_record(
    make: Callable[[Callable[[Any], Any]], Operator],
) -> None:
    def divide(value: int) -> list[int]:
        return [1 // value]

    operator = open_operator(make(divide))
    with pytest.raises(UserFunctionError) as caught:
        feed(operator, Batch([1, 2, 0, 3], origin=Origin(), rows=[4, 5, 6, 7]))
    first, code, where, record, remedy = str(caught.value).splitlines()
    assert (
        first
        == f"{__file__}:{divide.__code__.co_firstlineno + 1} in divide: ZeroDivisionError: "
        + first[-len("integer division or modulo by zero") :]
    )
    assert code == "    return [1 // value]"
    assert where.startswith("  in operator 'op', subtask 2, made at ")
    assert record == "  record: record 6"
    assert "on_error" in remedy


@pytest.mark.parametrize("make", FAILING)
def test_a_function_that_raises_stop_iteration_fails_instead_of_cutting_the_batch(
    make: Callable[[Callable[[Any], Any]], Operator],
) -> None:
    def stop(value: int) -> list[int]:
        if value == 3:
            raise StopIteration
        return [value]

    with pytest.raises(UserFunctionError, match=r"StopIteration(.|\n)*record: record 2"):
        feed(open_operator(make(stop)), Batch([1, 2, 3, 4], origin=Origin()))


def test_a_generator_that_fails_half_way_is_an_error_of_its_own_record() -> None:
    def broken(value: int) -> Iterator[int]:
        yield value
        if value == 2:
            raise ValueError("no more")

    with pytest.raises(UserFunctionError, match=r"in broken: ValueError: no more(.|\n)*record: record 1"):
        feed(open_operator(FlatMap(broken)), Batch([1, 2, 3], origin=Origin()))


def test_the_content_of_a_record_is_shown_only_when_asked() -> None:
    batch = Batch(["secret"], origin=Origin())
    with pytest.raises(UserFunctionError) as hidden:
        feed(open_operator(Map(lambda value: value.absent)), batch)
    with pytest.raises(UserFunctionError, match="value: 'secret'"):
        feed(open_operator(Map(lambda value: value.absent), show_records=True), batch)
    assert "value: 'secret'" not in str(hidden.value)


def test_behind_a_shuffle_an_error_names_key_and_time_and_how_to_see_more() -> None:
    with pytest.raises(UserFunctionError, match=r"record: key 'k', time 17 ms \(origin not known.*trace_origins=True"):
        feed(open_operator(Map(lambda value: 1 // value)), Batch([0], [17], ["k"]))
