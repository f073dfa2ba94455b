"""A process function over states with a time to live, and what it must see of them, worked out without the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal

from streamlet import (
    AggregatingState,
    Count,
    KeyedProcessFunction,
    ListState,
    MapState,
    ProcessContext,
    ReducingState,
    StateTtl,
    ValueState,
)
from streamlet.windows import MIN_TIMESTAMP
from tests.operators.recipe import Clock, Mark, Row, Rows, Step

TTL_MS = 100
"""Freed is in steps of 3 ms: so that both are seen, what is over and not free, and what is freed."""
COMMANDS = (
    "value", "clear value", "map a", "map b", "remove a", "clear map", "list", "update list", "clear list", "reduce",
    "aggregate", "look",
)  # fmt: skip


def _lasting(ttl: StateTtl) -> type[KeyedProcessFunction[str, tuple[str, int], Any]]:
    class Lasting(KeyedProcessFunction[str, tuple[str, int], Any]):
        """Does what each record says, with the number that it carries, and emits all that it sees at `look`."""

        one = ValueState(int, ttl=ttl)
        several = MapState(str, list[int], ttl=ttl)
        all = ListState(int, ttl=StateTtl(ttl.duration, ttl.time))
        largest = ReducingState(max, int, ttl=ttl)
        count = AggregatingState(Count(), ttl=ttl)

        def process_element(self, value: tuple[str, int], ctx: ProcessContext[str]) -> Iterator[Any]:
            command, number = value
            match command.split():
                case ["value"]:
                    self.one.update(number)
                case ["clear", "value"]:
                    self.one.clear()
                case ["map", key]:
                    self.several.put(key, [number])
                case ["remove", key]:
                    self.several.remove(key)
                case ["clear", "map"]:
                    self.several.clear()
                case ["list"]:
                    self.all.extend([number, number])
                case ["update", "list"]:
                    self.all.update([number])
                case ["clear", "list"]:
                    self.all.clear()
                case ["reduce"]:
                    self.largest.add(number)
                case ["aggregate"]:
                    self.count.add(number)
                case ["look"]:
                    assert len(self.all) == len(self.all.get())
                    assert self.several.is_empty() == (not list(self.several.keys()))
                    yield (
                        ctx.key, self.one.value(), list(self.several.items()), self.several.contains("a"),
                        self.all.get(), self.largest.value(), self.count.value(),
                    )  # fmt: skip

    return Lasting


class Oracle:
    """The same by dictionaries of (written, value)."""

    def __init__(self, ttl: StateTtl) -> None:
        self._ttl = ttl
        self._entries: dict[tuple[str, str], tuple[int, Any]] = {}
        self._lists: dict[str, list[tuple[int, int]]] = {}
        self._watermark = MIN_TIMESTAMP
        self._clock = 0
        self.rows: list[Row] = []

    def take(self, step: Step) -> None:
        if isinstance(step, Mark):
            self._watermark = step.timestamp
        elif isinstance(step, Clock):
            self._clock = step.now_ms
        elif isinstance(step, Rows):
            for (command, number), at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
                self._act(command, number, at, key)

    def _act(self, command: str, number: int, at: int, key: str) -> None:
        stamp = at if self._ttl.time == "event" else self._clock
        self._entries = {place: one for place, one in self._entries.items() if self._lives(one[0])}
        elements = [one for one in self._lists.get(key, []) if self._lives(one[0])]
        match command.split():
            case ["value"] | ["map", _]:
                self._put((key, command), number, stamp)
            case ["clear", "value"]:
                self._entries.pop((key, "value"), None)
            case ["remove", which]:
                self._entries.pop((key, f"map {which}"), None)
            case ["clear", "map"]:
                for which in "ab":
                    self._entries.pop((key, f"map {which}"), None)
            case ["list"]:
                elements += [(stamp, number)] * 2
            case ["update", "list"]:
                elements = [(stamp, number)]
            case ["clear", "list"]:
                elements = []
            case ["reduce"]:
                _, before = self._entries.get((key, command), (0, number))
                self._read((key, command), stamp)
                self._put((key, command), max(before, number), stamp)
            case ["aggregate"]:
                _, before = self._entries.get((key, command), (0, 0))
                self._read((key, command), stamp)
                self._put((key, command), before + 1, stamp)
            case ["look"]:
                seen = {
                    name: self._read((key, name), stamp) for name in ("value", "map a", "map b", "reduce", "aggregate")
                }
                items = [(which, [seen[f"map {which}"]]) for which in "ab" if seen[f"map {which}"] is not None]
                numbers = [number for written, number in elements if self._lives(written)]
                has_a = seen["map a"] is not None
                found = (key, seen["value"], items, has_a, numbers, seen["reduce"], seen["aggregate"])
                self.rows.append((None, found, at))
        self._lists[key] = elements

    def _lives(self, written: int) -> bool:
        return (self._watermark if self._ttl.time == "event" else self._clock) < written + TTL_MS

    def _put(self, place: tuple[str, str], value: Any, stamp: int) -> None:
        written, _ = self._entries.get(place, (stamp, None))
        self._entries[place] = max(written, stamp), value

    def _read(self, place: tuple[str, str], stamp: int) -> Any:
        if place not in self._entries:
            return None
        written, value = self._entries[place]
        if not self._lives(written):
            return None
        if self._ttl.refresh == "read":
            self._entries[place] = max(written, stamp), value
        return value


def expected(ttl: StateTtl, steps: Sequence[Step]) -> list[Row]:
    """What a lasting function must put out."""
    oracle = Oracle(ttl)
    for step in steps:
        oracle.take(step)
    return oracle.rows


def ttl_of(time: Literal["processing", "event"], refresh: Literal["write", "read"]) -> StateTtl:
    return StateTtl(timedelta(milliseconds=TTL_MS), time, refresh)


LASTING = {
    ttl: _lasting(ttl)
    for ttl in (
        ttl_of("processing", "write"),
        ttl_of("processing", "read"),
        ttl_of("event", "write"),
        ttl_of("event", "read"),
    )
}
