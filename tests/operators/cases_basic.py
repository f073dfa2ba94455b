"""Operators without time: those that remember nothing, and running aggregates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from streamlet import Count, Sum
from streamlet.aggregates import ApproxDistinct, Collect, Composed, Distinct, TopK
from streamlet.operators.aggregates.rolling import Aggregate, AggregateSeveral, Reduce, aggregating
from streamlet.operators.operator import Operator
from streamlet.operators.stateless import Filter, FlatMap, KeyBy, Map, Union
from tests.operators.recipe import Case, Row, Rows

NUMBERS = [Rows([3, -1, 0], [30, -(1 << 62), 0]), Rows([]), Rows([7, 3], [70, 1 << 62])]
PAIRS = [(value, at) for step in NUMBERS for value, at in zip(step.values, step.timestamps or (), strict=True)]


class Point(NamedTuple):
    """A key that is a tuple with names."""

    x: int
    y: int


class Place(msgspec.Struct, frozen=True):
    """A key with another inside."""

    name: str
    at: Point


KEYS: dict[str, Sequence[Any]] = {
    "text": ["", "ä", "a"],
    "bytes": [b"", b"\0", b"a"],
    "whole numbers": [0, -(1 << 63), (1 << 63) - 1],
    "truth": [True, False, True],
    "pairs": [("a", 1), ("a", 2), ("", 0)],
    "named tuples": [Point(0, 0), Point(0, -1), Point(1 << 40, 0)],
    "frozen structs": [Place("", Point(0, 0)), Place("", Point(0, 1)), Place("ä", Point(0, 0))],
}


def _plain(name: str, make: Callable[[], Operator], expected: Sequence[Row]) -> Case:
    return Case(name, make, NUMBERS, expected)


def _folding(name: str, make: Callable[[], Operator], fold: Callable[[list[int]], Any]) -> list[Case]:
    """The same with keys of each type: `fold` gives what is emitted for the values of a key so far."""
    cases = []
    for of, keys in KEYS.items():
        steps = [
            Rows(
                [round + number for number in range(3)],
                [round, -round, 5],
                [keys[(round + one) % 3] for one in range(3)],
            )
            for round in range(4)
        ]
        seen: defaultdict[Any, list[int]] = defaultdict(list)
        expected: list[Row] = []
        for step in steps:
            for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
                seen[key].append(value)
                expected.append((None, fold(seen[key]), at))
        cases.append(Case(f"{name} by {of}", make, steps, expected))
    return cases


CASES = [
    _plain("map", lambda: Map(lambda value: value + 1), [(None, value + 1, at) for value, at in PAIRS]),
    _plain("filter", lambda: Filter(lambda value: value > 0), [(None, value, at) for value, at in PAIRS if value > 0]),
    _plain(
        "flat_map",
        lambda: FlatMap(lambda value: range(value)),
        [(None, one, at) for value, at in PAIRS for one in range(value)],
    ),
    _plain("key_by", lambda: KeyBy(str), [(None, value, at) for value, at in PAIRS]),
    Case(
        "union",
        Union,
        [Rows([1], [10]), Rows([2], [5], input=1), Rows([3], [7])],
        [(None, 1, 10), (None, 2, 5), (None, 3, 7)],
        inputs=2,
    ),
    *_folding("aggregate", lambda: Aggregate(Sum(), None), sum),
    *_folding(
        "aggregate several", lambda: AggregateSeveral((Count(), Sum()), None), lambda seen: (len(seen), sum(seen))
    ),
    *_folding(
        "aggregate by name",
        lambda: aggregating((Composed(count=Count(), total=Sum()),), None),
        lambda seen: {"count": len(seen), "total": sum(seen)},
    ),
    *_folding("aggregate TopK", lambda: Aggregate(TopK(2), None), lambda seen: sorted(seen, reverse=True)[:2]),
    *_folding("aggregate Distinct", lambda: Aggregate(Distinct(), None), lambda seen: len(set(seen))),
    *_folding("aggregate ApproxDistinct", lambda: Aggregate(ApproxDistinct(), None), lambda seen: len(set(seen))),
    *_folding("aggregate Collect", lambda: Aggregate(Collect(limit=3), None), lambda seen: seen[:3]),
    *_folding("reduce", lambda: Reduce(max, int), max),
]
