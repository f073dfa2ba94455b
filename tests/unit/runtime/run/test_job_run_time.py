"""Event time in whole jobs: what is late, also after a restore; side outputs, two inputs, clocks, ends, errors."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job, KeyedProcessFunction, OutputTag, ProcessContext, Stream, ValueState, WatermarkStrategy
from streamlet.connect import Batch, Position, ReaderContext, Source
from streamlet.dsl import KeyedStream
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge, Routing
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.windows import MAX_TIMESTAMP, MIN_TIMESTAMP
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import BACKENDS, Waiting, checkpoint_at, files, lines, make_job, run, storage

LATE = OutputTag[int]("late")
COUNT, CUT = 80, 10
PAUSES = tuple(range(CUT, COUNT, CUT))
TIMES = [max(0, 100 * one + random.Random(one).randint(-1500, 0)) for one in range(COUNT)]
"""Out of order by up to 15 records, where a watermark follows 5 records behind."""
BOUNDED = WatermarkStrategy.bounded_out_of_orderness(timedelta(milliseconds=500))


def time_of(number: int) -> int:
    return TIMES[number]


class Sorting(KeyedProcessFunction[int, int, int]):
    """Puts late numbers aside."""

    seen = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[int]:
        assert ctx.timestamp == TIMES[value]
        self.seen.update(value)
        if ctx.timestamp <= ctx.current_watermark:
            ctx.output(LATE, value)
        else:
            yield value


def late_numbers() -> list[int]:
    """The oracle: the watermark stands behind the newest of all earlier batches."""
    late, newest = [], MIN_TIMESTAMP
    for first in range(0, COUNT, CUT):
        cut = range(first, first + CUT)
        late += [one for one in cut if TIMES[one] <= newest - 501]
        newest = max(newest, *(TIMES[one] for one in cut))
    return late


def _late_job(folder: Path, parallelism: int, backend: str) -> Job:
    job = make_job(folder, parallelism=parallelism, state_backend=backend, batch_records=CUT)
    sorted_out = (
        job.source(Waiting(COUNT, *PAUSES), uid="numbers", watermarks=BOUNDED.with_timestamps(time_of), parallelism=1)
        .flat_map(lambda one: [one], uid="same")
        .filter(lambda one: True, uid="all")
        .key_by(lambda one: one % 5)
        .process(Sorting(), uid="sort")
    )
    sorted_out.sink(FileSink(str(folder / "fine")), uid="fine")
    sorted_out.side_output(LATE).map(lambda one: one, uid="again").sink(FileSink(str(folder / "late")), uid="late")
    return job


def test_the_oracle_finds_late_and_other_records() -> None:
    assert 5 < len(late_numbers()) < COUNT - 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_restored_job_calls_the_same_records_late_from_every_boundary(
    parallelism: int, backend: str, tmp_path: Path
) -> None:
    ran = run(_late_job(tmp_path, parallelism, backend))
    assert ran.code == 0, ran
    late = late_numbers()
    fine = sorted(set(range(COUNT)) - set(late))
    if parallelism == 1:
        assert (lines(tmp_path / "late"), lines(tmp_path / "fine")) == (late, fine)
    for position in PAUSES if parallelism == 1 else PAUSES[1::3]:
        before = [*files(tmp_path / "late"), *files(tmp_path / "fine")]
        back = checkpoint_at(tmp_path, position)
        ran = run(_late_job(tmp_path, parallelism, backend), from_checkpoint=str(back))
        assert ran.code == 0, ran
        found = lines(tmp_path / "late", but=before), lines(tmp_path / "fine", but=before)
        expected = [one for one in late if one >= position], [one for one in fine if one >= position]
        if parallelism == 1:
            assert found == expected
        else:
            # A watermark may come to a subtask behind the next batch: then fewer are late, never more.
            assert set(found[0]) <= set(expected[0])
            assert sorted(found[0] + found[1]) == sorted(expected[0] + expected[1])


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_watermarks_survive_another_parallelism(before: int, after: int, tmp_path: Path) -> None:
    assert run(_late_job(tmp_path, before, "memory")).code == 0
    older = [*files(tmp_path / "late"), *files(tmp_path / "fine")]
    back = checkpoint_at(tmp_path, 40)
    assert run(_late_job(tmp_path, after, "memory"), from_checkpoint=str(back)).code == 0
    first_batch = set(range(40, 50))
    late = set(lines(tmp_path / "late", but=older))
    # Of the batch behind the restore the watermark is known: what was late is late again.
    assert late & first_batch == set(late_numbers()) & first_batch
    assert sorted([*late, *lines(tmp_path / "fine", but=older)]) == list(range(40, COUNT))


class Joined(Operator):
    """Two keyed inputs, one store: pairs what both have under a key."""

    def declared_states(self) -> Mapping[str, Any]:
        return {"left": ValueState(int), "right": ValueState(int)}

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None
        self.cells = [context.store.value_cells(context.states[name]) for name in ("left", "right")]
        self.sums: dict[Any, list[int]] = {}

    def process(self, batch: Batch[Any], out: Emit) -> None:
        raise AssertionError("an operator with several inputs is asked by input")

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        for slot, value in zip(batch.keys or (), batch.values, strict=True):
            both = self.sums.setdefault(slot, [0, 0])
            both[index] += value

    def on_watermark(self, timestamp: int, out: Emit) -> None:
        if timestamp == MAX_TIMESTAMP:
            out(Batch([[slot.key, *both] for slot, both in self.sums.items()]))


@pytest.mark.parametrize("parallelism", [1, 3])
def test_two_keyed_inputs_meet_in_one_store_under_one_slot_per_key(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    numbers = job.source(Generator(int, count=100), uid="numbers", parallelism=1)
    left = numbers.key_by(lambda one: one % 7, uid="left")
    right = numbers.filter(lambda one: one >= 50, uid="big").key_by(lambda one: one % 7, uid="right")
    edges = [Edge(left._node, Routing.HASH), Edge(right._node, Routing.HASH)]
    joined: Stream[Any] = Stream(job, job.add("join", Joined, edges, "join", None))
    joined.sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    expected = [[key, sum(range(key, 100, 7)), sum(n for n in range(50, 100) if n % 7 == key)] for key in range(7)]
    assert sorted(lines(tmp_path / "out")) == expected


class Ticking(Operator):
    """Is called by the clock some time after its first record; the source waits for it."""

    called = False

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.at: int | None = self.context.now_ms() + 30

    def next_clock_ms(self) -> int | None:
        return getattr(self, "at", None)

    def on_clock(self, now_ms: int, out: Emit) -> None:
        assert self.at is not None
        out(Batch([now_ms >= self.at]))
        self.at = None
        type(self).called = True


class UntilCalled(Source[int]):
    """One record, and an end only when the clock was heard."""

    bounded = True

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {} if known else {"split": 0}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> UntilCalledReader:
        return UntilCalledReader()


class UntilCalledReader:
    def __init__(self) -> None:
        self._has_given = False

    async def fetch(self) -> Sequence[Batch[int]] | None:
        import asyncio

        if Ticking.called:
            return None
        if self._has_given:
            await asyncio.sleep(0.001)
            return []
        self._has_given = True
        return [Batch([1], split="split", next_position=1)]

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize("parallelism", [1, 2])
def test_the_clock_calls_an_operator_while_no_record_comes(parallelism: int, tmp_path: Path) -> None:
    Ticking.called = False
    job = make_job(tmp_path)
    ticking: Stream[Any] = job.source(UntilCalled(), uid="in")._then("tick", Ticking, Ticking, "tick", parallelism)
    ticking.sink(FileSink(str(tmp_path / "out")), uid="out", parallelism=parallelism)
    assert run(job).code == 0
    assert lines(tmp_path / "out") == [True]


class Counting(Operator):
    """Remembers a number that is not keyed, and tells its sum over all subtasks at the end."""

    def __init__(self) -> None:
        self.count = 0

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.count += len(batch)

    def snapshot(self) -> Any:
        return {"count": self.count}

    def restore(self, snapshots: list[Any]) -> None:
        if self.context.subtask == 0:
            self.count = sum(one["count"] for one in snapshots)

    def on_end(self, out: Emit) -> None:
        out(Batch([self.count]))


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 2)])
def test_what_is_not_keyed_is_restored_too_whatever_the_parallelism(before: int, after: int, tmp_path: Path) -> None:
    def build(parallelism: int) -> Job:
        job = make_job(tmp_path)
        counted: Stream[Any] = job.source(Waiting(COUNT, 30), uid="numbers")._then(
            "count", Counting, Counting, "count", parallelism
        )
        counted.sink(FileSink(str(tmp_path / "out")), uid="out", parallelism=1)
        return job

    assert run(build(before)).code == 0
    assert sum(lines(tmp_path / "out")) == COUNT
    older = files(tmp_path / "out")
    assert run(build(after), from_checkpoint=str(checkpoint_at(tmp_path, 30))).code == 0
    assert sum(lines(tmp_path / "out", but=older)) == COUNT


def test_a_snapshot_of_an_operator_that_is_gone_stops_the_start(tmp_path: Path) -> None:
    def build(uid: str) -> Job:
        job = make_job(tmp_path)
        counted: Stream[Any] = job.source(Waiting(COUNT, 30), uid="numbers")._then("count", Counting, Counting, uid, 1)
        counted.sink(FileSink(str(tmp_path / "out")), uid="out")
        return job

    assert run(build("count")).code == 0
    ran = run(build("other"), from_checkpoint=str(checkpoint_at(tmp_path, 30)))
    assert ran.code == 2
    assert "operator count: no step of the job has this" in ran.said


@pytest.mark.parametrize("parallelism", [1, 2])
def test_what_was_put_out_at_the_end_is_not_put_out_again_after_a_restore(parallelism: int, tmp_path: Path) -> None:
    def build() -> Job:
        job = make_job(tmp_path)
        short: Stream[Any] = job.source(Generator(int, count=20), uid="short")._then(
            "count", Counting, Counting, "count", parallelism
        )
        short.sink(FileSink(str(tmp_path / "out")), uid="out", parallelism=1)
        job.source(Waiting(COUNT, *PAUSES), uid="numbers").sink(Print(stream=io.StringIO()), uid="numbers-out")
        return job

    assert run(build()).code == 0
    assert sum(lines(tmp_path / "out")) == 20
    before = files(tmp_path / "out")
    had_ended = [
        info.id
        for info in storage(tmp_path).checkpoints()
        if info.manifest is not None and info.manifest.kind == "periodic" and "short" in info.manifest.finished
    ]
    for back in had_ended[0], had_ended[-1]:
        assert run(build(), from_checkpoint=str(back)).code == 0
        assert lines(tmp_path / "out", but=before) == []


class Timed(Operator):
    uses_time = True


def _using_time(job: Job, *strategies: WatermarkStrategy[Any] | None) -> None:
    first, *others = [
        job.source(Generator(int, count=5), uid=f"in-{index}", watermarks=strategy)
        for index, strategy in enumerate(strategies)
    ]
    merged = first.union(*others, uid="all") if others else first
    merged._then("window", Timed, Timed, "windows", None).sink(Print(), uid="out")


def test_an_operator_that_uses_time_needs_a_strategy_at_every_source() -> None:
    job = Job("j")
    _using_time(job, BOUNDED, None)
    with pytest.raises(JobDefinitionError) as caught:
        job.plan()
    text = caught.value.message
    assert text.startswith(f"{__file__}:")
    assert "window 'windows' works by event time, but source 'in-1' at" in text
    assert "WatermarkStrategy.bounded_out_of_orderness" in str(caught.value.remedy)
    fine = Job("j")
    _using_time(fine, BOUNDED, WatermarkStrategy.processing_time())
    fine.plan()


def test_what_is_no_strategy_or_no_side_output_is_refused_at_its_line() -> None:
    job = Job("j")
    with pytest.raises(JobDefinitionError, match=r"test_job_run_time\.py:\d+: watermarks takes a WatermarkStrategy"):
        job.source(Generator(int, count=5), watermarks=timedelta(seconds=1))  # type: ignore[arg-type]
    numbers = job.source(Generator(int, count=5), uid="in")
    with pytest.raises(JobDefinitionError, match=r"py:\d+: side_output\(.* is not a side output of source 'in'"):
        numbers.side_output(LATE)
    taken = numbers.map(abs, uid="abs").side_output(LATE)
    with pytest.raises(JobDefinitionError, match="is not a side output of the side output 'late' of map 'abs'"):
        taken.side_output(LATE)
    with pytest.raises(JobDefinitionError, match="ask the stream that the operator itself gave"):
        numbers.map(abs).side_output("late")  # type: ignore[arg-type]


def test_a_time_that_is_none_suspends_the_job_naming_line_and_record(tmp_path: Path) -> None:
    def bad_time(number: int) -> Any:
        return None if number == 13 else number

    job = make_job(tmp_path)
    strategy = WatermarkStrategy.monotonic().with_timestamps(bad_time)
    job.source(Generator(int, count=20), uid="in", watermarks=strategy).sink(Print(), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert f"{__file__}:{bad_time.__code__.co_firstlineno}: the timestamp function gave None" in ran.said
    assert "in source 'in', subtask 0" in ran.said
    assert "record: " in ran.said
    assert "13" in ran.said


class Moments(KeyedProcessFunction[int, int, list[Any]]):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[Any]]:
        yield [value, ctx.timestamp, ctx.current_watermark == MIN_TIMESTAMP]


@pytest.mark.parametrize("parallelism", [1, 2])
def test_times_survive_every_stateless_and_keyed_operator(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    keyed: KeyedStream[int, int] = (
        job.source(Generator(int, count=40, timestamp=lambda one: one * 3), uid="in", parallelism=1)
        .map(lambda one: one)
        .filter(lambda one: one % 3 != 0)
        .flat_map(lambda one: [one, one])
        .key_by(lambda one: one % 4)
    )
    folded = keyed.reduce(lambda _, new: new, type=int, uid="last").key_by(lambda one: one % 3)
    folded.process(Moments(), uid="moments").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == [[n, n * 3, True] for n in range(40) if n % 3 for _ in range(2)]
