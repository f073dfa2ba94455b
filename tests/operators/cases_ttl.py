"""process over states with a time to live: what is over is not seen, whatever was restored or evicted between."""

from __future__ import annotations

from streamlet import StateTtl
from streamlet.operators.process import KeyedProcess
from tests.operators.living import LASTING, expected
from tests.operators.recipe import Case, Clock, Mark, Rows, Step


def _rows(at: int, *commands: str) -> Rows:
    return Rows([(command, at) for command in commands], [at] * len(commands), ["k"] * len(commands))


WRITE = ("value", "map a", "map b", "list", "reduce", "aggregate", "look")
STEPS: dict[str, list[Step]] = {
    "left alone": [
        _rows(0, *WRITE),
        *[one for now in (99, 100, 101, 103, 110) for one in (Clock(now), Mark(now), _rows(now, "look"))],
    ],
    "rewritten": [
        _rows(0, *WRITE),
        Clock(60),
        Mark(60),
        _rows(60, "value", "map b", "list", "reduce", "aggregate"),
        *[one for now in (120, 159, 160, 300) for one in (Clock(now), Mark(now), _rows(now, "look"))],
    ],
    "written late": [
        Mark(1000),
        Clock(1000),
        _rows(500, *WRITE),
        _rows(950, *WRITE),
        _rows(920, *WRITE),
        Mark(1030),
        Clock(1030),
        _rows(1031, "look"),
        Mark(1060),
        Clock(1060),
        _rows(1061, "look"),
    ],
    "cleared and written again": [
        _rows(0, *WRITE, "clear value", "clear map", "clear list"),
        Clock(50),
        Mark(50),
        _rows(50, "look", *WRITE, "remove a", "update list"),
        *[one for now in (100, 149, 151) for one in (Clock(now), Mark(now), _rows(now, "look"))],
    ],
    "of huge times": [
        _rows((1 << 62), *WRITE),
        Mark((1 << 62) + 99),
        _rows((1 << 62) + 99, "look"),
        Mark((1 << 62) + 100),
        _rows((1 << 62) + 100, "look"),
    ],
}


def _case(name: str, ttl: StateTtl, steps: list[Step]) -> Case:
    function = LASTING[ttl]
    return Case(
        f"{ttl.time} ttl from {ttl.refresh}, {name}", lambda: KeyedProcess(function()), steps, expected(ttl, steps)
    )


CASES = [_case(name, ttl, steps) for ttl in LASTING for name, steps in STEPS.items()]
