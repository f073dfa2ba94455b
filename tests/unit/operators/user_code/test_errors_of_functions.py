"""What is said of an error in a function of the job: its line, what it was raised from, and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import DeadLetter, Job, KeyedProcessFunction, OutputTag, ProcessContext, TumblingWindows
from streamlet.aggregates import AggregateFunction
from streamlet.connect import Sink, Source
from streamlet.errors import ConfigError, JobDefinitionError
from streamlet.windows import Trigger, WindowAssigner, WindowProcessFunction
from streamlet_connectors.files import FileSink, JsonLines
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import make_job, run

MINUTES = TumblingWindows(timedelta(minutes=1))
HERE = str(Path(__file__))


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line)


def parsed(text: str) -> Any:
    return json.loads(text)["a"]  # the inner line


def wraps(number: int) -> Any:
    try:
        return parsed("{bad" if number == 5 else '{"a": 1}')
    except ValueError as error:
        raise RuntimeError("could not parse") from error  # the outer line


def handles_badly(number: int) -> Any:
    try:
        return parsed("{bad")
    except ValueError:
        return [][number]  # while another was handled


def leaves(number: int) -> int:
    if number == 5:
        sys.exit(3)  # here
    return number


async def leaves_async(number: int) -> int:
    return leaves(number)


class Leaves(KeyedProcessFunction[int, int, int]):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield leaves(value)


def said_by(tmp_path: Path, build: Callable[[Job], Any]) -> str:
    job = make_job(tmp_path)
    build(job)
    ran = run(job)
    assert ran.code == 1, ran.said
    return ran.said


def numbers(job: Job) -> Any:
    return job.source(Generator(int, count=20), uid="numbers")


def test_an_error_that_was_raised_from_another_names_both_lines(tmp_path: Path) -> None:
    said = said_by(tmp_path, lambda job: numbers(job).map(wraps, uid="f").sink(FileSink(tmp_path / "out"), uid="out"))
    lines = said.splitlines()
    outer = next(
        number for number, line in enumerate(lines) if f"{HERE}:{line_of('# the outer line')} in wraps" in line
    )
    assert lines[outer].endswith("RuntimeError: could not parse")
    inner = f"  caused by {HERE}:{line_of('# the inner line')} in parsed: JSONDecodeError: Expecting property name"
    assert lines[outer + 2].startswith(inner)
    assert lines[outer + 3].endswith("# the inner line")


def test_an_error_while_another_was_handled_names_both_lines(tmp_path: Path) -> None:
    build = lambda job: numbers(job).map(handles_badly, uid="f").sink(FileSink(tmp_path / "out"), uid="out")  # noqa: E731
    said = said_by(tmp_path, build)
    assert f"{HERE}:{line_of('# while another was handled')} in handles_badly: IndexError" in said
    assert f"caused by {HERE}:{line_of('# the inner line')} in parsed: JSONDecodeError" in said


@pytest.mark.parametrize(
    "build",
    [
        lambda stream: stream.map(leaves, uid="f"),
        lambda stream: stream.filter(leaves, uid="f"),
        lambda stream: stream.map(leaves, uid="f", on_error="skip"),
        lambda stream: stream.map(leaves, uid="f", on_error=OutputTag[DeadLetter]("bad")),
        lambda stream: stream.map_async(leaves_async, uid="f"),
        lambda stream: stream.key_by(leaves, uid="f"),
        lambda stream: stream.key_by(lambda number: number % 2, uid="k").process(Leaves(), uid="f"),
    ],
)
def test_sys_exit_in_a_function_is_an_error_like_others_and_no_end_without_a_word(
    tmp_path: Path, build: Callable[[Any], Any]
) -> None:
    said = said_by(tmp_path, lambda job: build(numbers(job)).sink(FileSink(tmp_path / "out"), uid="out"))
    assert f"{HERE}:{line_of('# here')} in leaves: SystemExit: 3" in said
    assert "record: generator, index 5" in said
    assert "-> raise an error to have the job fail" in said
    assert "restart 1" not in said
    assert "suspended" in said


def test_sys_exit_in_a_source_is_an_error_too(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(leaves, count=20), uid="numbers").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert f"{HERE}:{line_of('# here')} in leaves: SystemExit: 3" in ran.said


class Half(AggregateFunction[int, int, int]):
    def create_accumulator(self) -> int:
        return 0

    def add_value(self, accumulator: int, value: int) -> int:
        return accumulator + value

    def result(self, accumulator: int) -> int:
        return accumulator


class NoTrigger(Trigger[int]):
    pass


class NoWindows(WindowAssigner[int]):
    def assigns(self, value: int, timestamp: int) -> list[Any]:
        return []


class NoProcess(WindowProcessFunction[int, int, int]):
    pass


class NoSource(Source[int]):
    bounded = True


class NoSink(Sink[int]):
    def write(self) -> None:
        pass


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda keyed: keyed.aggregate(Half(), uid="x"),
            "Half has no method add (it has add_value, create_accumulator",
        ),
        (lambda keyed: keyed.window(NoWindows()), "NoWindows has no method assign (it has assigns)"),
        (lambda keyed: keyed.window(MINUTES).trigger(NoTrigger()), "NoTrigger has no method on_rec"),
        (
            lambda keyed: keyed.window(MINUTES).process(NoProcess()),
            "NoProcess has no method process",
        ),
        (lambda keyed: keyed.sink(NoSink(), uid="s"), "NoSink has no method writer (it has write)"),
        (lambda keyed: Job("other").source(NoSource(), uid="s"), "NoSource has no method discover"),
    ],
)
def test_a_class_that_lacks_a_method_is_refused_with_its_name(build: Callable[[Any], Any], words: str) -> None:
    keyed = numbers(Job("job")).key_by(lambda number: number % 2, uid="k")
    with pytest.raises(JobDefinitionError, match=r"define [a-z_]+\(self, ") as caught:
        build(keyed)
    assert words in str(caught.value)
    assert str(caught.value).startswith(HERE)


def test_a_wrong_setting_of_a_job_names_the_line_that_gives_it() -> None:
    with pytest.raises(ConfigError, match="state_memory is 10") as caught:
        Job("job", state_memory=10)  # the setting
    assert str(caught.value).startswith(f"{HERE}:{line_of('# the setting')}: ")


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def says_nothing(number: int) -> int:
    try:
        raise Speechless
    except Speechless as error:
        raise Speechless from error


def test_an_exception_that_cannot_be_printed_is_told_of_with_its_line(tmp_path: Path) -> None:
    said = said_by(
        tmp_path, lambda job: numbers(job).map(says_nothing, uid="step").sink(FileSink(tmp_path / "out"), uid="out")
    )
    assert f"{HERE}:" in said and "Speechless: (its __str__ raised RuntimeError)" in said
    assert "in map 'step'" in said and "record: " in said


class Unlike(msgspec.Struct, frozen=True):
    number: int

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("unlike any other")


class Unhashed(msgspec.Struct, frozen=True):
    number: int

    def __hash__(self) -> int:
        if self.number == 2:
            raise RuntimeError("no hash")
        return 1


@pytest.mark.parametrize(("key", "method", "record"), [(Unlike, "__eq__", 1), (Unhashed, "__hash__", 2)])
def test_a_key_whose_own_methods_fail_is_told_of_with_line_operator_and_record(
    key: Any, method: str, record: int, tmp_path: Path
) -> None:
    def build(job: Job) -> None:
        numbers(job).key_by(lambda number: key(number)).count(uid="counted").sink(FileSink(tmp_path / "out"), uid="out")

    said = said_by(tmp_path, build)
    assert f"{HERE}:" in said and f"in {method}: RuntimeError: " in said
    assert "in aggregate 'counted'" in said and f"record: generator, index {record}" in said


class FailsAtTheEnd(KeyedProcessFunction[int, int, int]):
    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield value

    def close(self) -> None:
        raise self.kind("at the end")  # of the job


@pytest.mark.parametrize("kind", [ValueError, GeneratorExit, SystemExit])
def test_an_error_in_close_names_its_line_and_its_operator(kind: type[BaseException], tmp_path: Path) -> None:
    job = make_job(tmp_path)
    numbers = job.source(Generator(int, count=9), uid="in")
    numbers.key_by(int).process(FailsAtTheEnd(kind), uid="step").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert f"{HERE}:{line_of('# of the job')} in close: {kind.__name__}: at the end" in ran.said, ran
    assert "in process 'step', subtask 0, made at" in ran.said


@pytest.mark.parametrize(
    "words", ["x\n" * 500, "x" * 100_000, "y\n" * 9 + "x" * 100_000], ids=["lines", "long", "both"]
)
def test_what_an_exception_says_at_length_is_cut(words: str, tmp_path: Path) -> None:
    def tells(number: int) -> int:
        raise ValueError(words)  # at length

    job = make_job(tmp_path)
    job.source(Generator(int, count=9), uid="in").map(tells, uid="step").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert f"{HERE}:{line_of('# at length')} in tells: ValueError: {words[:2].strip()}" in ran.said
    assert "... and " in ran.said and len(ran.said) < 6000, ran


class Broken(Source[int]):
    """Raises at one of its steps what is no error of the engine."""

    bounded = True

    def __init__(self, step: str) -> None:
        self.step = step

    def fails_at(self, step: str) -> None:
        if step == self.step:
            raise KeyError("x")  # of the source

    async def discover(self, known: Any) -> Any:
        self.fails_at("discover")
        return {} if known else {"split": 0}

    def reader(self, context: Any, splits: Any) -> Any:
        self.fails_at("reader")
        return self

    async def fetch(self) -> Any:
        self.fails_at("fetch")

    def add_splits(self, splits: Any) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize("step", ["discover", "reader", "fetch"])
def test_an_error_in_the_code_of_a_source_names_its_line_and_the_source(step: str, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Broken(step), uid="in").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert f"{HERE}:{line_of('# of the source')} in fails_at: KeyError: 'x'" in ran.said, ran
    assert "in source 'in', made at " in ran.said and "mend the connector" in ran.said


class BrokenWriter:
    def __init__(self, step: str) -> None:
        self.step = step

    def fails_at(self, step: str) -> None:
        if step == self.step:
            raise OSError("no route")  # of the sink

    async def open(self) -> None:
        self.fails_at("open")

    async def write(self, batch: Any) -> None:
        self.fails_at("write")

    async def prepare_commit(self, checkpoint_id: int) -> Any:
        self.fails_at("prepare")
        return []

    async def released(self, committables: Any) -> None: ...

    async def close(self) -> None: ...


class BrokenSink(Sink[int]):
    def __init__(self, step: str) -> None:
        self.made = BrokenWriter(step)

    def writer(self, context: Any) -> Any:
        self.made.fails_at("writer")
        return self.made


@pytest.mark.parametrize("step", ["writer", "open", "write", "prepare"])
def test_an_error_in_the_code_of_a_sink_names_its_line_and_the_sink(step: str, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(int, count=9), uid="in").sink(BrokenSink(step), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert f"{HERE}:{line_of('# of the sink')} in fails_at: OSError: no route" in ran.said, ran
    assert "in sink 'out', made at " in ran.said and "mend the connector" in ran.said


def test_what_a_connector_refuses_begins_with_the_line_that_made_it(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(JsonLines(tmp_path / "nothing"), uid="in").sink(FileSink(tmp_path / "out"), uid="out")  # no file
    ran = run(job)
    assert f"job: {HERE}:{line_of('# no file')}: source 'in': there is no file" in ran.said, ran
    (tmp_path / "taken").write_text("")
    job = make_job(tmp_path, "other")
    job.source(Generator(int, count=9), uid="in").sink(FileSink(tmp_path / "taken"), uid="out")  # no folder
    ran = run(job)
    assert f"other: {HERE}:{line_of('# no folder')}: sink 'out': cannot write to {tmp_path / 'taken'}" in ran.said, ran
