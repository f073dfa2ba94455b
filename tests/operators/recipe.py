"""The recipe that every operator is tested by: what goes in, what must come out, and runs that break off anywhere.

A `Case` says what comes to one operator, step by step, and what it must put out, worked out in plain Python.
`straight` runs it without a break; `crashing` takes a checkpoint behind every step, lets the operator go on into
nothing, and restores a new one; `evicting` folds and drops whatever memory holds behind every step.  All must give the
same, and what was restored must remember what the one before did.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from streamlet import OutputTag
from streamlet.connect import Batch
from streamlet.operators.keying import SlotLookup
from streamlet.operators.operator import EventTime, Operator, OperatorContext
from streamlet.operators.user_code.place import Place
from streamlet.state.snapshot import StoreSnapshot
from streamlet.testing.loop import SimulatedLoop, VirtualClock
from streamlet.windows import MAX_TIMESTAMP, MIN_TIMESTAMP
from tests.operators.remembered import refuse_what_was_lost, remembered
from tests.unit.state_kit import checkpoint, fold, make_store

Row = tuple[str | None, Any, int | None]
"""What came out: the name of the tag (None for the main output), the value, its time."""


@dataclass(frozen=True)
class Rows:
    """A batch. Give keys where the input is keyed."""

    values: Sequence[Any]
    timestamps: Sequence[int] | None = None
    keys: Sequence[Any] | None = None
    input: int = 0


@dataclass(frozen=True)
class Mark:
    """The watermark moves to this time."""

    timestamp: int


@dataclass(frozen=True)
class Clock:
    """The wall clock moves to this time."""

    now_ms: int


@dataclass(frozen=True)
class End:
    """The whole input has ended."""


Step = Rows | Mark | Clock | End


@dataclass(frozen=True)
class Case:
    """One operator, what comes to it and what it must put out."""

    name: str
    make: Callable[[], Operator]
    steps: Sequence[Step]
    expected: Sequence[Row]
    inputs: int = 1

    @property
    def is_keyed(self) -> bool:
        return any(isinstance(step, Rows) and step.keys is not None for step in self.steps)


class World:
    """What outlasts a crash: the clock, and what came out before the last checkpoint."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.watermark = MIN_TIMESTAMP
        self.rows: list[Row] = []


class Running:
    """One life of the operator."""

    def __init__(
        self, case: Case, kind: type[Any], root: Path, world: World, restored: tuple[StoreSnapshot | None, Any] | None
    ) -> None:
        self._case = case
        self._world = world
        self.rows: list[Row] = []
        self.operator = case.make()
        self._woken = False
        self._loop = SimulatedLoop(VirtualClock(0), random.Random(0))
        self.store: Any = None
        specs = {}
        if case.is_keyed or self.operator.declared_states():
            declared = [
                one.declare(id, "op", name) for id, (name, one) in enumerate(self.operator.declared_states().items(), 1)
            ]
            self.store = make_store(kind, root, declared)
            self.store.open([restored[0]] if restored is not None and restored[0] is not None else [])
            specs = {one.spec.name: one.spec for one in declared}
        place = Place(__file__, 1, "operator", "op")
        context = OperatorContext(
            place,
            0,
            1,
            self.store,
            specs,
            side=self._side,
            event_time=EventTime(),
            now_ms=self._now,
            wake=self._wake,
            spawn=self._loop.create_task,
        )
        self.operator.open(context)
        self._lookup = SlotLookup()
        if self.store is not None:
            self._lookup.open(context)
        if restored is not None and restored[1] is not None:
            self.operator.restore([msgspec.msgpack.decode(restored[1])])
        if restored is not None and world.watermark != MIN_TIMESTAMP:
            self._advance(world.watermark)
        self.remembered_at_start = remembered(self.operator)
        """Before anything has come."""
        self._follow_clock()

    def take(self, step: Step) -> None:
        """Lets one thing happen."""
        if isinstance(step, Rows):
            batch = Batch(list(step.values), step.timestamps, step.keys)
            if step.keys is None:
                self._process(step.input, batch)
            else:
                self._lookup.process(batch, lambda found: self._process(step.input, found))
        elif isinstance(step, Mark):
            self._world.watermark = step.timestamp
            self._advance(step.timestamp)
        elif isinstance(step, Clock):
            self._world.now_ms = step.now_ms
        else:
            self._world.watermark = MAX_TIMESTAMP
            self._advance(MAX_TIMESTAMP)
            self._wait_for_what_is_in_flight()
            self.operator.on_end(self._out)
            return
        self._follow_clock()

    def snapshot(self) -> tuple[StoreSnapshot | None, Any]:
        """Takes a checkpoint."""
        found = self.operator.snapshot()
        packed = None if found is None else msgspec.msgpack.encode(found)
        return (None if self.store is None else checkpoint(self.store, self.store.cut + 1)), packed

    def empty_memory(self) -> None:
        """Brings everything to disk and drops it from memory."""
        self.snapshot()
        if self.store is not None:
            fold(self.store)
            self.store.memory_bound = self.store.eviction.bound_bytes = 1
            while self.store.can_evict() and self.store.evict(1.0):
                pass

    def close(self) -> None:
        self._loop.bury()
        self.operator.close()
        if self.store is not None:
            self.store.close()

    def _process(self, input: int, batch: Batch[Any]) -> None:
        if self._case.inputs == 1:
            self.operator.process(batch, self._out)
        else:
            self.operator.process_input(input, batch, self._out)

    def _advance(self, timestamp: int) -> None:
        self.operator.context.event_time.watermark = timestamp
        while self.operator.on_watermark(timestamp, self._out):
            pass

    def _follow_clock(self) -> None:
        clock = self._loop.clock
        clock.seconds = max(clock.seconds, self._now() / 1000)
        while True:
            while self._loop.step():
                pass
            at = self.operator.next_clock_ms()
            if not self._woken and (at is None or at > self._now()):
                return
            self._woken = False
            self.operator.on_clock(self._now(), self._out)

    def _wait_for_what_is_in_flight(self) -> None:
        self._follow_clock()
        while self.operator.held_watermark() is not None:
            at = self._loop.next_timer()
            assert at is not None, "what is in flight never ends"
            self._loop.clock.seconds = at
            self._follow_clock()

    def _now(self) -> int:
        return self._world.now_ms

    def _wake(self) -> None:
        self._woken = True

    def _out(self, batch: Batch[Any]) -> None:
        self.rows += _rows(None, batch)

    def _side(self, tag: OutputTag[Any], batch: Batch[Any]) -> None:
        self.rows += _rows(tag.name, batch)


def _rows(tag: str | None, batch: Batch[Any]) -> Iterator[Row]:
    times: Sequence[int | None] = batch.timestamps if batch.timestamps is not None else [None] * len(batch)
    return ((tag, value, time) for value, time in zip(batch.values, times, strict=True))


def straight(case: Case, kind: type[Any], root: Path) -> list[Row]:
    """What comes out of a run without a break."""
    running = Running(case, kind, root, World(), None)
    for step in case.steps:
        running.take(step)
    running.close()
    return running.rows


def evicting(case: Case, kind: type[Any], root: Path) -> list[Row]:
    """What comes out when memory is emptied behind every step."""
    running = Running(case, kind, root, World(), None)
    for step in case.steps:
        running.take(step)
        running.empty_memory()
    running.close()
    return running.rows


def crashing(case: Case, kind: type[Any], root: Path) -> list[Row]:
    """What comes out when the operator is restored behind every step; what it did after the checkpoint is lost."""
    world = World()
    running = Running(case, kind, root, world, None)
    for step, following in zip(case.steps, (*case.steps[1:], None), strict=True):
        running.take(step)
        restored = running.snapshot()
        known = remembered(running.operator)
        world.rows += running.rows
        now_ms, watermark = world.now_ms, world.watermark
        if following is not None:
            running.take(following)
            running.snapshot()
        world.now_ms, world.watermark = now_ms, watermark
        running.close()
        if isinstance(step, End):
            return world.rows
        running = Running(case, kind, root, world, restored)
        refuse_what_was_lost(known, running.remembered_at_start)
    world.rows += running.rows
    running.close()
    return world.rows


RUNS = (straight, evicting, crashing)
