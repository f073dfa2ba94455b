"""State with a time to live: it is freed, the way it is seen from timers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import (
    AggregatingState,
    Count,
    Job,
    KeyedProcessFunction,
    ListState,
    MapState,
    Mean,
    ProcessContext,
    ReducingState,
    StateTtl,
    TimerContext,
    ValueState,
)
from streamlet.errors import JobDefinitionError
from streamlet.operators.operator import OperatorContext
from streamlet.operators.process import TURN, KeyedProcess
from streamlet.state.expiring import ELEMENTS_AT_ONCE
from streamlet.state.memory.cells import ABSENT
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.operators.living import LASTING, ttl_of
from tests.operators.recipe import Case, Clock, Mark, Rows, Running, Step, World
from tests.unit.state_kit import STORES

SECOND = timedelta(seconds=1)


def _running(kind: type[Any], root: Path, make: Callable[[], Any], *steps: Step) -> Running:
    running = Running(Case("ttl", make, steps, []), kind, root, World(), None)
    for step in steps:
        running.take(step)
    return running


def _stored(running: Running) -> int:
    """How many cells hold something, but for those of keys alone."""
    slots = running.store.lookup(["k", "other"])
    cells = [cell for slot in slots for cell in (slot, *(slot.cells or {}).values())]
    timers = [timers for timers in running.store._timers.values() if timers.next_time() is not None]
    return sum(cell.value is not ABSENT for cell in cells) + len(timers)


@pytest.mark.parametrize("time", ["processing", "event"])
@pytest.mark.parametrize("kind", STORES)
def test_what_is_over_is_freed_without_any_record(kind: type[Any], time: Any, tmp_path: Path) -> None:
    function = LASTING[ttl_of(time, "write")]
    commands = [("value", 1), ("map a", 1), ("map b", 1), ("list", 1), ("reduce", 1), ("aggregate", 1)]
    rows = Rows(commands * 2, [0] * 12, ["k"] * 6 + ["other"] * 6)
    running = _running(kind, tmp_path, lambda: KeyedProcess(function()), rows)
    assert _stored(running) > 12
    running.take(Mark(104) if time == "event" else Clock(104))
    assert _stored(running) == 0
    running.close()


@pytest.mark.parametrize("kind", STORES)
def test_clearing_leaves_no_timer_behind(kind: type[Any], tmp_path: Path) -> None:
    function = LASTING[ttl_of("event", "write")]
    commands = ["value", "map a", "list", "clear value", "clear map", "clear list", "value", "value", "clear value"]
    rows = Rows([(command, 1) for command in commands], range(len(commands)), ["k"] * len(commands))
    running = _running(kind, tmp_path, lambda: KeyedProcess(function()), rows)
    assert _stored(running) == 0
    running.close()


class Long(KeyedProcessFunction[str, int, int]):
    """Adds so many elements to a list, and emits its length."""

    all = ListState(int, ttl=StateTtl(SECOND, "event"))

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[int]:
        self.all.extend(range(value))
        yield len(self.all)


def test_a_long_list_is_freed_in_pieces(tmp_path: Path) -> None:
    count = 2 * ELEMENTS_AT_ONCE + 7
    running = _running(STORES[1], tmp_path, lambda: KeyedProcess(Long()), Rows([count], [0], ["k"]), Mark(2000))
    running.take(Rows([3], [5000], ["k"]))
    assert [row[1] for row in running.rows] == [count, 3]
    running.take(Mark(10_000))
    assert _stored(running) == 0
    running.close()


def test_many_entries_are_freed_in_turns(tmp_path: Path) -> None:
    function = LASTING[ttl_of("event", "write")]
    count = TURN + 1
    rows = Rows([("value", 1)] * count, [0] * count, [str(number) for number in range(count)])
    running = _running(STORES[1], tmp_path, lambda: KeyedProcess(function()), rows)
    running.operator.context.event_time.watermark = 200
    assert running.operator.on_watermark(200, lambda batch: None)
    assert not running.operator.on_watermark(200, lambda batch: None)
    running.close()


class Remembering(KeyedProcessFunction[str, int, int | None]):
    """Remembers a number for a second of event time, and tells it at the time that it says."""

    one = ValueState(int, ttl=StateTtl(SECOND, "event"))

    def process_element(self, value: int, ctx: ProcessContext[str]) -> None:
        self.one.update(value)
        ctx.timers.register_event_time(value)

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[int | None]:
        yield self.one.value()


@pytest.mark.parametrize("watermarks", [[5000], [500, 999, 1000, 5000]])
def test_a_timer_sees_what_lives_at_its_own_time_however_far_the_watermark_jumps(
    watermarks: list[int], tmp_path: Path
) -> None:
    rows = Rows([999, 1000], [0, 0], ["k", "other"])
    steps: list[Step] = [rows, *map(Mark, watermarks)]
    running = _running(STORES[1], tmp_path, lambda: KeyedProcess(Remembering()), *steps)
    assert [row[1] for row in running.rows] == [999, None]
    running.close()


def test_reducing_and_aggregating_state_keep_what_comes_of_the_values(tmp_path: Path) -> None:
    class Both(KeyedProcessFunction[str, int, tuple[int | None, float | None]]):
        largest = ReducingState(max, int)
        mean = AggregatingState(Mean[int]())

        def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[tuple[int | None, float | None]]:
            if not value:
                self.largest.clear()
                self.mean.clear()
            else:
                self.largest.add(value)
                self.mean.add(value)
            yield self.largest.value(), self.mean.value()

    running = _running(STORES[1], tmp_path, lambda: KeyedProcess(Both()), Rows([4, 2, 0, 1], [0] * 4, ["k"] * 4))
    assert [row[1] for row in running.rows] == [(4, 4.0), (4, 3.0), (None, None), (1, 1.0)]
    running.close()


@pytest.mark.parametrize(
    "declare",
    [
        lambda: ValueState(int, ttl=timedelta(0)),
        lambda: ValueState(int, ttl=-SECOND),
        lambda: ValueState(int, ttl=5),  # type: ignore[call-overload]
        lambda: ValueState(ttl=SECOND),  # type: ignore[call-overload]
        lambda: MapState(str, int, ttl=StateTtl(SECOND, "wall")),  # type: ignore[arg-type]
        lambda: MapState(str, int, ttl=StateTtl(SECOND, refresh="never")),  # type: ignore[arg-type]
        lambda: ListState(int, ttl=StateTtl(SECOND, refresh="read")),
        lambda: ReducingState(3, int),  # type: ignore[arg-type]
        lambda: AggregatingState(Count),  # type: ignore[arg-type]
        lambda: AggregatingState(max),  # type: ignore[arg-type]
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(declare: Callable[[], object]) -> None:
    with pytest.raises(JobDefinitionError, match=" -> "):
        declare()


def test_a_ttl_by_event_time_needs_a_source_with_watermarks() -> None:
    job = Job("j")
    job.source(Generator(int, count=1), uid="in").key_by(str).process(Long(), uid="long").sink(Print(), uid="out")
    with pytest.raises(JobDefinitionError, match="process 'long' works by event time, but source 'in'"):
        job.plan()


def test_a_record_without_a_time_is_refused_by_a_state_that_lives_by_event_time(tmp_path: Path) -> None:
    running = _running(STORES[1], tmp_path, lambda: KeyedProcess(Long()))
    assert isinstance(running.operator.context, OperatorContext)
    with pytest.raises(Exception, match="list state 'all' of 'op' lives by event time, but the record has none"):
        running.take(Rows([1], None, ["k"]))
    running.close()
