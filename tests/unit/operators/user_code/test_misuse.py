"""Mistakes in users' functions that Python does not notice: refused with the user's line, the thing and the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import (
    Count,
    Job,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ListState,
    MapState,
    OutputTag,
    ProcessContext,
    ReducingState,
    SessionWindows,
    Stream,
    Sum,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
)
from streamlet.aggregates import AggregateFunction
from streamlet.errors import JobDefinitionError
from streamlet.operators.user_code.misuse import a_kind
from streamlet.windows import CountWindows, Trigger, WindowProcessFunction
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import lines, make_job, run


async def later(number: int) -> int:
    return number


class Base(KeyedProcessFunction[int, int, Any]):
    """Does nothing right yet."""

    kept = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        return None


class Assigns(Base):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        self.kept = (self.kept or 0) + value  # type: ignore[assignment, operator]
        yield value


class AssignsElsewhere(Base):
    many = ListState(int)

    def open(self) -> None:
        self.many = []  # type: ignore[assignment]


class AssignsQuietly(Base):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        setattr(self, "kept", value)  # noqa: B010
        yield value


class DeclaresInInit(KeyedProcessFunction[int, int, int]):
    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.table = MapState(str, int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield value


class Misspelt(KeyedProcessFunction[int, int, int]):
    def process(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield value


class HalfOfTwo(KeyedCoProcessFunction[int, int, int, int]):
    def process_element1(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield value


class NoContext(KeyedProcessFunction[int, int, int]):
    def process_element(self, value: int) -> Any:  # type: ignore[override]
        yield value


class NoTimerContext(Base):
    def on_timer(self, timestamp: int) -> Any:  # type: ignore[override]
        yield timestamp


@dataclass
class Totals:
    n: int
    total: int = 0


class Asynchronous(Base):
    async def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield value


class Reduces(KeyedProcessFunction[int, int, int]):
    total = ReducingState(lambda one, other: one + other, int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        self.total = self.total + value  # type: ignore[operator, assignment]
        yield value


class TakesNoWindow(WindowProcessFunction[int, int, int]):
    def process(self, key: int, values: list[int]) -> Any:  # type: ignore[override]
        yield len(values)


class TakesNoTime(Trigger[int]):
    def on_record(self, value: int, ctx: Any) -> bool:  # type: ignore[override]
        return True


class Waits(Trigger[int]):
    async def on_record(self, value: int, timestamp: int, ctx: Any) -> bool:  # type: ignore[override]
        return True


class Appends(AggregateFunction[int, Any, Any]):
    accumulator_type = list

    def create_accumulator(self) -> Any:
        return []

    def add(self, accumulator: Any, value: int) -> Any:
        accumulator.append(value)

    def result(self, accumulator: Any) -> Any:
        return accumulator


def forgets(value: int) -> Any:
    value > 5  # noqa: B015


MINUTE = TumblingWindows(timedelta(minutes=1))
FORGETS = f"{__file__}:{forgets.__code__.co_firstlineno}"


def _source(job: Job) -> Stream[int]:
    return job.source(Generator(lambda i: i, count=9), uid="in")


def _line_of(made: type[Any], method: str, offset: int = 1) -> str:
    return f"{__file__}:{getattr(made, method).__code__.co_firstlineno + offset}"


BEFORE_IT_RUNS: dict[str, tuple[Callable[[Any], object], list[str]]] = {
    "a window's function that takes too little": (
        lambda s: s.key_by(int).window(MINUTE).process(TakesNoWindow()),
        [_line_of(TakesNoWindow, "process", 0), "is called with (key, window, values, ctx)"],
    ),
    "a trigger that takes too little": (
        lambda s: s.key_by(int).window(MINUTE).trigger(TakesNoTime()),
        [_line_of(TakesNoTime, "on_record", 0), "(self, value, timestamp, ctx)"],
    ),
    "an asynchronous trigger": (
        lambda s: s.key_by(int).window(MINUTE).trigger(Waits()),
        [_line_of(Waits, "on_record", 0), "is asynchronous"],
    ),
    "an aggregate that gives nothing": (
        lambda s: s.key_by(int).aggregate(Appends()),
        [_line_of(Appends, "add", 0), "Appends.add", "no `return` with a value"],
    ),
    "a filter without a return": (lambda s: s.filter(forgets), [FORGETS, "of filter", "write `return ...`"]),
    "a map without a return": (lambda s: s.map(forgets), [FORGETS, "of map", "goes to inspect"]),
    "a key without a return": (lambda s: s.key_by(forgets), [FORGETS, "of key_by"]),
    "a watermark function of one argument": (
        lambda s: WatermarkStrategy[Any].from_function(lambda v: v),  # type: ignore[misc, arg-type]
        ["test_misuse.py", "2 arguments (value, timestamp)"],
    ),
    "a time function without a return": (
        lambda s: WatermarkStrategy[Any].monotonic().with_timestamps(forgets),
        [FORGETS, "of with_timestamps"],
    ),
    "a gap of no arguments": (
        lambda s: SessionWindows(lambda: timedelta(seconds=1)),  # type: ignore[misc, arg-type]
        ["test_misuse.py", "one argument (value)"],
    ),
    "a time to live that is a number": (
        lambda s: ValueState(int, ttl=3600),  # type: ignore[call-overload]
        ["test_misuse.py", "ttl=3600", "timedelta(seconds=3600)", "ttl=timedelta(hours=1)"],
    ),
    "a state that is assigned to": (
        lambda s: s.key_by(int).process(Assigns()),
        [_line_of(Assigns, "process_element"), "self.kept = ", "write self.kept.update(value)"],
    ),
    "a state that is assigned to in open": (
        lambda s: s.key_by(int).process(AssignsElsewhere()),
        [_line_of(AssignsElsewhere, "open"), "self.many = ", "self.many.add(value)"],
    ),
    "a reducing state that is assigned to": (
        lambda s: s.key_by(int).process(Reduces()),
        [_line_of(Reduces, "process_element"), "self.total.add(value)"],
    ),
    "a state that is made in a method": (
        lambda s: s.key_by(int).process(DeclaresInInit(2)),
        ["test_misuse.py", "'table'", "in the body of the class: table = MapState(...)"],
    ),
    "a method of another name": (
        lambda s: s.key_by(int).process(Misspelt()),
        ["Misspelt has no method process_element (it has process)", "define process_element(self, value"],
    ),
    "one method of two": (
        lambda s: s.key_by(int).connect(s.key_by(int)).process(HalfOfTwo()),
        ["HalfOfTwo has no method process_element2"],
    ),
    "an asynchronous method": (
        lambda s: s.key_by(int).process(Asynchronous()),
        [_line_of(Asynchronous, "process_element", 0), "is asynchronous", "map_async"],
    ),
    "a method without ctx": (
        lambda s: s.key_by(int).process(NoContext()),
        [
            _line_of(NoContext, "process_element", 0),
            "NoContext.process_element is called with (value, ctx), which def process_element(self, value",
            "does not take",
        ],
    ),
    "a timer method without ctx": (
        lambda s: s.key_by(int).process(NoTimerContext()),
        ["is called with (timestamp, ctx)", "write it as def on_timer(self, timestamp, ctx)"],
    ),
    "a map of no argument": (
        lambda s: s.map(lambda: 1),
        ["map calls its function with one argument (value), which", "write it as a function of value"],
    ),
    "a reduce of one argument": (
        lambda s: s.key_by(int).reduce(lambda one: one, type=int),
        ["reduce calls its function with 2 arguments (what there is, value)"],
    ),
    "a result of too few": (
        lambda s: s.key_by(int).aggregate(Count(), Sum(int), result=lambda key, one: one),
        ["result= calls its function with 3 arguments (key, count, sum)"],
    ),
    "a result of a window of too few": (
        lambda s: s.key_by(int).window(CountWindows(2)).aggregate(Count(), result=lambda key, one: one),
        ["result= calls its function with 3 arguments (key, window, count)"],
    ),
    "a class of other names": (
        lambda s: s.key_by(int).aggregate(n=Count(), sum=Sum(int), into=Totals),
        ["Totals does not take the results n, sum: got an unexpected keyword argument 'sum'"],
    ),
    "an asynchronous map without a return": (
        lambda s: s.map_async(_forgets, uid="step"),
        ["the function of map_async is called for what it gives, and _forgets gives nothing", "write `return ...`"],
    ),
    "a map that yields": (lambda s: s.map(_yields), ["map takes a function that gives one result", "flat_map"]),
    "a filter that yields": (lambda s: s.filter(_yields), ["filter takes a function that gives one result"]),
    "a key that is yielded": (lambda s: s.key_by(_yields), ["key_by takes a function that gives one result"]),
}


async def _forgets(number: int) -> None:
    await later(number)


def _yields(number: int) -> Any:
    yield number


@pytest.mark.parametrize("mistake", BEFORE_IT_RUNS)
def test_it_is_refused_before_the_job_runs(mistake: str) -> None:
    build, words = BEFORE_IT_RUNS[mistake]
    with pytest.raises(JobDefinitionError) as raised:
        build(_source(Job("job")))
    said = str(raised.value)
    assert said.startswith(__file__) and "\n  -> " in said
    assert all(word in said for word in words), said


def test_a_state_of_another_class_may_be_assigned_to() -> None:
    class Holder:
        kept = 0

    class Fine(Base):
        def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
            holder = Holder()
            holder.kept = value
            self.last = value
            yield holder.kept

    _source(Job("job")).key_by(int).process(Fine())


class Gives(KeyedProcessFunction[int, int, Any]):
    def __init__(self, what: Any) -> None:
        self.what = what

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        return later(value) if self.what is later else self.what


def _giving(what: Any) -> tuple[Callable[[Stream[int]], Stream[Any]], list[str]]:
    said = ["where it gives what it emits, each result by itself", "`yield value`", f"gave {a_kind(what)}"]
    return lambda s: s.key_by(int).process(Gives(what), uid="step"), said


LONELY = ValueState(int)


class UsesGlobal(Base):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        LONELY.update(value)


class Asks(Base):
    pages = MapState(str, int)
    total = ReducingState(max, int)

    def __init__(self, name: str) -> None:
        self.name = name

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        if not getattr(self, self.name):
            yield value


def _asking(name: str) -> Callable[[Stream[int]], Stream[Any]]:
    return lambda s: s.key_by(int).process(Asks(name), uid="step")


class PutsUnderText(Base):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        ctx.output("late", value)  # type: ignore[arg-type]
        yield value


async def gives_later(number: int) -> Any:
    return later(number)


WHILE_IT_RUNS: dict[str, tuple[Callable[[Any], Stream[Any]], list[str]]] = {
    "a map that gives coroutines": (
        lambda s: s.map(lambda n: later(n), uid="step"),
        ["a coroutine that nobody awaits (later)", "write the function as `async def` that awaits it"],
    ),
    "a filter that gives coroutines": (lambda s: s.filter(lambda n: later(n), uid="step"), ["(later)", "map_async"]),
    "a flat_map that gives coroutines": (
        lambda s: s.flat_map(lambda n: later(n), uid="step"),
        ["(later)"],
    ),
    "a map that gives generators": (lambda s: s.map(lambda n: _yields(n), uid="step"), ["a generator", "flat_map"]),
    "a flat_map that gives numbers": (
        lambda s: s.flat_map(lambda n: n, uid="step"),
        ["gave an int where it gives what it emits"],
    ),
    **{f"a process function that gives {what!r}": _giving(what) for what in (3, "hello", b"x", {"a": 1}, True)},
    "a process function that gives a coroutine": (lambda s: s.key_by(int).process(Gives(later), uid="step"), ["later"]),
    **{
        f"a condition on the state {name} itself": (
            _asking(name),
            ["in process_element: JobDefinitionError: a state is not what it holds", "read it: value()"],
        )
        for name in ("kept", "pages", "total")
    },
    "a text as the tag of a side output": (
        lambda s: s.key_by(int).process(PutsUnderText(), uid="step"),
        ["in process_element: JobDefinitionError: output() takes an OutputTag and a value, not 'late' as a tag"],
    ),
    "an asynchronous map that gives coroutines": (
        lambda s: s.map_async(gives_later, uid="step"),
        ["a coroutine that nobody awaits (later)"],
    ),
    "an asynchronous filter that gives coroutines": (lambda s: s.filter(gives_later, uid="step"), ["(later)"]),
    "an asynchronous map with a plain function": (
        lambda s: s.map_async(lambda n: n, uid="step"),
        ["the function gave an int, which cannot be awaited", "write it as `async def`"],
    ),
    "a state outside of a class": (
        lambda s: s.key_by(int).process(UsesGlobal(), uid="step"),
        ["ValueState has no update here: a state is declared in the body of a process function's class"],
    ),
    "a state that is replaced without a trace": (
        lambda s: s.key_by(int).process(AssignsQuietly(), uid="step"),
        ["AssignsQuietly has put an int in the place of its state 'kept'", "self.kept.update(value)"],
    ),
}


TRIED_AGAIN = {"a state outside of a class"}
"""Errors of Python's own, which may pass."""


@pytest.mark.parametrize("mistake", WHILE_IT_RUNS)
def test_it_is_told_at_the_first_record_and_the_job_stops_at_once(mistake: str, tmp_path: Path) -> None:
    build, words = WHILE_IT_RUNS[mistake]
    job = make_job(tmp_path)
    build(_source(job)).sink(Print(), uid="out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ran = run(job)
    assert ran.code != 0 and ("restart" not in ran.said or mistake in TRIED_AGAIN)
    said = ran.said.split("\n", 1)[1]
    assert f"job: {__file__}:" in said and ("\n  -> " in said or mistake in TRIED_AGAIN)
    assert all(word in said for word in words), said


def test_under_a_policy_such_a_result_costs_its_record_only(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    emits: Any = lambda n: n if n == 3 else [n]  # noqa: E731
    kept = _source(job).flat_map(emits, on_error="skip", uid="some")
    kept.sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == [0, 1, 2, 4, 5, 6, 7, 8]


KNOWN = OutputTag[int]("known")
TAKEN = OutputTag[int]("taken")


class PutsAside(KeyedProcessFunction[int, int, int]):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        ctx.output(KNOWN, value)
        ctx.output(OutputTag[int]("inline"), value)
        ctx.output(TAKEN, value)
        yield value


def test_a_side_output_that_nobody_takes_is_told_of_once_with_what_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(tmp_path)
    done = _source(job).key_by(int).process(PutsAside(), uid="step")
    line = done._job.graph.nodes[done._node].place.line
    done.sink(FileSink(str(tmp_path / "out")), uid="out")
    done.side_output(TAKEN).sink(Print("taken: "), uid="aside")
    ran = run(job)
    (known,) = [one for one in ran.said.splitlines() if "'known'" in one]
    assert known.startswith(f"warning: {__file__}:{line}: nobody takes what process 'step' puts out under 'known'")
    assert f"(taken is 'taken' at {__file__}:{line + 3})" in known
    (inline,) = [one.getMessage() for one in caplog.records if "'inline'" in one.getMessage()]
    assert inline.startswith(f"{__file__}:{line}: process 'step' puts records out under 'inline', which nobody takes")
    assert ran.said.splitlines()[-1].endswith("18 not taken")


def test_a_run_says_what_has_no_uid(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    _source(job).key_by(int).count().sink(Print(), uid="out")
    said = [one for one in run(job).said.splitlines() if "has no uid of its own" in one]
    assert len(said) == 1 and "aggregate 'aggregate-" in said[0] and said[0].startswith(f"warning: {__file__}:")
