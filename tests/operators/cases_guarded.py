"""Error policies: bad records leave nothing behind, in state, timers or output, and the others are as without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from streamlet import (
    Count,
    DeadLetter,
    KeyedProcessFunction,
    ListState,
    MapState,
    OutputTag,
    ProcessContext,
    Sum,
    TimerContext,
    ValueState,
)
from streamlet.operators.aggregates.rolling import Aggregate, Reduce, aggregating
from streamlet.operators.error_policy import WithErrorPolicy
from streamlet.operators.process import KeyedProcess
from streamlet.operators.stateless import Map, Split
from tests.operators.cases_basic import KEYS
from tests.operators.recipe import Case, Clock, Mark, Row, Rows, Step

DEAD = OutputTag[DeadLetter]("dead")
SEEN = OutputTag[int]("seen")


class Letter:
    """Equal to the letter of a record, wherever its function stands."""

    def __init__(self, value: Any, key: Any, at: int | None, message: str) -> None:
        self.told = (value, key, at, message)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeadLetter):
            return False
        return "/tests/operators/" in other.line and self.told == (
            other.value,
            other.key,
            other.timestamp,
            other.message,
        )

    __hash__ = None  # type: ignore[assignment]


def _letter(value: Any, at: int | None, key: Any = None, message: str | None = None) -> Row:
    return "dead", Letter(value, key, at, str(value) if message is None else message), at


def _refuse(value: int) -> int:
    if value % 3 == 0:
        raise ValueError(value)
    return value


def _late(key: Any, *results: int) -> tuple[int, ...]:
    """Fails when the state has been changed already."""
    if results[-1] % 4 == 1:
        raise ValueError(results[-1])
    return results


class Eager(KeyedProcessFunction[Any, int, str]):
    """Changes everything first and then fails, for every third value."""

    total = ValueState(int)
    values = ListState(int)
    by_digit = MapState(int, int)

    def process_element(self, value: int, ctx: ProcessContext[Any]) -> Iterator[str]:
        total = (self.total.value() or 0) + value
        self.total.update(total)
        self.values.add(value)
        self.by_digit.put(value % 10, value)
        ctx.timers.register_event_time(value)
        ctx.timers.register_processing_time(value + 1)
        if value > 4:
            ctx.timers.delete_event_time(value - 1)
            self.by_digit.remove((value - 1) % 10)
        ctx.output(SEEN, value)
        yield f"{total} {self.values.get()} {sorted(self.by_digit.items())}"
        _refuse(value)

    def on_timer(self, timestamp: int, ctx: TimerContext[Any]) -> Iterator[str]:
        yield f"{ctx.domain} {timestamp} {self.total.value()}"


class Expiring(KeyedProcessFunction[Any, int, int]):
    """Emits the value before, unless it is over; fails for every third value when it has been kept."""

    before = ValueState(int, ttl=timedelta(seconds=1))

    def process_element(self, value: int, ctx: ProcessContext[Any]) -> Iterator[int]:
        yield self.before.value() or 0
        self.before.update(value)
        _refuse(value)


STEPS: list[Step] = [
    Rows([1, 2, 3, 4, 5], [10, 20, 30, 40, 50], ["a", "b", "a", "b", "a"]),
    Rows([6, 9, 12], [60, 61, 62], ["a", "b", "c"]),
    Rows([], [], []),
    Rows([7, 8, 9, 10], [70, 80, 90, 100], ["a", "a", "a", "b"]),
    Mark(5),
    Clock(6),
    Rows([11, 12, 13], [1, 2, 3], ["a", "a", "a"]),
    Mark(1 << 60),
    Clock(1 << 40),
]


def _eager() -> list[Row]:
    """What `Eager` puts out, batch by batch, where each bad record cuts its batch."""
    rows: list[Row] = []
    totals: defaultdict[str, int] = defaultdict(int)
    values: defaultdict[str, list[int]] = defaultdict(list)
    digits: defaultdict[str, dict[int, int]] = defaultdict(dict)
    timers: dict[str, set[tuple[int, str]]] = {"event": set(), "processing": set()}
    watermark, now = -(1 << 63), 0

    def fire(domain: str, until: int) -> None:
        due = sorted(one for one in timers[domain] if one[0] <= until)
        timers[domain].difference_update(due)
        rows.extend((None, f"{domain} {time} {totals[key]}", time) for time, key in due)

    def take(step: Rows) -> None:
        piece: list[Row] = []
        seen: list[Row] = []
        for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
            if value % 3 == 0:
                rows.extend(piece + seen)
                piece, seen = [], []
                fire("event", watermark)
                rows.append(_letter(value, at, key))
                continue
            totals[key] += value
            values[key].append(value)
            digits[key][value % 10] = value
            timers["event"].add((value, key))
            timers["processing"].add((value + 1, key))
            if value > 4:
                timers["event"].discard((value - 1, key))
                digits[key].pop((value - 1) % 10, None)
            piece.append((None, f"{totals[key]} {values[key]} {sorted(digits[key].items())}", at))
            seen.append(("seen", value, at))
        rows.extend(piece + seen)
        fire("event", watermark)

    for step in STEPS:
        if isinstance(step, Rows):
            take(step)
        elif isinstance(step, Mark):
            watermark = step.timestamp
            fire("event", watermark)
        elif isinstance(step, Clock):
            now = step.now_ms
        fire("processing", now)
    return rows


def _late_rows() -> list[Row]:
    rows: list[Row] = []
    totals: defaultdict[str, int] = defaultdict(int)
    counts: defaultdict[str, int] = defaultdict(int)
    for step in STEPS:
        if not isinstance(step, Rows):
            continue
        for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
            total = totals[key] + value
            if total % 4 == 1:
                rows.append(_letter(value, at, key, str(total)))
                continue
            totals[key], counts[key] = total, counts[key] + 1
            rows.append((None, (counts[key], total), at))
    return rows


def _folding(of: str) -> Case:
    keys = KEYS[of]
    steps = [
        Rows([round + number for number in range(6)], [round] * 6, [keys[number % 3] for number in range(6)])
        for round in range(4)
    ]
    totals: dict[Any, int] = {}
    expected: list[Row] = []
    for step in steps:
        for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
            if value % 3 == 0:
                expected.append(_letter(value, at, key))
            else:
                totals[key] = totals.get(key, 0) + value
                expected.append((None, totals[key], at))
    return Case(
        f"guarded aggregate by {of}", lambda: WithErrorPolicy(Aggregate(Sum(_refuse), None), DEAD), steps, expected
    )


def _parity(value: int) -> str:
    return "odd" if _refuse(value) % 2 else "even"


def _reduced(so_far: int, value: int) -> int:
    return so_far + _refuse(value)


CASES = [
    Case(
        "guarded map",
        lambda: WithErrorPolicy(Map(_refuse), DEAD),
        [Rows([1, 3, 2], [10, -5, 1 << 62]), Rows([3]), Rows([]), Rows([4, 6, 9, 5], [1, 2, 3, 4])],
        [
            (None, 1, 10),
            _letter(3, -5),
            (None, 2, 1 << 62),
            _letter(3, None),
            (None, 4, 1),
            _letter(6, 2),
            _letter(9, 3),
            (None, 5, 4),
        ],
    ),
    Case("skipping map", lambda: WithErrorPolicy(Map(_refuse), None), [Rows([3, 1, 3], [1, 2, 3])], [(None, 1, 2)]),
    Case(
        "guarded split",
        lambda: WithErrorPolicy(Split(_parity, ("odd", "even")), DEAD),
        [Rows([1, 3, 2, 5, 4], [10, 20, 30, 40, 50]), Rows([]), Rows([3]), Rows([7, 8, 9], [1, 2, 3])],
        [
            ("odd", 1, 10),
            _letter(3, 20),
            ("odd", 5, 40),
            ("even", 2, 30),
            ("even", 4, 50),
            _letter(3, None),
            ("odd", 7, 1),
            ("even", 8, 2),
            _letter(9, 3),
        ],
    ),
    *map(_folding, KEYS),
    Case(
        "guarded result of several aggregates",
        lambda: WithErrorPolicy(aggregating((Count(), Sum()), _late), DEAD),
        STEPS,
        _late_rows(),
    ),
    Case(
        "guarded reduce",
        lambda: WithErrorPolicy(Reduce(_reduced, int), DEAD),
        [Rows([1, 3, 4], [1, 2, 3], ["k"] * 3), Rows([6, 8], [4, 5], ["k"] * 2)],
        [(None, 1, 1), _letter(3, 2, "k"), (None, 5, 3), _letter(6, 4, "k"), (None, 13, 5)],
    ),
    Case(
        "guarded state with a time to live",
        lambda: WithErrorPolicy(KeyedProcess(Expiring()), DEAD),
        [
            Rows([3], [1], ["a"]),
            Rows([1, 2], [2, 3], ["a", "a"]),
            Clock(999),
            Rows([6], [4], ["a"]),
            Clock(1000),
            Rows([4], [5], ["a"]),
            Clock(1500),
            Rows([9, 5], [6, 7], ["a", "a"]),
            Clock(2499),
            Rows([7], [8], ["a"]),
            Clock(10_000),
            Rows([12, 8], [9, 10], ["a", "a"]),
        ],
        [
            _letter(3, 1, "a"),
            (None, 0, 2),
            (None, 1, 3),
            _letter(6, 4, "a"),
            (None, 0, 5),
            _letter(9, 6, "a"),
            (None, 4, 7),
            (None, 5, 8),
            _letter(12, 9, "a"),
            (None, 0, 10),
        ],
    ),
    Case("guarded process", lambda: WithErrorPolicy(KeyedProcess(Eager()), DEAD), STEPS, _eager()),
]
