"""Asynchronous functions: what is in flight at a break comes once, in order, and behind its watermark."""

from __future__ import annotations

import asyncio
from typing import Any

from streamlet.operators.asynchronous.map_async import CallOptions, MapAsync, filtered, flattened, mapped
from tests.operators.cases_basic import KEYS
from tests.operators.recipe import Case, Clock, End, Mark, Rows, Step

HUGE = 1 << 62
STEPS: list[Step] = [
    Rows([5, 4, 3], [30, -HUGE, 0]),
    Mark(-5),
    Rows([]),
    Rows([2, 1], [HUGE, 30]),
    Clock(4),
    Rows([0], [-5]),  # late
    Mark(40),
    Clock(7),
    Rows([8, 7], [41, 41]),
    End(),
]
ROWS = [
    (value, at)
    for step in STEPS
    if isinstance(step, Rows)
    for value, at in zip(step.values, step.timestamps or (), strict=True)
]


async def later(value: int) -> int:
    """The later ones first."""
    await asyncio.sleep(0.002 * value)
    return value * 10


async def at_once(value: int) -> int:
    await asyncio.sleep(0)
    return value * 10


async def is_odd(value: int) -> bool:
    await asyncio.sleep(0.001 * value)
    return value % 2 == 1


async def several(value: int) -> list[int]:
    await asyncio.sleep(0.001 * value)
    return [value] * (value % 3)


def _ordered(name: str, capacity: int) -> Case:
    return Case(
        f"map_async {name}",
        lambda: MapAsync(later, mapped, CallOptions(capacity=capacity)),
        STEPS,
        [(None, value * 10, at) for value, at in ROWS],
    )


def _by_keys(of: str, keys: Any) -> Case:
    steps: list[Step] = [
        Rows([3, 2, 1], [1, 2, 3], keys),
        Clock(1),
        Mark(2),
        Rows([2, 1, 2], [5, 6, 7], keys),
        Clock(4),
        End(),
    ]
    times = [(3, 1), (2, 2), (1, 3), (2, 5), (1, 6), (2, 7)]
    return Case(
        f"map_async by {of}",
        lambda: MapAsync(later, mapped, CallOptions()),
        steps,
        [(None, value * 10, at) for value, at in times],
    )


CASES = [
    _ordered("in order", 100),
    _ordered("one by one", 1),
    *[_by_keys(of, keys) for of, keys in KEYS.items()],
    Case(
        "map_async as they come",
        lambda: MapAsync(at_once, mapped, CallOptions(is_ordered=False, type=int)),
        STEPS,
        [(None, value * 10, at) for value, at in ROWS],
    ),
    Case(
        "async filter",
        lambda: MapAsync(is_odd, filtered, CallOptions()),
        STEPS,
        [(None, value, at) for value, at in ROWS if value % 2],
    ),
    Case(
        "async flat_map",
        lambda: MapAsync(several, flattened, CallOptions(type=int)),
        STEPS,
        [(None, value, at) for value, at in ROWS for _ in range(value % 3)],
    ),
]
