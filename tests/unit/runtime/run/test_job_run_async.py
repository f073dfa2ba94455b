"""Jobs with asynchronous functions: what is in flight at a barrier, at the end, at a stop, and over restores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job, KeyedProcessFunction, ProcessContext, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import BACKENDS, Waiting, checkpoint_at, files, lines, make_job, run, storage

COUNT, CUT = 60, 10
PAUSES = tuple(range(CUT, COUNT, CUT))


class Answers:
    """A service that answers the last number of a batch only when the next one is asked for: so there is always
    something in flight while the source waits for a checkpoint."""

    def __init__(self) -> None:
        self.asked: dict[int, asyncio.Event] = {}
        self.running = 0

    def _event(self, number: int) -> asyncio.Event:
        return self.asked.setdefault(number, asyncio.Event())

    async def answer(self, number: int) -> int:
        self._event(number).set()
        self.running += 1
        try:
            if number % CUT == CUT - 1 and number + 1 < COUNT:
                await self._event(number + 1).wait()
            return number
        finally:
            self.running -= 1


class NeverLate(KeyedProcessFunction[int, int, list[int]]):
    """Tells number and watermark."""

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[int]]:
        assert ctx.timestamp == value * 100
        assert ctx.current_watermark < ctx.timestamp
        yield [value, max(ctx.current_watermark, -1)]


def _job(folder: Path, parallelism: int, backend: str, *, ordered: bool, keyed: bool = False) -> Job:
    job = make_job(folder, parallelism=parallelism, state_backend=backend, batch_records=CUT)
    strategy: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda one: one * 100)
    numbers: Any = job.source(Waiting(COUNT, *PAUSES), uid="numbers", watermarks=strategy, parallelism=1)
    if keyed:
        numbers = numbers.key_by(lambda one: one % 7, uid="by-seven")
    (
        numbers.map_async(Answers().answer, ordered=ordered, uid="ask")
        .key_by(lambda one: one % 5, uid="by-five")
        .process(NeverLate(), uid="late")
        .sink(FileSink(str(folder / "out")), uid="out")
    )
    return job


def _in_flight(folder: Path, checkpoint: int) -> int:
    (info,) = [one for one in storage(folder).checkpoints() if one.id == checkpoint]
    assert info.manifest is not None
    found = [one for key, one in info.manifest.operators.items() if key.startswith("ask/")]
    return sum(len(one["records"]) for one in found)


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_in_flight_at_a_checkpoint_comes_once_from_every_boundary(
    ordered: bool, backend: str, keyed: bool, tmp_path: Path
) -> None:
    ran = run(_job(tmp_path, 1, backend, ordered=ordered, keyed=keyed))
    assert ran.code == 0, ran
    whole = lines(tmp_path / "out")
    # The watermark behind a batch comes through behind all of the batch.
    assert sorted(whole) == [[one, max(-1, one // CUT * CUT * 100 - 101)] for one in range(COUNT)]
    assert whole == sorted(whole)
    for position in PAUSES:
        before, back = files(tmp_path / "out"), checkpoint_at(tmp_path, position)
        in_flight = _in_flight(tmp_path, back)
        assert in_flight
        ran = run(_job(tmp_path, 1, backend, ordered=ordered, keyed=keyed), from_checkpoint=str(back))
        assert ran.code == 0, ran
        assert lines(tmp_path / "out", but=before) == whole[position - in_flight :]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_what_is_in_flight_comes_once_after_another_parallelism(
    before: int, after: int, keyed: bool, tmp_path: Path
) -> None:
    assert run(_job(tmp_path, before, "memory", ordered=True, keyed=keyed)).code == 0
    older, back = files(tmp_path / "out"), checkpoint_at(tmp_path, 30)
    in_flight = _in_flight(tmp_path, back)
    assert in_flight
    ran = run(_job(tmp_path, after, "memory", ordered=True, keyed=keyed), from_checkpoint=str(back))
    assert ran.code == 0, ran
    found = [number for number, _ in lines(tmp_path / "out", but=older)]
    assert sorted(found) == list(range(30 - in_flight, COUNT))


class Telling(KeyedProcessFunction[int, int, int]):
    """Emits its keys only at the end, by timers of event time."""

    def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
        ctx.timers.register_event_time(1 << 60)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[int]:
        yield ctx.key


async def slowly(value: int) -> int:
    await asyncio.sleep(0.002)
    return value + 1


@pytest.mark.parametrize("parallelism", [1, 2])
def test_the_end_waits_for_what_is_put_out_at_the_end_and_still_in_flight(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    numbers = job.source(Generator(int, count=50), uid="numbers", watermarks=WatermarkStrategy.processing_time())
    told = numbers.map(slowly, uid="first").key_by(lambda one: one % 10, uid="by-ten").process(Telling(), uid="tell")
    told.map(slowly, uid="second").map(slowly, uid="third").sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out")) == list(range(2, 12))


def test_filters_and_flat_maps_may_be_asynchronous(tmp_path: Path) -> None:
    async def is_odd(value: int) -> bool:
        return value % 2 == 1

    async def twice(value: int) -> list[int]:
        await asyncio.sleep(0)
        return [value, value]

    job = make_job(tmp_path)
    numbers = job.source(Generator(int, count=100), uid="numbers")
    numbers.filter(is_odd, uid="odd").flat_map(twice, uid="twice").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    assert lines(tmp_path / "out") == [one for one in range(1, 100, 2) for _ in range(2)]


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_call_that_fails_ends_the_job_and_every_other_call(parallelism: int, tmp_path: Path) -> None:
    running: set[int] = set()

    async def fails(value: int) -> int:
        running.add(value)
        try:
            if value == 13:
                await asyncio.sleep(0.01)
                raise OSError("no answer")
            await asyncio.Event().wait()
        finally:
            running.discard(value)
        return value

    job = make_job(tmp_path)
    numbers = job.source(Generator(int, count=200), uid="numbers")
    numbers.map_async(fails, uid="ask", parallelism=parallelism).sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert f"{__file__}:{fails.__code__.co_firstlineno + 5} in fails: OSError: no answer" in ran.said
    assert running == set()


def _committed(folder: Path) -> int:
    return len(list(folder.glob("state/job/chk-*/committed")))


def test_a_source_is_held_back_while_as_many_calls_run_as_may(tmp_path: Path) -> None:
    taken = 0
    is_open = asyncio.Event()
    most: list[int] = []

    def counted(value: int) -> int:
        nonlocal taken
        taken += 1
        return value

    async def answers(value: int) -> int:
        if value == 0:
            # No barrier waits for what is in flight, so checkpoints complete meanwhile.
            while _committed(tmp_path) < 3:  # noqa: ASYNC110 - files are all that can be waited for
                await asyncio.sleep(0.001)
            most.append(taken)
            is_open.set()
        await is_open.wait()
        return value

    job = make_job(tmp_path, checkpoint_interval=timedelta(milliseconds=10))
    numbers = job.source(Generator(int, count=500), uid="numbers").map(counted, uid="count")
    numbers.map_async(answers, capacity=15, uid="ask").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    assert lines(tmp_path / "out") == list(range(500))
    assert 15 <= most[0] < 15 + 10


def test_a_value_that_cannot_be_kept_suspends_the_job_with_a_remedy(tmp_path: Path) -> None:
    async def ask(pair: Any) -> Any:
        return pair

    job = make_job(tmp_path)
    pairs = job.source(Generator(lambda one: (one, one), count=5), uid="numbers")
    pairs.map_async(ask, uid="ask").sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert "a record in flight in map_async 'ask' is of type tuple" in ran.said
    assert "type=tuple[int, str]" in ran.said
