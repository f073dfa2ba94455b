"""split, inspect, deduplicate and batch, each against plain Python."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from streamlet import StateTtl
from streamlet.operators.built_in import batching, deduplicating
from streamlet.operators.field_keys import field_key
from streamlet.operators.process import KeyedProcess
from streamlet.operators.stateless import Inspect, KeyBy, Split
from tests.operators.cases_basic import KEYS, NUMBERS, PAIRS
from tests.operators.recipe import Case, Clock, End, Mark, Row, Rows, Step

SECOND = timedelta(seconds=1)


def _size(value: int) -> str:
    return "small" if value < 3 else "large"


def _split_rows() -> list[Row]:
    rows: list[Row] = []
    for step in NUMBERS:
        pairs = list(zip(step.values, step.timestamps or (), strict=True))
        rows += [(name, value, at) for name in ("large", "small") for value, at in pairs if _size(value) == name]
    return rows


def _first(of: str) -> Case:
    keys = KEYS[of]
    steps = [Rows([round] * 3, [round] * 3, [keys[round % 2], keys[0], keys[round % 3]]) for round in range(4)]
    seen: set[Any] = set()
    rows: list[Row] = []
    for step in steps:
        for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
            if key not in seen:
                rows.append((None, value, at))
                seen.add(key)
    return Case(f"deduplicate by {of}", lambda: KeyedProcess(deduplicating(None)), steps, rows)


BATCHES: list[Step] = [
    Rows([1, 2, 3], [10, 20, 30], ["a", "b", "a"]),
    Clock(500),
    Rows([4, 5, 6], [40, 50, 60], ["a", "a", "c"]),
    Rows([], [], []),
    Clock(1000),
    Clock(1499),
    Clock(1500),
    Rows([7], [70], ["b"]),
    Rows([8, 9, 10, 11], [80, 90, 100, 110], ["d", "d", "d", "d"]),
    Mark(1 << 60),
    End(),
]

CASES = [
    Case("inspect", lambda: Inspect(abs), NUMBERS, [(None, value, at) for value, at in PAIRS]),
    Case("split", lambda: Split(_size, ("large", "small")), NUMBERS, _split_rows()),
    Case(
        "key_by of fields",
        lambda: KeyBy(field_key("a", "b")),
        [Rows([{"a": 1, "b": 2}], [5])],
        [(None, {"a": 1, "b": 2}, 5)],
    ),
    *map(_first, KEYS),
    Case(
        "deduplicate for a while by the clock",
        lambda: KeyedProcess(deduplicating(SECOND)),
        [
            Rows([1, 2], [0, 0], ["a", "a"]),
            Clock(999),
            Rows([3], [0], ["a"]),
            Clock(1000),
            Rows([4, 5], [0, 0], ["a", "a"]),
            Clock(10_000),
            Rows([6], [0], ["a"]),
        ],
        [(None, 1, 0), (None, 4, 0), (None, 6, 0)],
    ),
    Case(
        "deduplicate for a while by event time",
        lambda: KeyedProcess(deduplicating(StateTtl(SECOND, time="event"))),
        [
            Rows([1, 2], [0, 5], ["a", "a"]),
            Mark(900),
            Rows([3], [950], ["a"]),
            Mark(5000),
            Rows([4, 5], [5001, 5001], ["a", "b"]),
        ],
        [(None, 1, 0), (None, 4, 5001), (None, 5, 5001)],
    ),
    Case(
        "batch",
        lambda: KeyedProcess(batching(3, SECOND, int)),
        BATCHES,
        [
            (None, [1, 3, 4], 40),
            (None, [2], 1000),
            (None, [5], 1500),
            (None, [6], 1500),
            (None, [8, 9, 10], 100),
            (None, [7], 2500),
            (None, [11], 2500),
        ],
    ),
    Case(
        "batch of one",
        lambda: KeyedProcess(batching(1, SECOND, int)),
        [Rows([1, 2], [10, 20], ["a", "a"]), End()],
        [(None, [1], 10), (None, [2], 20)],
    ),
]
