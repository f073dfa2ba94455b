"""process over two streams: shared state and timers of two keyed ones, and tables that a broadcast stream fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from streamlet import (
    BroadcastContext,
    BroadcastState,
    KeyedBroadcastProcessFunction,
    ProcessContext,
    TimerContext,
    ValueState,
)
from streamlet.operators.connected import KeyedBroadcastProcess, KeyedCoProcess
from tests.operators.commanded import CoCommanded, expected
from tests.operators.recipe import Case, End, Mark, Row, Rows, Step

Rule = tuple[str, str, int | None]
"""What to do (put or clear), the name of the limit, the limit (None removes it)."""


class Limits(KeyedBroadcastProcessFunction[str, int, Rule, Any]):
    """Adds up, and tells which limits the sum of its key is above, now and 10 ms later."""

    total = ValueState(int)
    limits = BroadcastState(str, list[int])
    last = BroadcastState(int, str)

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[Any]:
        self.total.update((self.total.value() or 0) + value)
        if ctx.timestamp is not None:
            ctx.timers.register_event_time(ctx.timestamp + 10)
        yield self._above(ctx.key)

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[Any]:
        yield self._above(ctx.key)

    def process_broadcast_element(self, value: Rule, ctx: BroadcastContext) -> None:
        what, name, limit = value
        if what == "clear":
            self.limits.clear()
        elif limit is None:
            self.limits.remove(name)
        else:
            self.limits.put(name, [limit])
        self.last.put(0, f"{name} at {ctx.timestamp}")

    def _above(self, key: str) -> Any:
        total = self.total.value() or 0
        assert list(self.limits.keys()) == [name for name, _ in self.limits.items()]
        assert len(self.limits) == len(list(self.limits.values()))
        above = [name for name, (limit,) in self.limits.items() if total > limit]
        return key, total, above, self.limits.get("low"), "low" in self.limits, self.last.get(0)


def _expected(steps: Sequence[Step]) -> list[Row]:
    totals: dict[str, int] = {}
    limits: dict[str, int] = {}
    last: str | None = None
    timers: set[tuple[int, str]] = set()
    rows: list[Row] = []

    def tell(key: str, at: int) -> None:
        above = [name for name, limit in limits.items() if totals[key] > limit]
        low = [limits["low"]] if "low" in limits else None
        rows.append((None, (key, totals[key], above, low, low is not None, last), at))

    for step in steps:
        if isinstance(step, Rows) and step.input == 1:
            for (what, name, limit), at in zip(step.values, step.timestamps or (), strict=True):
                last = f"{name} at {at}"
                if what == "clear":
                    limits.clear()
                elif limit is None:
                    limits.pop(name, None)
                else:
                    limits[name] = limit
        elif isinstance(step, Rows):
            for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
                totals[key] = totals.get(key, 0) + value
                timers.add((at + 10, key))
                tell(key, at)
        else:
            until = step.timestamp if isinstance(step, Mark) else 1 << 63
            for at, key in sorted(one for one in timers if one[0] <= until):
                timers.remove((at, key))
                tell(key, at)
    return rows


def _rules(*rules: Rule) -> Rows:
    return Rows(rules, [7] * len(rules), input=1)


BROADCAST: list[Step] = [
    Rows([5], [0], ["a"]),
    _rules(("put", "low", 3), ("put", "high", 8)),
    Rows([5, 5], [3, 4], ["a", "b"]),
    Mark(13),
    _rules(("put", "low", 20), ("put", "odd", -1), ("put", "high", None)),
    Mark(14),
    Rows([1], [20], [""]),
    _rules(("clear", "", None)),
    Rows([1], [21], ["a"]),
    End(),
]
CO: list[Step] = [
    Rows([([("event+", 10)], {10: [("event+", 15)]})], [0], ["k"]),
    Rows([([("event-", 10), ("event+", 12)], {12: [("processing+", 3)]})], [0], ["k"], input=1),
    Rows([([("event+", 10)], {})], [5], ["other"], input=1),
    Mark(11),
    Mark(20),
    Rows([([], {})], [30], ["k"]),
    End(),
]
CASES = [
    Case("process with broadcast", lambda: KeyedBroadcastProcess(Limits()), BROADCAST, _expected(BROADCAST), inputs=2),
    Case("process of two keyed streams", lambda: KeyedCoProcess(CoCommanded()), CO, expected(CO), inputs=2),
]
