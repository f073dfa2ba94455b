"""Error policies on joins, two streams, asynchronous functions: only what failed is missing, and told of."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from streamlet import (
    BroadcastContext,
    BroadcastState,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    ProcessContext,
    ValueState,
    Window,
)
from streamlet.dsl.windowed import window_operator
from streamlet.operators.asynchronous.map_async import CallOptions, MapAsync, mapped
from streamlet.operators.built_in import batching
from streamlet.operators.connected import KeyedBroadcastProcess, KeyedCoProcess
from streamlet.operators.error_policy import WithErrorPolicy, with_error_policy
from streamlet.operators.joins.interval import IntervalJoin
from streamlet.operators.joins.lookup import Lookup, LookupJoin
from streamlet.operators.joins.operator import Join
from streamlet.operators.joins.window import BothSides
from streamlet.operators.process import KeyedProcess
from streamlet.operators.windows.operator import WindowPolicy
from tests.operators.cases_guarded import DEAD, Letter, _letter, _refuse
from tests.operators.cases_lookup_join import LOADED
from tests.operators.cases_windows import TUMBLING
from tests.operators.recipe import Case, Clock, End, Mark, Row, Rows, Step

# -- joins -----------------------------------------------------------------------------------------------------------


def _pair(left: int, right: int | None) -> Any:
    if right is not None and (left + right) % 3 == 0:
        raise ValueError(f"{left} {right}")
    return left, right


JOINED: list[Step] = [
    Rows([1, 2, 3], [10, 11, 12], ["a", "a", "b"]),
    Rows([4, "no number", 5, 1], [12, 12, 13, 14], ["a", "a", "b", "a"], input=1),
    Mark(12),
    Rows([7, None, 8], [13, 13, 14], ["b", "a", "a"]),
    End(),
]


def _wrong(value: Any, at: int, key: str, message: str) -> Row:
    return "dead", _Wrong(value, key, at, message), at


class _Wrong(Letter):
    """The letter of a value that is not of the declared type: only a part of its message is known."""

    def __eq__(self, other: object) -> bool:
        value, key, at, message = self.told
        return message in getattr(other, "message", "") and (
            (value, key, at)
            == (getattr(other, "value", ()), getattr(other, "key", ()), getattr(other, "timestamp", ()))
        )

    __hash__ = None


INTERVAL: list[Row] = [
    _wrong("no number", 12, "a", "int"),
    _letter((2, 4), 12, "a", "2 4"),
    _letter((2, 1), 14, "a", "2 1"),
    (None, (1, 4), 12),
    (None, (3, 5), 13),
    (None, (1, 1), 14),
    _wrong(None, 13, "a", "int"),
    _letter((7, 5), 13, "b", "7 5"),
    _letter((8, 4), 14, "a", "8 4"),
    _letter((8, 1), 14, "a", "8 1"),
]
WINDOWED: list[Row] = [
    _wrong("no number", 12, "a", "int"),
    _letter((2, 4), 12, "a", "2 4"),
    (None, (1, 4), 12),
    _wrong(None, 13, "a", "int"),
    _letter((8, 1), 22, "a", "8 1"),
    _letter((7, 5), 22, "b", "7 5"),
]
ALONE: list[Step] = [
    Rows([1, 2, 3], [10, 11, 12], ["a", "a", "b"]),
    Rows([5], [11], ["a"], input=1),
    Mark(14),
    Mark(20),
    End(),
]


def _with_none(left: int, right: int | None) -> Any:
    return left, _refuse(left) and right


def _both(left: int, right: int, window: Window) -> Any:
    return _pair(left, right)


# -- two streams -----------------------------------------------------------------------------------------------------


class Eager(KeyedCoProcessFunction[str, int, int, Any]):
    """Changes the state of both first, and then fails for every third value."""

    total = ValueState(int)

    def process_element1(self, value: int, ctx: ProcessContext[str]) -> Iterator[Any]:
        total = (self.total.value() or 0) + value
        self.total.update(total)
        yield total
        _refuse(value)

    def process_element2(self, value: int, ctx: ProcessContext[str]) -> Iterator[Any]:
        return self.process_element1(-value, ctx)


class Rules(KeyedBroadcastProcessFunction[str, int, int, Any]):
    """Puts each number in for its last digit, or with a negative one removes or clears; every third one fails then."""

    numbers = BroadcastState(int, list[int])

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[Any]:
        yield list(self.numbers.items())
        _refuse(value)

    def process_broadcast_element(self, value: int, ctx: BroadcastContext) -> None:
        if value == -99:
            self.numbers.clear()
        elif value < 0:
            self.numbers.remove(-value % 10)
        else:
            self.numbers.put(value % 10, [value])
            self.numbers.put(5, [value])
        _refuse(value)


def _co() -> Case:
    steps: list[Step] = [
        Rows([1, 3, 4], [1, 2, 3], ["a", "a", "b"]),
        Rows([2, 6, 1], [4, 5, 6], ["a", "b", "b"], input=1),
        Rows([9, 5], [7, 8], ["a", "a"]),
    ]
    totals: defaultdict[str, int] = defaultdict(int)
    expected: list[Row] = []
    for step in steps:
        assert isinstance(step, Rows)
        for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
            signed = -value if step.input else value
            if value % 3 == 0:
                expected.append(_letter(value, at, key, str(signed)))
            else:
                totals[key] += signed
                expected.append((None, totals[key], at))
    return Case(
        "guarded process of two streams", lambda: WithErrorPolicy(KeyedCoProcess(Eager()), DEAD), steps, expected, 2
    )


RULED: list[Step] = [
    Rows([1, 3, 12, 14], [1, 2, 3, 4], input=1),
    Rows([1, 9, 2], [5, 6, 7], ["a", "b", "a"]),
    Rows([-3, -24, -99, 6, -1], [8, 9, 10, 11, 12], input=1),
    Rows([4], [13], ["b"]),
]
FILLED = [(1, [1]), (5, [14]), (4, [14])]
HEARD: list[Row] = [
    _letter(3, 2),
    _letter(12, 3),
    (None, FILLED, 5),
    _letter(9, 6, "b"),
    (None, FILLED, 7),
    *[_letter(value, at) for value, at in ((-3, 8), (-24, 9), (-99, 10), (6, 11))],
    (None, FILLED[1:], 13),
]


# -- asynchronous ----------------------------------------------------------------------------------------------------


async def _later(value: int) -> int:
    await asyncio.sleep(0.001 * value)
    return _refuse(value) * 10


CALLED: list[Step] = [
    Rows([3, 1, 2], [5, 6, 7], ["a", "b", "a"]),
    Mark(4),
    Clock(2),
    Rows([4, 6, "none"], [8, 9, 10], ["a", "a", "b"]),
    End(),
]
ANSWERED: list[Row] = [
    _wrong("none", 10, "b", "int"),
    _letter(3, 5, "a"),
    (None, 10, 6),
    (None, 20, 7),
    (None, 40, 8),
    _letter(6, 9, "a"),
]
LOOKED: list[Step] = [
    Rows([4, 7], [1, 2], ["a", "b"]),
    Rows([1, 3, 4, "none"], [3, 4, 5, 6], input=1),
    LOADED,
    Rows([1, 9, "none", 2], [7, 8, 9, 10], ["a", "b", "a", "b"]),
    End(),
]


FOUND: list[Row] = [
    _letter("none", 6, None, "not all arguments converted during string formatting"),
    _letter(4, 1, "a", "6"),
    (None, (7, None), 2),
    _letter("none", 9, "a", "not all arguments converted during string formatting"),
    _letter(1, 7, "a", "0"),
    (None, (9, 11), 8),
    (None, (2, None), 10),
]


def _told(value: int, number: int | None) -> Any:
    return value, None if number is None else _refuse(value + number - 2)


def _rest(value: int) -> int:
    return value % 5


BATCHED: list[Step] = [
    Rows(["one", 2, "two", "three", 3, 4], [1, 2, 3, 4, 5, 6], ["a", "a", "b", "a", "a", "b"]),
    Clock(1000),
    Rows([None, 5], [1, 2], ["b", "a"]),
    Clock(2000),
    End(),
]
LOOKUP = Lookup(_told, _rest, _rest, "end", True, None, int, int, int)
CASES = [
    Case(
        "interval_join without bad pairs",
        lambda: with_error_policy(IntervalJoin(Join(_pair, types=(int, int)), -5, 5), DEAD),
        JOINED,
        INTERVAL,
        2,
    ),
    Case(
        "interval_join without bad rows that are alone",
        lambda: with_error_policy(IntervalJoin(Join(_with_none, "full", (int, int)), -2, 2), None),
        ALONE,
        [(None, (1, 5), 11), (None, (2, 5), 11)],
        2,
    ),
    Case(
        "window_join without bad pairs",
        lambda: with_error_policy(
            window_operator(WindowPolicy(TUMBLING, late=(None, None)), BothSides(Join(_both, types=(int, int)))), DEAD
        ),
        JOINED,
        WINDOWED,
        2,
    ),
    _co(),
    Case(
        "guarded process with broadcast",
        lambda: with_error_policy(KeyedBroadcastProcess(Rules()), DEAD),
        RULED,
        HEARD,
        2,
    ),
    Case(
        "map_async without bad calls",
        lambda: with_error_policy(MapAsync(_later, mapped, CallOptions(type=int)), DEAD),
        CALLED,
        ANSWERED,
    ),
    Case(
        "batch without values of another type",
        lambda: with_error_policy(KeyedProcess(batching(2, timedelta(seconds=1), int)), DEAD),
        BATCHED,
        [
            _wrong("one", 1, "a", "int"),
            _wrong("two", 3, "b", "int"),
            _wrong("three", 4, "a", "int"),
            (None, [2, 3], 5),
            (None, [4], 1000),
            _wrong(None, 1, "b", "int"),
            (None, [5], 2000),
        ],
    ),
    Case("lookup_join without bad values", lambda: with_error_policy(LookupJoin(LOOKUP), DEAD), LOOKED, FOUND, 2),
]
