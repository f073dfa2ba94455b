"""Batches made from a batch: what they keep, and which rows they name."""

from __future__ import annotations

import pytest

from streamlet.connect import Batch
from tests.unit.operator_kit import Origin


def _batch(*, origin: Origin | None = None, rows: list[int] | None = None) -> Batch[str]:
    keys = ["x", "y", "z", "x"]
    return Batch(list("abcd"), [1, 2, 3, 4], keys, split="s", next_position=9, origin=origin, rows=rows)


def _columns(batch: Batch[object]) -> tuple[object, ...]:
    times, keys = batch.timestamps, batch.keys
    return batch.values, None if times is None else list(times), None if keys is None else list(keys), batch.split


def test_other_values_and_other_keys_leave_the_rest_as_it_is() -> None:
    batch = _batch(origin=Origin(), rows=[5, 6, 7, 8])
    assert _columns(batch.with_values([1, 2, 3, 4])) == ([1, 2, 3, 4], [1, 2, 3, 4], ["x", "y", "z", "x"], "s")
    assert _columns(batch.with_keys(None)) == (list("abcd"), [1, 2, 3, 4], None, "s")
    assert batch.with_values([1, 2, 3, 4]).describe_row(3) == batch.describe_row(3)


def test_rows_are_taken_in_the_order_that_is_asked_for_and_as_often() -> None:
    assert _columns(_batch().take([3, 0, 0])) == (["d", "a", "a"], [4, 1, 1], ["x", "x", "x"], "s")
    assert _columns(_batch().take([3, 0], [40, 10])) == ([40, 10], [4, 1], ["x", "x"], "s")


@pytest.mark.parametrize("rows", [None, [5, 6, 7, 8]])
def test_each_way_to_take_rows_keeps_where_they_came_from(rows: list[int] | None) -> None:
    batch = _batch(origin=Origin(), rows=rows)
    taken = [batch.take([1, 2]), batch.part(1, 3), batch.without([0, 3]), batch.filtered([0, 1, True, ""], ["b", "c"])]
    for one in taken:
        assert _columns(one) == (["b", "c"], [2, 3], ["y", "z"], "s")
        assert [one.describe_row(row) for row in (0, 1)] == [batch.describe_row(row) for row in (1, 2)]


def test_a_part_of_a_batch_has_no_position() -> None:
    made = (_batch().part(0, 4), _batch().take([0]), _batch().with_keys(None))
    assert all(one.next_position is None for one in made)


def test_a_batch_that_loses_no_row_is_the_same_one() -> None:
    batch = _batch()
    assert batch.without([]) is batch
