"""What cannot mean anything is refused with the user's line and a remedy: by the graph, or with the record.

Each is a whole job that is started as `job.run()` starts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import (
    Job,
    KeyedProcessFunction,
    OutputTag,
    ProcessContext,
    SessionWindows,
    SlidingWindows,
    Stream,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
    Window,
)
from streamlet.aggregates import AggregateFunction
from streamlet.errors import JobDefinitionError
from streamlet.windows import Trigger, TriggerContext, WindowAssigner, WindowContext, WindowProcessFunction
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import make_job, run

MS, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)


class Empty(WindowAssigner[int]):
    def assign(self, value: int, timestamp: int) -> Iterable[Window]:
        return [Window(timestamp, timestamp)]


class Broken(WindowAssigner[int]):
    def assign(self, value: int, timestamp: int) -> Any:
        return None if timestamp >= 0 else ()


class Bare(WindowAssigner[int]):
    def assign(self, value: int, timestamp: int) -> Any:
        return Window(timestamp, timestamp + 1)


class Pairs(WindowAssigner[int]):
    def assign(self, value: int, timestamp: int) -> Any:
        return [(timestamp, timestamp + 1)]


def _stream(job: Job, time: Any = abs) -> Any:
    times = WatermarkStrategy[Any].monotonic().with_timestamps(time)
    return job.source(Generator(lambda one: one, count=9), watermarks=times, uid=f"numbers-{len(job.graph.nodes)}")


def _keyed(job: Job, time: Any = abs) -> Any:
    return _stream(job, time).key_by(lambda one: one % 3)


def _bare(job: Job) -> Any:
    return job.source(Generator(lambda one: one, count=9), uid="bare")


def _both(one: Any, *others: Any) -> Any:
    return one


WITH_A_RECORD: dict[str, tuple[Callable[[Job], Stream[Any]], str]] = {
    "a time that is None": (lambda job: _stream(job, lambda one: None), "function gave None as the time"),
    "a time that is text": (lambda job: _stream(job, lambda one: str(one)), "function gave '0' as the time"),
    "a time before all time": (
        lambda job: _stream(job, lambda one: -(1 << 62) - one),
        "function gave -4611686018427387",
    ),
    "a time in parts of a millisecond": (lambda job: _stream(job, lambda one: one / 2), "function gave 0.0 as the"),
    "a session without a gap": (
        lambda job: _keyed(job).window(SessionWindows(lambda one: (5 - one) * MS)).count(),
        "the gap of a session is datetime.timedelta(0)",
    ),
    "an own window that holds no time": (lambda job: _keyed(job).window(Empty()).count(), "which holds no time"),
    "an own assigner that gives no windows": (lambda job: _keyed(job).window(Broken()).count(), "gave None where"),
    "an own assigner that gives one bare window": (
        lambda job: _keyed(job).window(Bare()).count(),
        "assign gave a Window where it gives a list of windows",
    ),
    "an own assigner that gives pairs": (
        lambda job: _keyed(job).window(Pairs()).count(),
        "assign gave a tuple among its windows where it gives a list of windows",
    ),
    "a key that can be none": (
        lambda job: _bare(job).key_by(lambda one: [one]).count(),
        "list",
    ),
}


@pytest.mark.parametrize("name", WITH_A_RECORD)
def test_a_record_that_shows_it_is_named_with_the_users_line_and_a_remedy(name: str, tmp_path: Path) -> None:
    build, says = WITH_A_RECORD[name]
    job = make_job(tmp_path)
    build(job).sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 1, ran
    assert says in ran.said
    assert re.search(rf"{re.escape(__file__)}:\d+", ran.said), ran
    assert "record: " in ran.said or "key" in ran.said, ran


def _dicts(job: Job) -> Any:
    return _stream(job).map(lambda one: {"n": one}).key_by("n")


def _seconds(job: Job) -> Any:
    return _dicts(job).window(TumblingWindows(SECOND))


class Listing(WindowProcessFunction[int, Any, int]):
    def process(self, key: int, window: Window, values: list[Any], ctx: WindowContext[int]) -> list[int]:
        return [len(values)]


class Newest(AggregateFunction[Any, Any, Any]):
    def create_accumulator(self) -> None: ...

    def add(self, accumulator: Any, value: Any) -> Any:
        return value

    def result(self, accumulator: Any) -> Any:
        return accumulator


UNTYPED: dict[str, tuple[Callable[[Job], Stream[Any]], str]] = {
    "reduce": (lambda job: _dicts(job).reduce(_both), "e.g. type=dict;"),
    "windowed reduce": (lambda job: _seconds(job).reduce(_both), "e.g. type=dict;"),
    "reduce of sessions": (lambda job: _dicts(job).window(SessionWindows(MS)).reduce(_both), "theirs by type=...;"),
    "process of windows": (lambda job: _seconds(job).process(Listing()), "e.g. type=dict;"),
    "batch": (lambda job: _dicts(job).batch(2, within=SECOND), "e.g. type=dict;"),
    "top_k": (lambda job: _dicts(job).top_k(2, len), "theirs by type=...;"),
    "collect of windows": (lambda job: _seconds(job).collect(), "theirs by type=...;"),
    "min": (lambda job: _dicts(job).min(lambda one: (1, 2)), "theirs by type=...;"),
    "an own aggregate": (lambda job: _dicts(job).aggregate(Newest()), "e.g. accumulator_type=dict;"),
    "the left of a join": (lambda job: _dicts(job).as_of_join(_keyed(job, abs), _both), "e.g. left_type=dict;"),
    "the right of a window_join": (
        lambda job: _keyed(job).window_join(_dicts(job), TumblingWindows(SECOND), _both),
        "e.g. right_type=dict;",
    ),
    "the table of a lookup": (
        lambda job: _stream(job).lookup_join(
            _dicts(job), _both, key=str, table_key=lambda one: str(one["n"]), wait_for="nothing"
        ),
        "e.g. table_type=dict;",
    ),
    "a state of the user's own": (lambda job: _dicts(job).process(Keeping()), "e.g. ValueState(list[int]);"),
}


class Keeping(KeyedProcessFunction[int, Any, Any]):
    kept = ValueState()

    def process_element(self, value: Any, ctx: ProcessContext[int]) -> None:
        self.kept.update(value)


@pytest.mark.parametrize("name", UNTYPED)
def test_a_value_without_a_type_is_refused_with_the_option_that_says_it(name: str, tmp_path: Path) -> None:
    build, says = UNTYPED[name]
    job = make_job(tmp_path)
    build(job).sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 1, ran
    assert says in ran.said
    assert re.search(rf"{re.escape(__file__)}:\d+", ran.said), ran


class Setting(Trigger[int]):
    def __init__(self, *timer: Any) -> None:
        self.timer = timer

    def on_record(self, value: int, timestamp: int, ctx: TriggerContext) -> bool:
        ctx.set_timer(*self.timer)
        return False


@pytest.mark.parametrize("timer", [(1.5,), (True,), (None,), (5, "wall"), (5, "event time"), (-(1 << 70), "event")])
def test_a_timer_of_a_trigger_that_is_none_is_refused_at_the_users_line(timer: Any, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    windows = _keyed(job).window(TumblingWindows(SECOND)).trigger(Setting(*timer))
    windows.count().sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 1, ran
    assert f"set_timer({timer[0]!r}, " in ran.said
    assert re.search(rf"{re.escape(__file__)}:\d+ in on_record", ran.said), ran
    assert "write ctx.set_timer(timestamp + 60_000)" in ran.said


BY_THE_GRAPH: dict[str, tuple[Callable[[Job], Any], str]] = {
    "a window of no length": (lambda job: _keyed(job).window(TumblingWindows(timedelta(0))), "size of a window"),
    "a slide of no length": (lambda job: _keyed(job).window(SlidingWindows(SECOND, timedelta(0))), "slide of windows"),
    "a session of no gap": (lambda job: _keyed(job).window(SessionWindows(timedelta(0))), "gap of sessions"),
    "windows without keys": (lambda job: _stream(job).window(TumblingWindows(SECOND)), "for streams with keys"),
    "an aggregate without keys": (lambda job: _stream(job).aggregate(), "for streams with keys"),
    "an interval_join without keys": (
        lambda job: _stream(job).interval_join(_bare(job), _both, lower=-MS, upper=MS),
        "interval_join is for streams with keys",
    ),
    "a join with a stream without keys": (
        lambda job: _keyed(job).as_of_join(_bare(job), _both),
        "as_of_join takes a keyed stream",
    ),
    "a window_join with a stream without keys": (
        lambda job: _keyed(job).window_join(_bare(job), TumblingWindows(SECOND), _both),
        "window_join takes a keyed stream",
    ),
    "a lateness by the clock": (
        lambda job: _keyed(job).window(TumblingWindows(SECOND, time="processing")).allowed_lateness(SECOND),
        "nothing is ever late",
    ),
    "a late output of a join by the clock": (
        lambda job: _keyed(job).window_join(
            _keyed(job), TumblingWindows(SECOND, time="processing"), _both, left_late=OutputTag[Any]("late")
        ),
        "nothing is ever late",
    ),
    "event time without a strategy": (
        lambda job: _bare(job).key_by(abs).window(TumblingWindows(SECOND)).count().sink(FileSink("out")) and job.plan(),
        "works by event time",
    ),
}


@pytest.mark.parametrize("name", BY_THE_GRAPH)
def test_the_graph_refuses_it_at_the_users_line_with_a_remedy(name: str, tmp_path: Path) -> None:
    build, says = BY_THE_GRAPH[name]
    job = make_job(tmp_path)
    with pytest.raises(JobDefinitionError, match=re.escape(says)) as caught:
        build(job)
    assert str(caught.value).startswith(f"{__file__}:")
    assert caught.value.remedy
