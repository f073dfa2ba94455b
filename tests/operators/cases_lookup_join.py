"""lookup_join: what the table holds when a value comes, and values that wait until it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlet.operators.joins.lookup import Lookup, LookupJoin, TableFeed, TableLoaded, WaitFor
from tests.operators.cases_basic import KEYS, Place, Point
from tests.operators.recipe import Case, End, Mark, Row, Rows, Step

HUGE = 1 << 62
LOADED = Rows([TableLoaded()], input=1)
Entry = tuple[Any, int | None]
"""A key and its number; None removes it."""


def _expected(steps: Sequence[Step], wait_for: WaitFor, is_outer: bool) -> list[Row]:
    table: dict[Any, Entry] = {}
    waiting: list[tuple[Any, int | None]] = []
    is_loaded = wait_for == "nothing"
    rows: list[Row] = []

    def look(value: Any, at: int | None) -> None:
        entry = table.get(value[0])
        if entry is not None or is_outer:
            rows.append((None, (value, entry), at))

    for step in steps:
        if step is LOADED:
            is_loaded = True
            for one in waiting:
                look(*one)
            waiting.clear()
        elif isinstance(step, Rows) and step.input == 1:
            for key, number in step.values:
                if number is None:
                    table.pop(key, None)
                else:
                    table[key] = (key, number)
        elif isinstance(step, Rows):
            times: Sequence[int | None] = step.timestamps or [None] * len(step.values)
            for value, at in zip(step.values, times, strict=True):
                if is_loaded:
                    look(value, at)
                else:
                    waiting.append((value, at))
    assert not waiting
    return rows


def _case(name: str, steps: Sequence[Step], wait_for: WaitFor, *, is_outer: bool = True, key_type: Any = str) -> Case:
    def make() -> LookupJoin:
        return LookupJoin(
            Lookup(
                lambda value, entry: (value, entry),
                lambda value: value[0],
                lambda entry: entry[0],
                wait_for,
                is_outer,
                lambda entry: entry[1] is None,
                key_type,
                tuple[key_type, int | None],
                tuple[key_type | None, int],
            )
        )

    expected = _expected(steps, wait_for, is_outer)
    return Case(f"lookup_join {name} {wait_for}", make, steps, expected, inputs=2)


def _steps(keys: Sequence[Any], by: Sequence[Any] | None = None) -> list[Step]:
    """`by` are the keys of the stream, where it has some."""
    a, b, c = keys
    some = None if by is None else [by[0], by[1], by[0]]
    return [
        Rows([(a, 1), (b, 2), (a, 3)], [10, -HUGE, HUGE], some),
        Rows([(a, 1)], input=1),
        Mark(5),
        Rows([]),
        Rows([], input=1),
        Rows([(b, 4), (c, 5), (a, 6)], [5, 6, 7], some),
        Rows([(b, 2), (a, 3), (c, 4)], input=1),
        LOADED,
        Rows([(a, 7), (b, 8), (None, 9)], [8, 9, 10], some),
        Mark(11),
        Rows([(a, None), (b, 7), (a, None)], input=1),
        Rows([(a, 10), (b, 11), (a, 12)], [12, 12, 3], some),
        LOADED,
        End(),
    ]


KINDS: dict[str, Any] = {
    "text": str,
    "bytes": bytes,
    "whole numbers": int,
    "truth": bool,
    "pairs": tuple[str, int],
    "named tuples": Point,
    "frozen structs": Place,
}
FED: list[Step] = [Rows([1, 2], [5, 6], ["a", "b"]), Mark(4), Rows([]), Mark(7), Rows([3]), End()]
SAID: Row = (None, TableLoaded(), None)


def _feed(wait_for: WaitFor, expected: Sequence[Row]) -> Case:
    steps: list[Step] = [Rows(step.values, step.timestamps) if isinstance(step, Rows) else step for step in FED]
    return Case(f"table of lookup_join {wait_for}", lambda: TableFeed(wait_for), steps, expected)


CASES = [
    *[_case(f"by {of}", _steps(keys), "end", key_type=KINDS[of]) for of, keys in KEYS.items()],
    _case("of a keyed stream", _steps("abc", [("x", 1), ("y", 2)]), "watermark"),
    _case("at once", _steps("abc"), "nothing"),
    _case("at once, inner", _steps("abc", ["x", "y"]), "nothing", is_outer=False),
    _case("inner", _steps("abc"), "end", is_outer=False),
    _feed("nothing", [(None, 1, 5), (None, 2, 6), (None, 3, None)]),
    _feed("end", [(None, 1, 5), (None, 2, 6), (None, 3, None), SAID]),
]
