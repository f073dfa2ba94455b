"""What the language refuses about windows, with the user's line and a remedy, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, OutputTag, SessionWindows, SlidingWindows, TumblingWindows, WatermarkStrategy
from streamlet.aggregates import AggregateFunction
from streamlet.dsl.windowed import window_operator
from streamlet.errors import CheckpointError, JobDefinitionError
from streamlet.operators.windows.contents import Folded, folding_of
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.windows import (
    AtEndOfInput,
    CountWindows,
    EveryDuration,
    EveryRecords,
    GlobalWindows,
    Trigger,
    WindowAssigner,
    WindowProcessFunction,
)
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.naming import shown
from tests.unit.operator_kit import Keyed

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
NO_DURATION: Any = 60
NO_DOMAIN: Any = "event time"
THIS = re.escape(__file__)


class Bare(AggregateFunction[int, int, int]):
    """Has no merge."""

    accumulator_type = int

    def create_accumulator(self) -> int:
        return 0

    def add(self, accumulator: int, value: int) -> int:
        return accumulator + value

    def result(self, accumulator: int) -> int:
        return accumulator


class Own(Trigger[object]):
    def on_record(self, value: object, timestamp: int, ctx: Any) -> bool:
        return True


def _keyed(*, timed: bool = True) -> Any:
    watermarks = WatermarkStrategy.monotonic().with_timestamps(lambda one: one) if timed else None
    return (
        Job("job")
        .source(Generator(lambda one: one, count=1), uid="numbers", watermarks=watermarks)
        .key_by(lambda one: one % 3)
    )


def _plan(stream: Any) -> Any:
    stream.sink(Print())
    return stream._job.plan()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TumblingWindows(timedelta(0)), "the size of a window"),
        (lambda: TumblingWindows(-MINUTE), "the size of a window"),
        (lambda: TumblingWindows(NO_DURATION), "the size of a window"),
        (lambda: TumblingWindows(timedelta(microseconds=1500)), "whole milliseconds"),
        (lambda: TumblingWindows(MINUTE, offset=NO_DURATION), "the offset of windows"),
        (lambda: TumblingWindows(MINUTE, time=NO_DOMAIN), 'time="event"'),
        (lambda: SlidingWindows(MINUTE, timedelta(0)), "the slide of windows"),
        (lambda: SlidingWindows(SECOND, MINUTE), "would leave out the records between them"),
        (lambda: SessionWindows(timedelta(0)), "the gap of sessions"),
        (lambda: CountWindows(0), "count windows"),
        (lambda: CountWindows(True), "count windows"),
        (lambda: EveryRecords(0), "EveryRecords"),
        (lambda: EveryDuration(timedelta(0)), "EveryDuration"),
        (lambda: EveryDuration(SECOND, time=NO_DOMAIN), 'time="processing"'),
        (lambda: _keyed().window(MINUTE), "window takes windows"),
        (lambda: _keyed().window(TumblingWindows(MINUTE)).trigger("every"), "trigger takes a Trigger"),
        (lambda: _keyed().window(TumblingWindows(MINUTE)).late_output("late"), "OutputTag"),
        (lambda: _keyed().window(TumblingWindows(MINUTE)).allowed_lateness(-SECOND), "the allowed lateness"),
        (
            lambda: _keyed().window(TumblingWindows(MINUTE, time="processing")).allowed_lateness(SECOND),
            "nothing is ever late",
        ),
        (lambda: _keyed().window(GlobalWindows()).allowed_lateness(SECOND), "nothing is ever late"),
        (
            lambda: _keyed().window(SessionWindows(MINUTE, time="processing")).late_output(OutputTag[int]("late")),
            "late_output on windows for which nothing is ever late",
        ),
        (
            lambda: _keyed().window(CountWindows(3)).late_output(OutputTag[int]("late")),
            "late_output on windows for which nothing is ever late",
        ),
        (lambda: _keyed().window(CountWindows(3)).trigger(EveryRecords(2)), "count windows"),
        (lambda: _keyed().window(CountWindows(3)).accumulating(), "count windows"),
        (lambda: _keyed().window(TumblingWindows(MINUTE)).aggregate(), "needs a function"),
        (lambda: _keyed().window(TumblingWindows(MINUTE)).aggregate(len), "aggregate functions"),
        (lambda: _keyed().window(TumblingWindows(MINUTE)).process(len), "WindowProcessFunction"),
        (lambda: _plan(_keyed(timed=False).window(TumblingWindows(MINUTE)).aggregate(Count())), "by event time"),
        (lambda: _plan(_keyed(timed=False).window(SessionWindows(MINUTE)).aggregate(Count())), "by event time"),
        (
            lambda: _plan(
                _keyed(timed=False).window(GlobalWindows()).trigger(EveryDuration(SECOND)).aggregate(Count())
            ),
            "by event time",
        ),
        (lambda: _plan(_keyed().window(SlidingWindows(MINUTE, SECOND)).aggregate(Bare())), "no merge"),
        (lambda: _plan(_keyed().window(SessionWindows(MINUTE)).aggregate(Count(), Bare())), "no merge"),
        (lambda: _plan(_keyed().window(SessionWindows(MINUTE)).trigger(Own()).aggregate(Count())), "counts_only"),
        (
            lambda: _plan(
                _keyed()
                .window(TumblingWindows(MINUTE, time="processing"))
                .trigger(EveryDuration(SECOND))
                .aggregate(Count())
            ),
            "processing time",
        ),
        (lambda: _plan(_keyed().window(TumblingWindows(MINUTE)).reduce(max, type=object)), "cannot be stored"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_users_line(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(JobDefinitionError) as raised:
        make()
    assert re.match(rf"{THIS}:\d+: ", str(raised.value)), raised.value
    assert says in f"{raised.value.message} {raised.value.remedy}"
    assert raised.value.remedy


@pytest.mark.parametrize(
    "windows", [CountWindows(2), GlobalWindows(), TumblingWindows(MINUTE, time="processing")], ids=shown
)
def test_windows_without_event_time_need_no_strategy(windows: WindowAssigner[object]) -> None:
    assert _plan(_keyed(timed=False).window(windows).aggregate(Count())).tasks


def test_a_function_without_merge_can_be_used_where_nothing_is_merged() -> None:
    assert _plan(_keyed().window(TumblingWindows(MINUTE)).aggregate(Bare())).tasks
    assert _plan(_keyed().window(SlidingWindows(MINUTE, SECOND)).trigger(AtEndOfInput()).aggregate(Bare())).tasks


def test_a_windowed_stream_is_never_changed_by_what_is_asked_of_it(tmp_path: Path) -> None:
    plain = _keyed().window(TumblingWindows(MINUTE))
    assert plain.discarding().late_output(OutputTag[int]("late")) is not plain
    assert plain._policy.late == (None,)


def test_a_process_function_that_is_a_class_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="give an instance"):
        _keyed().window(CountWindows(2)).process(WindowProcessFunction)


def test_windows_refuse_the_snapshot_of_another_operator_that_had_their_uid(tmp_path: Path) -> None:
    assigner = TumblingWindows(timedelta(seconds=1), time="processing")
    windows = Keyed(
        MemoryKeyedStore, tmp_path, window_operator(WindowPolicy(assigner), Folded(folding_of((Count(),)), None))
    )
    with pytest.raises(CheckpointError, match="this operator cannot take over"):
        windows.operator.restore([{"calls": []}])
    windows.operator.restore([5000, 7000])
    assert windows.operator.snapshot() == 7000
