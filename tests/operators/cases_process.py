"""process: timers of both kinds that set and delete each other, over keys of every type and times of every size."""

from __future__ import annotations

from typing import Any

from streamlet.operators.process import KeyedProcess
from tests.operators.cases_basic import KEYS
from tests.operators.commanded import Commanded, Orders, expected
from tests.operators.recipe import Case, Clock, End, Mark, Rows, Step

HUGE = 1 << 62


def _orders(*now: tuple[str, int], **later: list[tuple[str, int]]) -> Orders:
    return list(now), {int(time[1:]): commands for time, commands in later.items()}


def _case(name: str, *steps: Step) -> Case:
    return Case(f"process {name}", lambda: KeyedProcess(Commanded()), steps, expected(steps))


def _by_keys(of: str, keys: Any) -> Case:
    a, b, c = keys
    return _case(
        f"timers of {of}",
        Rows(
            [_orders(("event+", 20), ("processing+", 5)), _orders(("event+", 20)), _orders(("event+", 10))],
            [1, 3, 2],
            [a, b, c],
        ),
        Mark(10),
        Clock(5),
        Mark(30),
        End(),
    )


CASES = [
    *[_by_keys(of, keys) for of, keys in KEYS.items()],
    _case(
        "of negative and huge times",
        Rows([_orders(("event+", -HUGE), ("event+", HUGE), ("event+", 0))], [-HUGE], ["k"]),
        Mark(-HUGE),
        Mark(-1),
        Mark(0),
        Mark(HUGE - 1),
        Mark(HUGE),
    ),
    _case(
        "that set and delete others of the same round",
        Rows(
            [
                _orders(
                    ("event+", 10),
                    ("event+", 20),
                    t10=[("event+", 12), ("event+", 40), ("event-", 20)],
                    t12=[("event+", 11), ("event+", 30)],
                )
            ],
            [5],
            ["k"],
        ),
        Mark(30),
        Mark(39),
        Mark(40),
    ),
    _case(
        "that are overdue when they are set",
        Mark(100),
        Rows([_orders(("event+", 90), ("event+", 100), t90=[("event+", 95)])], [80], ["k"]),
        Rows([_orders()], [101], ["k"]),
        Mark(101),
    ),
    _case(
        "by the clock, which set others",
        Rows([_orders(("processing+", 1000), ("processing+", 2000), t1000=[("processing+", 1500)])], [0], ["k"]),
        Clock(999),
        Clock(1000),
        Clock(1700),
        Rows([_orders(("processing-", 2000), ("processing+", 3000))], [0], ["k"]),
        Clock(2500),
        End(),
    ),
    _case(
        "at the end, where none is set any more",
        Rows(
            [_orders(("event+", 50), ("processing+", 70), t50=[("event+", 60)], t70=[("processing+", 80)])], [0], ["k"]
        ),
        End(),
    ),
    _case(
        "twice the same, and back", Rows([_orders(("event+", 5), ("event+", 5), ("event-", 6))], [0], ["k"]), Mark(5)
    ),
    _case("of nothing", Rows([], [], []), Mark(5), Clock(7), End()),
]
