"""Two streams in one process function: whole jobs, rescaled ones, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet import (
    BroadcastContext,
    BroadcastState,
    Job,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ProcessContext,
    ValueState,
)
from streamlet.errors import CheckpointError, JobDefinitionError, KeyTypeError, StateTypeError
from streamlet.state.broadcast import BroadcastTable
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import Failing, Waiting, lines, make_job, run


class Matching(KeyedCoProcessFunction[int, int, int, list[int]]):
    """Pairs each number of the first stream with the one of the second, whichever comes first."""

    first = ValueState(int)
    second = ValueState(int)

    def process_element1(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[int]]:
        self.first.update(value)
        yield from self._pair()

    def process_element2(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[int]]:
        self.second.update(value)
        yield from self._pair()

    def _pair(self) -> Iterator[list[int]]:
        first, second = self.first.value(), self.second.value()
        if first is not None and second is not None:
            yield [first, second]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_records_of_both_streams_with_one_key_meet(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    first = job.source(Generator(int, count=40), uid="first").key_by(lambda number: number)
    second = job.source(Generator(lambda number: 10 * number, count=40), uid="second").key_by(lambda ten: ten // 10)
    first.connect(second).process(Matching(), uid="match").sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == [[number, 10 * number] for number in range(40)]


def test_keys_of_two_types_are_refused_with_the_record(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    first = job.source(Generator(int, count=4), uid="first").key_by(lambda number: number)
    second: Any = job.source(Generator(int, count=4), uid="second").key_by(str)
    first.connect(second).process(Matching(), uid="match").sink(Print(), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert "process 'match'" in ran.said


class Naming(KeyedBroadcastProcessFunction[int, int, list[Any], list[Any]]):
    """Emits each number above 20 with what the table says of it."""

    names = BroadcastState(int, str)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[Any]]:
        if value >= 20:
            yield [value, self.names.get(value % 5)]

    def process_broadcast_element(self, value: list[Any], ctx: BroadcastContext) -> None:
        self.names.put(value[0], value[1])


def _naming(folder: Path, parallelism: int, passing: Callable[[int], int]) -> Job:
    job = make_job(folder, parallelism=parallelism)
    # Behind two checkpoints every rule has come.
    numbers = job.source(Waiting(60, 10, 20), uid="numbers", parallelism=1).map(passing, uid="passing", parallelism=1)
    rules = job.source(Generator(lambda number: [number, f"n{number}"], count=5), uid="rules")
    named = numbers.key_by(lambda number: number).connect_broadcast(rules).process(Naming(), uid="naming")
    named.sink(FileSink(folder / "out"), uid="out")
    return job


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 2), (2, 1)])
def test_every_subtask_has_the_whole_table_after_a_rescale(before: int, after: int, tmp_path: Path) -> None:
    assert run(_naming(tmp_path, before, Failing(40, for_ever=True))).code == 1
    assert run(_naming(tmp_path, after, Failing())).code == 0
    assert sorted(lines(tmp_path / "out")) == [[number, f"n{number % 5}"] for number in range(20, 60)]


def test_a_generator_as_process_broadcast_element_is_an_error_of_its_record(tmp_path: Path) -> None:
    class Yielding(Naming):
        def process_broadcast_element(self, value: list[Any], ctx: BroadcastContext) -> Any:
            yield value

    job = make_job(tmp_path)
    numbers = job.source(Generator(int, count=1), uid="numbers")
    rules = job.source(Generator(lambda number: [number, ""], count=1), uid="rules")
    numbers.key_by(abs).connect_broadcast(rules).process(Yielding(), uid="naming").sink(Print(), uid="out")
    assert "must give None (and not yield)" in run(job).said


def test_a_table_is_changed_by_broadcast_elements_only() -> None:
    table: BroadcastTable[int, str] = BroadcastState(int, str).table("op")
    changes: list[Callable[[], None]] = [lambda: table.put(1, "a"), lambda: table.remove(1), table.clear]
    for change in changes:
        with pytest.raises(JobDefinitionError, match="changed outside of process_broadcast_element"):
            change()


def test_a_table_refuses_other_types_and_gives_copies_of_what_can_change() -> None:
    table: BroadcastTable[int, list[int]] = BroadcastState(int, list[int]).table("op")
    table.is_writable = True
    table.put(1, [1])
    (table.get(1) or []).append(2)
    assert table.get(1) == [1]
    with pytest.raises(KeyTypeError):
        table.put(True, [1])
    with pytest.raises(StateTypeError):
        table.put(1, ["text"])  # type: ignore[list-item]
    other: BroadcastTable[int, str] = BroadcastState(int, str).table("op")
    with pytest.raises(CheckpointError, match=r"declared as \[int, str\], but the checkpoint has \[int, list\[int\]\]"):
        other.restore(table.snapshot())


def test_a_snapshot_of_a_table_has_every_change_and_an_unchanged_table_is_not_packed_again() -> None:
    table: BroadcastTable[int, str] = BroadcastState(int, str).table("op")
    table.is_writable = True
    changes: list[tuple[Callable[[], None], dict[int, str]]] = [
        (lambda: None, {}),
        (lambda: table.put(1, "a"), {1: "a"}),
        (lambda: table.put(2, "b"), {1: "a", 2: "b"}),
        (lambda: table.put(1, "c"), {1: "c", 2: "b"}),
        (lambda: table.remove(2), {1: "c"}),
        (table.clear, {}),
    ]
    for change, content in changes:
        change()
        snapshot = table.snapshot()
        other: BroadcastTable[int, str] = BroadcastState(int, str).table("op")
        other.restore(snapshot)
        assert dict(other.items()) == content
        assert table.snapshot()["entries"] is snapshot["entries"]
        assert other.snapshot() == snapshot


def test_what_does_not_connect_is_refused_with_the_line() -> None:
    job, other = Job("j"), Job("other")
    numbers = job.source(Generator(int, count=1), uid="in")
    keyed, any_function = numbers.key_by(abs), _any(Matching())
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: keyed.connect(_any(numbers)), "connect takes a keyed stream"),
        (lambda: keyed.connect(other.source(Generator(int, count=1)).key_by(abs)), "connect takes a keyed stream"),
        (lambda: keyed.connect_broadcast(_any(3)), "connect_broadcast takes a stream"),
        (lambda: keyed.connect(keyed).process(_any(Naming())), "process takes a KeyedCoProcessFunction"),
        (lambda: keyed.connect_broadcast(numbers).process(any_function), "takes a KeyedBroadcastProcessFunction"),
    ]
    for build, message in refused:
        with pytest.raises(JobDefinitionError, match=rf"{__file__}:\d+: .*{message}"):
            build()


def test_broadcast_state_of_a_function_without_a_broadcast_stream_is_refused() -> None:
    class Lonely(KeyedProcessFunction[int, int, int]):
        names = BroadcastState(int, str)

        def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
            pass

    job = Job("j")
    job.source(Generator(int, count=1), uid="in").key_by(abs).process(Lonely(), uid="lonely").sink(Print(), uid="out")
    with pytest.raises(JobDefinitionError, match="process 'lonely': broadcast state needs a stream"):
        job.plan()


def _any(value: object) -> Any:
    return value
