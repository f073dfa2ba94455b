"""A process function that does what its records say, and what it must put out, worked out without the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from streamlet import (
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    MapState,
    OutputTag,
    ProcessContext,
    TimerContext,
    ValueState,
)
from streamlet.state.encoding.key_groups import pack_key
from streamlet.windows import MAX_TIMESTAMP, MIN_TIMESTAMP
from tests.operators.recipe import Clock, End, Mark, Row, Rows, Step

Command = tuple[str, int]
"""`event+`, `event-`, `processing+` or `processing-` and the time of the timer."""
Orders = tuple[list[Command], dict[int, list[Command]]]
"""What to do now, and what when the timer of a time fires."""
TOLD = OutputTag[str]("told")


class _Commands:
    """Emits each record and each timer with the number of calls of its key, and tells of it under a tag."""

    calls = ValueState(int)
    later = MapState(int, list[Command])

    def process_element(self, value: Orders, ctx: ProcessContext[Any]) -> Iterator[str]:
        for time, commands in value[1].items():
            self.later.put(time, commands)
        yield from self._act("record", value[0], ctx)

    def on_timer(self, timestamp: int, ctx: TimerContext[Any]) -> Iterator[str]:
        assert timestamp == ctx.timestamp
        commands = self.later.get(timestamp) or []
        self.later.remove(timestamp)
        yield from self._act(f"{ctx.domain} {timestamp}", commands, ctx)

    def _act(self, what: str, commands: list[Command], ctx: ProcessContext[Any]) -> Iterator[str]:
        calls = (self.calls.value() or 0) + 1
        self.calls.update(calls)
        for command, time in commands:
            match command:
                case "event+":
                    ctx.timers.register_event_time(time)
                case "event-":
                    ctx.timers.delete_event_time(time)
                case "processing+":
                    ctx.timers.register_processing_time(time)
                case "processing-":
                    ctx.timers.delete_processing_time(time)
        ctx.output(TOLD, f"{ctx.key!r} {calls}")
        yield f"{ctx.key!r} {what} {calls} at {ctx.now_ms()}"


class Commanded(_Commands, KeyedProcessFunction[Any, Orders, str]):
    """For one stream."""


class CoCommanded(_Commands, KeyedCoProcessFunction[Any, Orders, Orders, str]):
    """For two streams, which it cannot tell apart."""

    def process_element1(self, value: Orders, ctx: ProcessContext[Any]) -> Iterator[str]:
        return self.process_element(value, ctx)

    def process_element2(self, value: Orders, ctx: ProcessContext[Any]) -> Iterator[str]:
        return self.process_element(value, ctx)


class Oracle:
    """The same by sets and sorting."""

    def __init__(self) -> None:
        self._timers: dict[str, set[tuple[int, Any]]] = {"event": set(), "processing": set()}
        self._later: dict[tuple[Any, int], list[Command]] = {}
        self._calls: defaultdict[Any, int] = defaultdict(int)
        self._watermark = MIN_TIMESTAMP
        self._now = 0
        self._is_ending = False
        self._main: list[Row] = []
        self._told: list[Row] = []
        self.rows: list[Row] = []

    def take(self, step: Step) -> None:
        if isinstance(step, Rows):
            for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
                for time, commands in value[1].items():
                    self._later[key, time] = commands
                self._act(key, "record", at, value[0])
            self._deliver()
            self._fire("event", self._watermark)
        elif isinstance(step, Mark):
            self._watermark = step.timestamp
            self._fire("event", step.timestamp)
        elif isinstance(step, Clock):
            self._now = step.now_ms
        else:
            self._is_ending = True
            self._watermark = MAX_TIMESTAMP
            self._fire("event", MAX_TIMESTAMP)
            self._fire("processing", MAX_TIMESTAMP)
        while any(time <= self._now for time, _ in self._timers["processing"]):
            self._fire("processing", self._now)
            self._fire("event", self._watermark)

    def _fire(self, domain: str, until: int) -> None:
        timers = self._timers[domain]
        while due := [one for one in timers if one[0] <= until]:
            time, key = min(due, key=_order)
            timers.remove((time, key))
            self._act(key, f"{domain} {time}", time, self._later.pop((key, time), []))
        self._deliver()

    def _act(self, key: Any, what: str, at: int, commands: Sequence[Command]) -> None:
        self._calls[key] += 1
        for command, time in commands:
            timers = self._timers[command[:-1]]
            if command.endswith("-"):
                timers.discard((time, key))
            elif not self._is_ending:
                timers.add((time, key))
        self._told.append(("told", f"{key!r} {self._calls[key]}", at))
        self._main.append((None, f"{key!r} {what} {self._calls[key]} at {self._now}", at))

    def _deliver(self) -> None:
        self.rows += self._main + self._told
        self._main, self._told = [], []


def _order(timer: tuple[int, Any]) -> tuple[int, int, bytes]:
    time, key = timer
    packed = pack_key(key)
    return time, len(packed), packed


def expected(steps: Sequence[Step]) -> list[Row]:
    """What `Commanded` must put out."""
    oracle = Oracle()
    for step in steps:
        oracle.take(step)
    return oracle.rows


def with_end(steps: Sequence[Step]) -> list[Step]:
    """The steps, and the end of the input."""
    return [*steps, End()]
