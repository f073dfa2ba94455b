"""Joins: both sides in any order, late, of one time, of negative and huge times, and rows that find no partner."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from streamlet import OutputTag
from streamlet.operators.joins.as_of import AsOfJoin
from streamlet.operators.joins.interval import IntervalJoin
from streamlet.operators.joins.operator import HOWS, How, Join
from streamlet.state.encoding.key_groups import pack_key
from streamlet.windows import MAX_TIMESTAMP, MIN_TIMESTAMP
from tests.operators.cases_basic import KEYS
from tests.operators.recipe import Case, End, Mark, Row, Rows, Step

HUGE = 1 << 62
LATE = (OutputTag[Any]("late left"), OutputTag[Any]("late right"))


def _pair(left: Any, right: Any) -> Any:
    return left, right


def _order(key: Any) -> tuple[int, bytes]:
    return len(pack_key(key)), pack_key(key)


class _Taken:
    """One record that was not late."""

    def __init__(self, key: Any, time: int, value: Any) -> None:
        self.key, self.time, self.value = key, time, value
        self.is_matched = False
        self.is_done = False


class IntervalOracle:
    """Every record against every other."""

    def __init__(self, how: How, lower: int, upper: int) -> None:
        self._outer = (how in ("left", "full"), how in ("right", "full"))
        self._lower, self._upper = lower, upper
        self._sides: tuple[list[_Taken], list[_Taken]] = ([], [])
        self._watermark = MIN_TIMESTAMP
        self.rows: list[Row] = []

    def run(self, steps: Sequence[Step]) -> list[Row]:
        for step in steps:
            if isinstance(step, Rows):
                late = [
                    row
                    for one in zip(step.values, step.timestamps or (), step.keys or (), strict=True)
                    for row in self._take(step.input, *one)
                ]
                self.rows += late
            elif isinstance(step, Mark | End):
                self._watermark = step.timestamp if isinstance(step, Mark) else MAX_TIMESTAMP
                self._leave()
        return self.rows

    def _take(self, side: int, value: Any, time: int, key: Any) -> Iterator[Row]:
        if time <= self._watermark:
            yield LATE[side].name, value, time
            return
        own = _Taken(key, time, value)
        partners = sorted((one for one in self._sides[1 - side] if one.key == key), key=lambda one: one.time)
        for one in partners:
            left, right = (own, one) if side == 0 else (one, own)
            if left.time + self._lower <= right.time <= left.time + self._upper:
                left.is_matched = right.is_matched = True
                self.rows.append((None, (left.value, right.value), max(left.time, right.time)))
        self._sides[side].append(own)
        if self._last(side, own) <= self._watermark:
            self._alone(side, own, own.time)

    def _last(self, side: int, one: _Taken) -> int:
        return one.time + (self._upper if side == 0 else -self._lower)

    def _leave(self) -> None:
        left = [
            (max(one.time, min(self._last(side, one), MAX_TIMESTAMP)), _order(one.key), side, one)
            for side in (0, 1)
            for one in sorted(self._sides[side], key=lambda one: one.time)
            if min(self._last(side, one), MAX_TIMESTAMP) <= self._watermark
        ]
        for time, _, side, one in sorted(left, key=lambda each: each[:3]):
            self._alone(side, one, time)

    def _alone(self, side: int, one: _Taken, time: int) -> None:
        if self._outer[side] and not one.is_matched and not one.is_done:
            self.rows.append((None, (one.value, None) if side == 0 else (None, one.value), time))
        one.is_done = True


def _interval(name: str, how: How, lower: int, upper: int, steps: Sequence[Step]) -> Case:
    join = Join(_pair, how, (int, str), LATE)
    expected = IntervalOracle(how, lower, upper).run(steps)
    return Case(f"interval_join {name} {how}", lambda: IntervalJoin(join, lower, upper), steps, expected, inputs=2)


class AsOfOracle:
    """Each left record against every version."""

    def __init__(self, how: How, tolerance: int | None) -> None:
        self._is_outer = how == "left"
        self._tolerance = tolerance
        self._waiting: list[_Taken] = []
        self._versions: list[_Taken] = []
        self._watermark = MIN_TIMESTAMP
        self.rows: list[Row] = []

    def run(self, steps: Sequence[Step]) -> list[Row]:
        for step in steps:
            if isinstance(step, Rows):
                for value, time, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
                    if time <= self._watermark:
                        self.rows.append((LATE[step.input].name, value, time))
                    else:
                        (self._waiting, self._versions)[step.input].append(_Taken(key, time, value))
            elif isinstance(step, Mark | End):
                self._watermark = step.timestamp if isinstance(step, Mark) else MAX_TIMESTAMP
                due = [one for one in self._waiting if one.time <= self._watermark]
                for one in sorted(due, key=lambda one: (one.time, _order(one.key))):
                    self._waiting.remove(one)
                    self._put_out(one)
        return self.rows

    def _put_out(self, one: _Taken) -> None:
        known = [each for each in self._versions if each.key == one.key and each.time <= one.time]
        latest = max((each.time for each in known), default=None)
        if latest is not None and (self._tolerance is None or one.time - latest <= self._tolerance):
            version = [each.value for each in known if each.time == latest][-1]
            self.rows.append((None, (one.value, version), one.time))
        elif self._is_outer:
            self.rows.append((None, (one.value, None), one.time))


def _as_of(name: str, how: How, tolerance: int | None, steps: Sequence[Step]) -> Case:
    join = Join(_pair, how, (int, str), LATE)
    expected = AsOfOracle(how, tolerance).run(steps)
    within = "" if tolerance is None else f" within {tolerance}"
    return Case(f"as_of_join {name} {how}{within}", lambda: AsOfJoin(join, tolerance), steps, expected, inputs=2)


def _by_keys(keys: Sequence[Any]) -> list[Step]:
    a, b, c = keys
    return [
        Rows([1, 2, 3], [10, 20, 15], [a, b, c]),
        Rows(["x", "y"], [12, 3], [b, a], input=1),
        Mark(12),
        Rows(["z", "u"], [25, 14], [b, c], input=1),
        Rows([4], [13], [a]),
        Mark(60),
        End(),
    ]


ON_THE_EDGE: list[Step] = [
    Rows([], [], []),
    Rows([1, 2, 3], [100, 100, 130], ["a", "a", "a"]),
    Rows(["90", "89", "120", "121", "120 too"], [90, 89, 120, 121, 120], ["a"] * 5, input=1),
    Rows([], [], [], input=1),
    Mark(99),
    Rows(["late", "in time", "late too"], [99, 100, 98], ["a", "", "b"], input=1),
    Rows([4, 5, 6], [99, 101, 109], ["a", "", "a"]),
    Mark(119),
    Rows(["120 at last"], [120], ["a"], input=1),
    Mark(120),
    Rows([7, 8], [121, 120], ["a", "a"]),
    Mark(131),
    Mark(1000),
    Rows(["alone"], [1001], ["c"], input=1),
    End(),
]
FAR: list[Step] = [
    Rows([1, 2, 3], [-HUGE, HUGE, 0], ["k", "k", "k"]),
    Rows(["a", "b"], [-HUGE - 5, HUGE + 5], ["k", "k"], input=1),
    Mark(-HUGE),
    Rows(["c", "late"], [-HUGE + 5, -HUGE], ["k", "k"], input=1),
    Mark(0),
    Rows(["d", "e"], [MAX_TIMESTAMP - 1, MAX_TIMESTAMP], ["k", "j"], input=1),
    Rows([4, 5], [MAX_TIMESTAMP - 3, MAX_TIMESTAMP], ["k", "i"]),
    Mark(HUGE + 20),
    End(),
]


def _random(seed: int) -> list[Step]:
    chosen = random.Random(seed)
    steps: list[Step] = []
    now = 0
    for number in range(24):
        count = chosen.randrange(6)
        side = chosen.randrange(2)
        values = [number * 10 + one for one in range(count)]
        steps.append(
            Rows(
                [str(one) for one in values] if side else values,
                [now + chosen.randrange(-8, 40) for _ in values],
                [chosen.choice("abc") for _ in values],
                input=side,
            )
        )
        if chosen.random() < 0.5:
            now += chosen.randrange(1, 15)
            steps.append(Mark(now))
    return [*steps, End()]


WITHIN: list[tuple[How, int | None]] = [("inner", None), ("left", None), ("left", 0), ("left", 9), ("inner", 30)]

CASES = [
    *[_interval(f"by {of}", "full", -5, 7, _by_keys(keys)) for of, keys in KEYS.items()],
    *[_interval("on the edge", how, -10, 20, ON_THE_EDGE) for how in HOWS],
    _interval("before only", "full", -20, -5, ON_THE_EDGE),
    _interval("behind only", "full", 5, 20, ON_THE_EDGE),
    _interval("of one time", "full", 0, 0, ON_THE_EDGE),
    _interval("of far times", "full", -10, 10, FAR),
    _interval("at random", "left", -6, 11, _random(0)),
    _interval("at random", "right", -6, 11, _random(1)),
    *[_as_of(f"by {of}", "left", None, _by_keys(keys)) for of, keys in KEYS.items()],
    *[
        _as_of(name, how, tolerance, steps)
        for name, steps in {"on the edge": ON_THE_EDGE, "of far times": FAR, "at random": _random(4)}.items()
        for how, tolerance in WITHIN
    ],
]
