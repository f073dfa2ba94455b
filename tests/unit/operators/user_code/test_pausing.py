"""A function that turns slow in mid-batch is stopped behind the record in hand, and the rest comes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamlet import Stream
from streamlet.elements import Batch
from streamlet.errors import UserFunctionError
from streamlet.operators.user_code.pausing import Pause
from streamlet_connectors.print import Print
from tests.unit.runtime.task.test_held_back import Timed

KINDS: dict[str, Callable[[Stream[int], Callable[[int], int]], Stream[Any]]] = {
    "map": lambda s, f: s.map(f, uid="op"),
    "filter": lambda s, f: s.filter(lambda v: f(v) >= 0, uid="op"),
    "flat_map": lambda s, f: s.flat_map(lambda v: [f(v)], uid="op"),
    "inspect": lambda s, f: s.inspect(lambda v: f(v) and None, uid="op"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_is_stopped_behind_its_record_and_nothing_is_lost(kind: str) -> None:
    asked: list[int] = []

    def stopped(value: int) -> int:
        if value in (40, 41, 77):
            asked.append(value)
            Pause.ask()
        return value

    timed = Timed(lambda s: KINDS[kind](s, stopped).map(lambda v: v, uid="behind").sink(Print(), uid="out"))
    for held in timed.chain.queues._inside:
        held._size = 1000
    timed.enter(Batch(list(range(100)), list(range(100))))
    assert timed.out() == list(range(41))
    assert timed.work_off() == list(range(41, 100))
    assert asked == [40, 41, 77]


def test_a_function_whose_errors_are_left_out_is_not_stopped() -> None:
    def stopped(value: int) -> int:
        Pause.ask()
        return value

    timed = Timed(lambda s: s.map(stopped, uid="op", on_error="skip").sink(Print(), uid="out"))
    for held in timed.chain.queues._inside:
        held._size = 1000
    timed.enter(Batch([1, 2, 3]))
    assert timed.out() == [1, 2, 3]


def test_a_function_that_is_asked_before_its_first_record_does_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Pause.begin

    def asked(self: Pause, values: list[Any]) -> Any:
        ahead = begin(self, values)
        Pause.ask()
        return ahead

    monkeypatch.setattr(Pause, "begin", asked)
    values = [1, 2, 3]
    timed = Timed(lambda s: s.map(lambda v: v, uid="op").sink(Print(), uid="out"))
    for held in timed.chain.queues._inside:
        held._size = 1000
    timed.enter(Batch(values))
    assert timed.out() == [1]
    assert timed.work_off() == [2, 3]
    assert values == [1, 2, 3], "the list is that of others too"


def test_a_function_that_raises_stop_iteration_is_not_taken_for_one_that_was_stopped() -> None:
    def ends(value: int) -> int:
        if value == 3:
            raise StopIteration
        return value

    timed = Timed(lambda s: s.map(ends, uid="op").sink(Print(), uid="out"))
    for values in ([1, 2, 3], [1, 3, 2], [3]):
        with pytest.raises(UserFunctionError, match="the function raised StopIteration"):
            timed.enter(Batch(values))
