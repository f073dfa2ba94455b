"""Timers of a process function: what is refused, where results go, and how errors name them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import KeyedProcessFunction, OutputTag, ProcessContext, TimerContext, ValueState, WatermarkStrategy
from streamlet.dsl import TimerService
from streamlet.errors import UserFunctionError
from streamlet.operators.process import TURN, KeyedProcess
from streamlet.operators.user_code.pausing import Pause
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import BACKENDS, lines, make_job, run
from tests.unit.operator_kit import Keyed
from tests.unit.state_kit import STORES


class Setting(KeyedProcessFunction[str, Any, str]):
    """Registers an event-time timer at each value."""

    def process_element(self, value: Any, ctx: ProcessContext[str]) -> None:
        ctx.timers.register_event_time(value)

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[str]:
        if timestamp == 13:
            raise ValueError("unlucky")
        yield f"{ctx.key} {timestamp}"


def _k(value: Any) -> str:
    return "k"


@pytest.mark.parametrize("time", [1.5, True, "now", None, 1 << 63, -(1 << 63) - 1])
def test_a_time_that_is_no_whole_number_of_64_bits_is_refused(time: object, tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Setting()))
    with pytest.raises(UserFunctionError, match=r"in process_element: .*a timer's time is a whole number") as caught:
        keyed.feed([time], _k)
    assert str(caught.value).startswith(f"{__file__}:")


def test_a_timer_of_a_function_without_on_timer_is_refused(tmp_path: Path) -> None:
    class Deaf(KeyedProcessFunction[str, int, str]):
        def process_element(self, value: int, ctx: ProcessContext[str]) -> None:
            ctx.timers.register_processing_time(value)

    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Deaf()))
    assert list(keyed.operator.declared_states()) == []
    with pytest.raises(UserFunctionError, match=r"has no on_timer(.|\n)*define on_timer"):
        keyed.feed([1], _k)


def test_timers_outside_of_a_call_for_a_key_are_refused(tmp_path: Path) -> None:
    class Early(Setting):
        service: TimerService | None = None

        def process_element(self, value: Any, ctx: ProcessContext[str]) -> None:
            self.service = ctx.timers

    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Early()))
    keyed.feed([1], _k)
    keyed.store.evict(1.0)
    operator: Any = keyed.operator
    with pytest.raises(Exception, match="were used while no key is in hand"):
        operator.running.service.register_event_time(1)


def test_an_error_in_on_timer_names_the_line_and_the_timer(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Setting()))
    keyed.feed([13], _k)
    with pytest.raises(UserFunctionError, match="record: event-time timer of key 'k' at 13 ms") as caught:
        keyed.operator.on_watermark(20, lambda batch: None)
    assert str(caught.value).startswith(f"{__file__}:")
    assert "in on_timer: ValueError: unlucky" in str(caught.value)


@pytest.mark.parametrize("kind", STORES)
def test_many_timers_fire_in_turns(kind: type[Any], tmp_path: Path) -> None:
    keyed = Keyed(kind, tmp_path, KeyedProcess(Setting()))
    count = 2 * TURN + 1
    keyed.feed(list(range(100, 100 + count)), str)
    out: list[Any] = []
    assert keyed.operator.on_watermark(10**6, out.append)
    assert keyed.operator.on_watermark(10**6, out.append)
    assert not keyed.operator.on_watermark(10**6, out.append)
    assert [len(batch) for batch in out] == [TURN, TURN, 1]
    assert [at for batch in out for at in batch.timestamps] == list(range(100, 100 + count))


def test_an_event_time_timer_behind_a_source_without_strategy_is_refused_and_names_both_lines(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    numbers = job.source(Generator(int, count=3), uid="numbers")
    numbers.key_by(str).process(Setting(), uid="setting").sink(FileSink(tmp_path / "out"), uid="out")
    said = run(job).said
    assert "in process_element: JobDefinitionError: an event-time timer of process 'setting' would never fire" in said
    assert "source 'numbers' at" in said
    assert "watermarks=WatermarkStrategy" in said


class Pausing(KeyedProcessFunction[str, int, str]):
    """Tells at 10 ms behind each record by the clock that it came, once for all records of the key meanwhile."""

    since = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[str]) -> None:
        if self.since.value() is None:
            self.since.update(value)
            ctx.timers.register_processing_time(ctx.now_ms() + 10)

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[str]:
        assert ctx.domain == "processing"
        yield f"{ctx.key} since {self.since.value()}"
        self.since.clear()


@pytest.mark.parametrize("backend", BACKENDS)
def test_processing_time_timers_need_no_watermarks_and_fire_by_the_end(backend: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, state_backend=backend)
    numbers = job.source(Generator(int, count=20), uid="numbers")
    numbers.key_by(lambda number: str(number % 2)).process(Pausing()).sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    told = [line.split(" since ") for line in lines(tmp_path / "out")]
    assert {key for key, _ in told} == {"0", "1"}
    assert {"0", "1"} <= {since for _, since in told}


class Periodic(KeyedProcessFunction[int, int, int]):
    """Tells every 10 ms of event time, for ever; side output at each multiple of 50."""

    def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
        ctx.timers.register_event_time((value // 10 + 1) * 10)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[int]:
        ctx.timers.register_event_time(timestamp + 10)
        if timestamp % 50 == 0:
            ctx.output(FIFTIES, timestamp)
        yield timestamp


FIFTIES = OutputTag[int]("fifties")


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_timer_that_renews_itself_ends_with_the_input(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    numbers = job.source(
        Generator(int, count=101),
        uid="numbers",
        watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(0)).with_timestamps(lambda number: number),
        parallelism=1,
    )
    told = numbers.key_by(lambda _: 0).process(Periodic(), uid="periodic")
    told.sink(FileSink(tmp_path / "out"), uid="out")
    told.side_output(FIFTIES).sink(FileSink(tmp_path / "fifties"), uid="fifties")
    assert run(job).code == 0
    assert lines(tmp_path / "out") == list(range(10, 120, 10))
    assert lines(tmp_path / "fifties") == [50, 100]


def test_timers_that_turn_slow_are_stopped_behind_the_one_in_hand_and_the_rest_fires_later(tmp_path: Path) -> None:
    class Slow(Setting):
        def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[str]:
            if timestamp in (3, 7):
                Pause.ask()
            yield f"{ctx.key} {timestamp}"

    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Slow()))
    operator: Any = keyed.operator
    operator.context = msgspec.structs.replace(operator.context, pause=Pause())
    keyed.feed([*range(9)], _k)
    fired: list[list[str]] = []
    while operator.on_watermark(100, lambda batch: fired.append(batch.values)):
        pass
    assert [len(one) for one in fired] == [4, 4, 1]
    assert [value for one in fired for value in one] == [f"k {time}" for time in range(9)]
    assert Pause.running is None
