"""Windows of every kind: on the edge, out of order, late, again, of negative and huge times, by the clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from streamlet import Count, Max, Mean, SessionWindows, SlidingWindows, Sum, TumblingWindows, Window
from streamlet.aggregates import AggregateFunction
from streamlet.dsl.windowed import window_operator
from streamlet.operators.aggregates.rolling import Reduce
from streamlet.operators.operator import Operator
from streamlet.operators.windows.contents import Contents, Elements, Folded, folding_of
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.tumbling import AlignedWindows
from streamlet.windows import (
    AtEndOfInput,
    CountWindows,
    EveryDuration,
    EveryRecords,
    GlobalWindows,
    WindowAssigner,
    WindowContext,
    WindowProcessFunction,
    WindowResult,
)
from tests.operators.cases_basic import KEYS
from tests.operators.recipe import Case, Clock, End, Mark, Rows, Step
from tests.operators.window_oracle import LATE, Gather, WindowOracle

HUGE = 1 << 61


def ms(count: int) -> timedelta:
    return timedelta(milliseconds=count)


class Gathered(WindowProcessFunction[Any, int, Any]):
    """Puts out all values of a window, sorted: panes and sessions that join do not keep their order."""

    def process(self, key: Any, window: Window, values: list[int], ctx: WindowContext[Any]) -> Iterable[Any]:
        return [(key, window, sorted(values))]


class Listing(AggregateFunction[int, list[int], list[int]]):
    """An accumulator that can be changed, and so is kept packed."""

    accumulator_type = list[int]

    def create_accumulator(self) -> list[int]:
        return []

    def add(self, accumulator: list[int], value: int) -> list[int]:
        return [*accumulator, value]

    def result(self, accumulator: list[int]) -> list[int]:
        return sorted(accumulator)

    def merge(self, one: list[int], other: list[int]) -> list[int]:
        return one + other


def _result(fold: Callable[[list[int]], Any]) -> Gather:
    return lambda key, window, values: [WindowResult(key, window, fold(values))]


WAYS: dict[str, tuple[Callable[[], Contents], Gather]] = {
    "count": (lambda: Folded(folding_of((Count(),)), None), _result(len)),
    "several": (
        lambda: Folded(folding_of((Sum(), Count())), lambda key, window, total, count: (key, window, total, count)),
        lambda key, window, values: [(key, window, sum(values), len(values))],
    ),
    "three": (
        lambda: Folded(folding_of((Sum(), Max(), Mean())), None),
        _result(lambda values: (sum(values), max(values), sum(values) / len(values))),
    ),
    "packed": (lambda: Folded(folding_of((Listing(),)), None), _result(sorted)),
    "reduce": (lambda: Folded(Reduce(max, int), None), _result(max)),
    "process": (lambda: Elements(Gathered(), int), lambda key, window, values: [(key, window, sorted(values))]),
}


def _case(
    name: str,
    policy: WindowPolicy,
    steps: Sequence[Step],
    way: str = "count",
    **oracle: Any,
) -> Case:
    contents, gather = WAYS[way]
    made = window_operator(policy, contents())
    if isinstance(made, AlignedWindows):
        # A batch is taken stretch by stretch.
        oracle["rank"] = lambda time: (time - made.offset_ms) // made.length_ms
    expected = WindowOracle(
        oracle.pop("assign", policy.assigner.assign),
        gather,
        lateness=policy.lateness_ms,
        is_accumulating=policy.is_accumulating,
        joins=isinstance(policy.assigner, SessionWindows),
        gap=getattr(policy.assigner, "gap_ms", 0),
        has_late_output=policy.late[0] is not None,
        **oracle,
    ).run(steps)

    def make() -> Operator:
        return window_operator(policy, contents())

    return Case(f"window {name} {way}", make, steps, expected)


ON_THE_EDGE: list[Step] = [
    Rows([1, 2, 3], [0, 10, 9], ["a", "a", "b"]),
    Rows([], [], []),
    Mark(8),
    Rows([4, 5], [9, 19], ["a", ""]),
    Mark(9),
    Rows([6, 7, 8], [9, 10, 20], ["a", "a", "b"]),
    Mark(15),
    Rows([9, 10], [14, 31], ["a", "b"]),
    Mark(19),
    Mark(45),
    Rows([11, 12, 13], [44, 45, 46], ["a", "c", "b"]),
    End(),
]
AGAIN: list[Step] = [
    Rows([1, 2, 5], [3, 12, 17], ["a", "a", "a"]),
    Mark(13),
    Rows([3, 4], [4, 5], ["a", "b"]),
    Rows([6], [6], ["a"]),
    Mark(20),
    Rows([7, 8, 9], [4, 16, 21], ["a", "a", "a"]),
    Mark(29),
    Rows([1, 2], [18, 19], ["b", "a"]),
    Mark(100),
    Rows([5], [99], ["a"]),
    End(),
]
BY_CLOCK: list[Step] = [
    Clock(3),
    Rows([1, 2], [500, 1], ["a", "b"]),
    Clock(7),
    Rows([3], [7], ["a"]),
    Mark(1000),
    Clock(12),
    Rows([4], [7], ["b"]),
    Clock(13),
    Clock(40),
    Rows([5], [7], ["b"]),
    Clock(22),
    Rows([7], [7], ["a"]),
    Clock(200),
    Rows([6], [7], ["b"]),
    End(),
]
FAR: list[Step] = [
    Rows([1, 2, 3], [-HUGE, HUGE, -1], ["a", "a", "a"]),
    Mark(-HUGE + 100),
    Rows([4], [-HUGE], ["a"]),
    Mark(0),
    Mark(HUGE - 1),
    Rows([5], [HUGE + 1], ["a"]),
    Mark(HUGE + 200),
    End(),
]
TUMBLING, SLIDING = TumblingWindows(ms(10), offset=ms(3)), SlidingWindows(ms(12), ms(4), offset=ms(1))
MANY_PANES = SlidingWindows(ms(30), ms(2))
SESSIONS: SessionWindows[int] = SessionWindows(ms(5))


class Nested(WindowAssigner[int]):
    """Two windows of different length that begin together; none for 5."""

    def assign(self, value: int, timestamp: int) -> Iterable[Window]:
        start = timestamp - timestamp % 10
        return [] if value == 5 else [Window(start, start + 10), Window(start, start + 20)]


def _by_keys(of: str, keys: Sequence[Any]) -> Case:
    steps: list[Step] = [
        Rows([1, 2, 3], [5, 1, 2], keys),
        Mark(4),
        Rows([4, 5, 6], [7, 30, 8], list(reversed(keys))),
        Mark(12),
        End(),
    ]
    return _case(f"keys of {of}", WindowPolicy(TUMBLING, late=(LATE,)), steps, "several")


def _busy(seed: int) -> list[Step]:
    """Some hundred records, mostly in order, watermarks that follow and sometimes jump."""
    chance = random.Random(seed)
    steps: list[Step] = []
    now = 0
    for _ in range(12):
        count = chance.randrange(1, 9)
        steps.append(
            Rows(
                [chance.randrange(100) for _ in range(count)],
                [max(0, now + chance.randrange(-25, 12)) for _ in range(count)],
                [chance.choice("abc") for _ in range(count)],
            )
        )
        now += chance.choice([1, 3, 7, 60])
        steps.append(Mark(now - 10))
    return [*steps, End()]


def _every_by_clock(keeps: bool) -> Case:
    trigger = EveryDuration(ms(10), time="processing")
    policy = WindowPolicy(SessionWindows(ms(20)), trigger, is_accumulating=keeps)
    return Case(
        f"session every duration of the clock {'accumulating' if keeps else 'discarding'}",
        lambda: window_operator(policy, WAYS["count"][0]()),
        [
            Clock(1003),
            Rows([1, 2], [5, 12], ["a", "a"]),
            Clock(1010),
            Clock(1020),
            Rows([4], [24], ["a"]),
            Clock(1030),
            Mark(99),
        ],
        [
            (None, WindowResult("a", Window(5, 32), 2), 31),
            (None, WindowResult("a", Window(5, 44), 3 if keeps else 1), 43),
        ],
    )


CASES = [
    *[_by_keys(of, keys) for of, keys in KEYS.items()],
    *[
        _case(f"{name} on the edge", WindowPolicy(assigner, late=(LATE,)), ON_THE_EDGE, way)
        for name, assigner, ways in (
            ("tumbling", TUMBLING, tuple(WAYS)),
            ("sliding", SLIDING, ("packed", "process")),
            ("session", SESSIONS, ("packed", "reduce")),
        )
        for way in ways
    ],
    *[
        _case(
            f"{name} again {'accumulating' if keep else 'discarding'}",
            WindowPolicy(assigner, lateness_ms=12, late=(LATE,), is_accumulating=keep),
            AGAIN,
            way,
        )
        for name, assigner in (("tumbling", TUMBLING), ("session", SESSIONS), ("nested", Nested()))
        for keep in (True, False)
        for way in ("several", "process")
    ],
    _case("sliding again accumulating", WindowPolicy(SLIDING, lateness_ms=12, late=(LATE,)), AGAIN, "process"),
    *[
        _case(f"{name} far", WindowPolicy(assigner), FAR)
        for name, assigner in (("tumbling", TUMBLING), ("sliding", SLIDING), ("session", SESSIONS))
    ],
    *[
        _case(f"{name} busy {seed}", WindowPolicy(assigner, late=(LATE,)), _busy(seed), way)
        for name, assigner, way in (
            ("tumbling", TUMBLING, "several"),
            ("sliding", SLIDING, "three"),
            ("many panes", MANY_PANES, "several"),
            ("session", SESSIONS, "three"),
            ("dynamic", SessionWindows(lambda value: ms(value % 7 + 1)), "process"),
        )
        for seed in (1,)
    ],
    _case("many panes again", WindowPolicy(MANY_PANES, lateness_ms=9, late=(LATE,)), _busy(3), "several"),
    *[
        _case(
            f"early {name} {'accumulating' if keep else 'discarding'}",
            WindowPolicy(assigner, EveryRecords(2), late=(LATE,), is_accumulating=keep, lateness_ms=6),
            _busy(4),
            "process",
            every=2,
        )
        for name, assigner in (("tumbling", TUMBLING), ("session", SESSIONS))
        for keep in (True, False)
    ],
    _case("nested", WindowPolicy(Nested(), late=(LATE,)), ON_THE_EDGE, "process"),
    *[
        _case(
            f"{name} at the end of input",
            WindowPolicy(assigner, AtEndOfInput()),
            AGAIN,
            closes=lambda window: (1 << 63) - 1,
        )
        for name, assigner in (("tumbling", TUMBLING), ("session", SESSIONS))
    ],
    *[
        _case(f"{name} by the clock", WindowPolicy(assigner), BY_CLOCK, "several", by_clock=True)
        for name, assigner in (
            ("tumbling", TumblingWindows(ms(10), time="processing")),
            ("sliding", SlidingWindows(ms(10), ms(2), time="processing")),
            ("session", SessionWindows(ms(5), time="processing")),
        )
    ],
    Case(
        "window of counts",
        lambda: window_operator(
            WindowPolicy(CountWindows(2), EveryRecords(2), is_accumulating=False), WAYS["process"][0]()
        ),
        [Rows([1, 2, 3], [7, 3, 9], ["a", "b", "a"]), Mark(100), Rows([4, 5], [1, 2], ["a", "b"]), End()],
        [
            (None, ("a", Window(7, 10), [1, 3]), 9),
            (None, ("b", Window(2, 4), [2, 5]), 3),
            (None, ("a", Window(1, 2), [4]), 1),
        ],
    ),
    Case(
        "window of all time without times",
        lambda: window_operator(WindowPolicy(GlobalWindows()), WAYS["count"][0]()),
        [Rows([1, 2, 3], None, ["a", "b", "a"]), End()],
        [(None, WindowResult("a", Window(0, 0), 2), None), (None, WindowResult("b", Window(0, 0), 1), None)],
    ),
    _case(
        "session closed",
        WindowPolicy(SESSIONS, late=(LATE,)),
        [
            Rows([1, 2], [0, 0], ["a", "b"]),
            Mark(6),
            Rows([3, 4, 5], [3, 5, 4], ["a", "b", "c"]),  # within the gap of a closed one, at its end, of a new key
            Mark(8),
            Rows([6, 7], [6, 4], ["a", "a"]),
            Mark(40),
        ],
        "process",
    ),
    Case(
        "session every duration of event time",
        lambda: window_operator(WindowPolicy(SessionWindows(ms(20)), EveryDuration(ms(10))), WAYS["count"][0]()),
        [
            Rows([1, 2], [5, 12], ["a", "a"]),
            Mark(8),
            Mark(9),
            Rows([3, 4], [13, 50], ["a", "a"]),
            Mark(18),
            Mark(19),
            Mark(29),
            Mark(69),
        ],
        [
            (None, WindowResult("a", Window(5, 32), 2), 31),
            (None, WindowResult("a", Window(5, 33), 3), 32),
            (None, WindowResult("a", Window(50, 70), 1), 69),
        ],
    ),
    *[_every_by_clock(keep) for keep in (True, False)],
    Case(
        "window every duration of event time",
        lambda: window_operator(WindowPolicy(TumblingWindows(ms(100)), EveryDuration(ms(10))), WAYS["count"][0]()),
        [
            Rows([1, 2], [5, 12], ["a", "a"]),
            Mark(9),
            Rows([3], [13], ["a"]),
            Mark(35),
            Rows([4], [36], ["a"]),
            Mark(38),
            Mark(99),
        ],
        [
            (None, WindowResult("a", Window(0, 100), 2), 99),
            (None, WindowResult("a", Window(0, 100), 3), 99),
            (None, WindowResult("a", Window(0, 100), 4), 99),
        ],
    ),
    Case(
        "window every duration of the clock",
        lambda: window_operator(
            WindowPolicy(TumblingWindows(ms(100)), EveryDuration(ms(10), time="processing"), is_accumulating=False),
            WAYS["count"][0](),
        ),
        [
            Clock(1003),
            Rows([1, 2], [5, 12], ["a", "a"]),
            Clock(1010),
            Clock(1020),
            Rows([4], [36], ["a"]),
            Mark(99),
            Clock(1030),
        ],
        [(None, WindowResult("a", Window(0, 100), 2), 99), (None, WindowResult("a", Window(0, 100), 1), 99)],
    ),
]
