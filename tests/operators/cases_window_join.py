"""window_join: both sides in one window, late, again, alone, on the edge, of far times, by the clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from streamlet import SessionWindows, TumblingWindows, Window
from streamlet.dsl.windowed import window_operator
from streamlet.operators.joins.operator import HOWS, How, Join
from streamlet.operators.joins.window import BothSides
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.tumbling import AlignedWindows
from tests.operators.cases_basic import KEYS
from tests.operators.cases_joins import LATE
from tests.operators.cases_windows import BY_CLOCK, FAR, SESSIONS, SLIDING, TUMBLING, Nested, ms
from tests.operators.recipe import Case, End, Mark, Row, Rows, Step
from tests.operators.window_oracle import WindowOracle


def _told(left: Any, right: Any, window: Window) -> Any:
    return left, right, window


def _gather(how: How, rank: Callable[[int], int]) -> Callable[[Any, Window, list[Any]], list[Any]]:
    """Every left value with every right one, pane by pane as they came."""

    def gather(key: Any, window: Window, values: list[Any]) -> list[Any]:
        ordered = sorted(values, key=lambda one: rank(one[2]))
        lefts, rights = ([value for side, value, _ in ordered if side == wanted] for wanted in (0, 1))
        if not rights:
            rights = [None] if how in ("left", "full") else []
        elif not lefts:
            lefts = [None] if how in ("right", "full") else []
        return [(left, right, window) for left in lefts for right in rights]

    return gather


def _case(name: str, how: How, policy: WindowPolicy, steps: Sequence[Step], **oracle: Any) -> Case:
    join = Join(_told, how, (int, int), LATE)
    made = window_operator(policy, BothSides(join))

    def rank(time: int) -> int:
        if not isinstance(made, AlignedWindows) or made.is_by_clock:
            return 0
        return (time - made.offset_ms) // made.length_ms

    tagged = [
        Rows(
            [(step.input, *one) for one in zip(step.values, step.timestamps or (), strict=True)],
            step.timestamps,
            step.keys,
        )
        if isinstance(step, Rows)
        else step
        for step in steps
    ]
    rows = WindowOracle(
        lambda value, time: policy.assigner.assign(value[1], time),
        _gather(how, rank),
        lateness=policy.lateness_ms,
        joins=isinstance(policy.assigner, SessionWindows),
        gap=getattr(policy.assigner, "gap_ms", 0),
        has_late_output=policy.late != (None, None),
        rank=rank,
        **oracle,
    ).run(tagged)
    expected: list[Row] = [
        (LATE[one[0]].name, one[1], at) if tag == "late" else (tag, one, at) for tag, one, at in rows
    ]
    return Case(f"window_join {name} {how}", lambda: window_operator(policy, BothSides(join)), steps, expected, 2)


def _by_keys(keys: Sequence[Any]) -> list[Step]:
    a, b, c = keys
    return [
        Rows([1, 2, 3], [5, 1, 2], [a, b, c]),
        Rows([4, 5], [4, 12], [b, a], input=1),
        Mark(4),
        Rows([6, 7], [12, 30], [c, a], input=1),
        Rows([8], [9], [a]),
        Mark(12),
        End(),
    ]


def _alternating(steps: Sequence[Step]) -> list[Step]:
    """The batches of one stream, by turns as those of the left and of the right side, and each cut in two."""
    sides = random.Random(7)
    found: list[Step] = []
    for step in steps:
        if not isinstance(step, Rows):
            found.append(step)
            continue
        first = sides.randrange(2)
        for side in (first, 1 - first):
            at = range(side, len(step.values), 2)
            times, keys = step.timestamps or (), step.keys or ()
            found.append(
                Rows(
                    [step.values[row] for row in at], [times[row] for row in at], [keys[row] for row in at], input=side
                )
            )
    return found


def _busy(seed: int) -> list[Step]:
    chance = random.Random(seed)
    steps: list[Step] = []
    now = 0
    for _ in range(14):
        count = chance.randrange(7)
        steps.append(
            Rows(
                [chance.randrange(100) for _ in range(count)],
                [now + chance.randrange(-18, 12) for _ in range(count)],
                [chance.choice("ab") for _ in range(count)],
                input=chance.randrange(2),
            )
        )
        if chance.random() < 0.6:
            now += chance.choice([1, 3, 7, 40])
            steps.append(Mark(now - 8))
    return [*steps, End()]


CASES = [
    *[_case(f"by {of}", "full", WindowPolicy(TUMBLING, late=LATE), _by_keys(keys)) for of, keys in KEYS.items()],
    *[_case("tumbling", how, WindowPolicy(TUMBLING, late=LATE), _busy(1)) for how in HOWS],
    _case("sliding", "full", WindowPolicy(SLIDING, late=LATE), _busy(2)),
    _case("session", "full", WindowPolicy(SESSIONS, late=LATE), _busy(3)),
    _case("nested", "left", WindowPolicy(Nested(), late=LATE), _busy(4)),
    *[
        _case(f"{name} with lateness", "full", WindowPolicy(assigner, lateness_ms=9, late=LATE), _busy(5))
        for name, assigner in (("tumbling", TUMBLING), ("sliding", SLIDING), ("session", SESSIONS))
    ],
    *[
        _case(f"{name} far", "full", WindowPolicy(assigner, late=LATE), _alternating(FAR))
        for name, assigner in (("tumbling", TUMBLING), ("session", SESSIONS))
    ],
    _case("dropping late ones", "inner", WindowPolicy(TUMBLING, late=(None, None)), _busy(1)),
    _case(
        "by the clock",
        "full",
        WindowPolicy(TumblingWindows(ms(10), time="processing"), late=LATE),
        _alternating(BY_CLOCK),
        by_clock=True,
    ),
]
