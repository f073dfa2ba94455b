"""Windows in whole jobs: closed by the clock while nothing comes, the same after a restore; errors, late records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import (
    Count,
    Job,
    OutputTag,
    SessionWindows,
    SlidingWindows,
    Sum,
    TumblingWindows,
    WatermarkStrategy,
    Window,
)
from streamlet.connect import Batch, Position, ReaderContext, Source
from streamlet.windows import CountWindows, WindowContext, WindowProcessFunction
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import BACKENDS, Waiting, checkpoint_at, files, lines, make_job, run


def time_of(number: int) -> int:
    return 100 * number


BY_NUMBER = WatermarkStrategy.bounded_out_of_orderness(timedelta(milliseconds=20)).with_timestamps(time_of)
COUNT, CUT = 60, 10
PAUSES = tuple(range(CUT, COUNT, CUT))


def named(key: int, window: Window, count: int) -> list[int]:
    return [key, window.start, window.end, count]


class Seen(Source[int]):
    """Gives one batch, and ends when somebody says that it was seen; meanwhile it gives nothing at all."""

    bounded = True

    def __init__(self) -> None:
        self.seen = asyncio.Event()

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {} if known else {"split": 0}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> SeenReader:
        return SeenReader(self, splits["split"])


class SeenReader:
    def __init__(self, source: Seen, at: int) -> None:
        self._source, self._at = source, at

    async def fetch(self) -> Sequence[Batch[int]] | None:
        if self._at == 0:
            self._at = 3
            return [Batch([1, 2, 3], split="split", next_position=3)]
        async with asyncio.timeout(30):
            await self._source.seen.wait()
        return None

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    "windows",
    [
        TumblingWindows(timedelta(milliseconds=5), time="processing"),
        SlidingWindows(timedelta(milliseconds=5), timedelta(milliseconds=5), time="processing"),
        SessionWindows(timedelta(milliseconds=5), time="processing"),
    ],
    ids=["tumbling", "sliding", "session"],
)
def test_the_clock_closes_a_window_while_no_record_comes(windows: Any, tmp_path: Path) -> None:
    source = Seen()
    job = make_job(tmp_path)

    def seen(one: Any) -> Any:
        source.seen.set()
        return one

    (
        job.source(source, uid="numbers")
        .key_by(lambda number: number % 1)
        .window(windows)
        .aggregate(Count(), result=lambda key, window, count: count, uid="count")
        .map(seen, uid="seen")
        .sink(FileSink(str(tmp_path / "out")), uid="out")
    )
    ran = run(job)
    assert ran.code == 0, ran
    assert lines(tmp_path / "out") == [3]


class Gather(WindowProcessFunction[int, int, list[int]]):
    def process(self, key: int, window: Window, values: list[int], ctx: WindowContext[int]) -> Iterable[list[int]]:
        ctx.output(SUMS, sum(values))
        yield [key, window.start, *values]


SUMS = OutputTag[int]("sums")


def _job(folder: Path, backend: str, parallelism: int) -> Job:
    job = make_job(folder, state_backend=backend, parallelism=parallelism, batch_records=CUT)
    numbers = job.source(Waiting(COUNT, *PAUSES), uid="numbers", watermarks=BY_NUMBER, parallelism=1)
    keyed = numbers.key_by(lambda number: number % 3)
    tumbling = keyed.window(TumblingWindows(timedelta(milliseconds=1500))).aggregate(Count(), result=named, uid="t")
    tumbling.sink(FileSink(str(folder / "tumbling")), uid="out-t")
    sliding = keyed.window(SlidingWindows(timedelta(seconds=2), timedelta(milliseconds=200)))
    sliding.aggregate(Count(), result=named, uid="s").sink(FileSink(str(folder / "sliding")), uid="out-s")
    gathered = keyed.window(SessionWindows(timedelta(milliseconds=700))).process(Gather(), type=int, uid="g")
    gathered.sink(FileSink(str(folder / "sessions")), uid="out-g")
    gathered.side_output(SUMS).sink(FileSink(str(folder / "sums")), uid="sums")
    counted = keyed.window(CountWindows(7)).aggregate(Count(), result=named, uid="c")
    counted.sink(FileSink(str(folder / "counted")), uid="out-c")
    return job


def _aligned(size: int, slide: int) -> list[list[int]]:
    return sorted(
        [key, start, start + size, len(inside)]
        for key in range(3)
        for start in range(-size + slide, 100 * COUNT, slide)
        if (inside := [one for one in range(key, COUNT, 3) if start <= 100 * one < start + size])
    )


def _expected() -> dict[str, list[Any]]:
    numbers = [list(range(key, COUNT, 3)) for key in range(3)]
    sevens = [(key, mine[at : at + 7]) for key, mine in enumerate(numbers) for at in range(0, len(mine), 7)]
    return {
        "tumbling": _aligned(1500, 1500),
        "sliding": _aligned(2000, 200),
        "sessions": sorted([key, 100 * key, *mine] for key, mine in enumerate(numbers)),
        "sums": sorted(map(sum, numbers)),
        "counted": sorted([key, 100 * mine[0], 100 * mine[-1] + 1, len(mine)] for key, mine in sevens),
    }


@pytest.mark.parametrize(("backend", "parallelism"), [("memory", 1), ("rocksdb", 3)])
def test_windows_are_the_same_from_every_checkpoint(backend: str, parallelism: int, tmp_path: Path) -> None:
    expected = _expected()
    assert run(_job(tmp_path, backend, parallelism)).code == 0
    assert {name: sorted(lines(tmp_path / name)) for name in expected} == expected
    for position in PAUSES[1::2]:
        before = {name: files(tmp_path / name) for name in expected}
        checkpoint = checkpoint_at(tmp_path, position)
        assert run(_job(tmp_path, backend, 4 - parallelism), from_checkpoint=str(checkpoint)).code == 0
        for name, rows in expected.items():
            again = lines(tmp_path / name, but=before[name])
            assert sorted(again) == sorted(row for row in rows if row in again)
            assert len(again) < len(rows) or name in ("sessions", "sums")


@pytest.mark.parametrize("backend", BACKENDS)
def test_late_records_without_an_output_are_counted_and_told_of_once(
    backend: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(tmp_path, state_backend=backend, batch_records=1)
    times = [10_000, 20_000, 100, 200, 300, 30_000]
    (
        job.source(
            Generator(lambda index: index, count=len(times)),
            uid="numbers",
            watermarks=WatermarkStrategy.monotonic().with_timestamps(lambda index: times[index]),
        )
        .key_by(lambda number: 0)
        .window(TumblingWindows(timedelta(seconds=1)))
        .aggregate(Count(), result=named, uid="count")
        .sink(FileSink(str(tmp_path / "out")), uid="out")
    )
    with caplog.at_level(logging.INFO, "streamlet.operators"):
        ran = run(job)
    assert ran.code == 0 and ran.said.splitlines()[-1].endswith("3 late dropped")
    assert [row[1] for row in lines(tmp_path / "out")] == [10_000, 20_000, 30_000]
    said = [record.getMessage() for record in caplog.records if record.name == "streamlet.operators"]
    assert len([one for one in said if "was dropped" in one and ".late_output(tag)" in one]) == 1


@pytest.mark.parametrize("what", ["result", "process", "gap", "select"])
def test_an_error_in_a_function_of_windows_names_its_line_and_the_operator(what: str, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    keyed = job.source(Generator(lambda index: index, count=20), uid="numbers", watermarks=BY_NUMBER).key_by(
        lambda number: number % 2
    )
    windows = keyed.window(TumblingWindows(timedelta(seconds=1)))

    def wrong(*_: Any) -> Any:
        raise ValueError("no such thing")

    class Wrong(Gather):
        process = wrong  # type: ignore[assignment]

    if what == "result":
        stream: Any = windows.aggregate(Count(), result=wrong, uid="windows")
    elif what == "process":
        stream = windows.process(Wrong(), type=int, uid="windows")
    elif what == "gap":
        stream = keyed.window(SessionWindows[int](wrong)).aggregate(Count(), uid="windows")
    else:
        stream = windows.aggregate(Sum(wrong), uid="windows")
    stream.sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job)
    assert ran.code != 0
    assert "ValueError: no such thing" in ran.said
    assert f"{__file__}:" in ran.said
    assert "'windows'" in ran.said
