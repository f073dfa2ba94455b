"""Splits and subtasks without records, while the job runs: nobody waits for them, and nothing polls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import OutputTag, Stream, WatermarkStrategy
from streamlet.connect import Batch, Position, ReaderContext, Source
from streamlet.operators.operator import Emit, Operator
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import lines, make_job, run


class Progress:
    """What the job of one test has reached: its source ends when event time has come to `wanted`."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.watermark = -1

    @property
    def is_there(self) -> bool:
        return self.watermark >= self.wanted


class Splits(Source[int]):
    """Splits with some times each; it ends when event time has come far enough. `found_later` comes by discovery."""

    bounded = True

    def __init__(self, progress: Progress, splits: Mapping[str, list[int]], found_later: Sequence[str] = ()) -> None:
        self.progress = progress
        self.splits = splits
        self.found_later = found_later
        self.discovery_interval_seconds = 0.001 if found_later else None

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {one: 0 for one in self.splits if one not in known and (known or one not in self.found_later)}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> SplitsReader:
        return SplitsReader(self, splits)


class SplitsReader:
    def __init__(self, source: Splits, splits: Mapping[str, Position]) -> None:
        self._source = source
        self._positions = dict(splits)

    async def fetch(self) -> Sequence[Batch[int]] | None:
        batches = []
        for split, position in self._positions.items():
            times = self._source.splits[split]
            if position < len(times):
                self._positions[split] = position + 1
                batches.append(Batch([times[position]], [times[position]], split=split, next_position=position + 1))
        if batches:
            return batches
        if self._source.progress.is_there and self._positions.keys() >= set(self._source.found_later):
            return None
        await asyncio.sleep(0.001)
        return []

    def add_splits(self, splits: Mapping[str, Position]) -> None:
        self._positions.update(splits)

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


MONOTONIC = WatermarkStrategy.monotonic()


def _watching(progress: Progress) -> type[Operator]:
    class Watching(Operator):
        def process(self, batch: Batch[Any], out: Emit) -> None:
            out(batch)

        def on_watermark(self, timestamp: int, out: Emit) -> None:
            progress.watermark = max(progress.watermark, timestamp)

    return Watching


def _run(folder: Path, source: Splits, strategy: WatermarkStrategy[object], readers: int, watchers: int) -> list[int]:
    job = make_job(folder)
    operator = _watching(source.progress)
    stream: Stream[Any] = job.source(source, uid="in", watermarks=strategy, parallelism=readers)
    watched = stream.key_by(lambda one: one, uid="by")._then("watch", operator, operator, "watch", watchers)
    watched.sink(FileSink(str(folder / "out")), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    return sorted(lines(folder / "out"))


@pytest.mark.parametrize(("readers", "watchers"), [(1, 1), (1, 2), (2, 2)])
def test_a_split_that_never_speaks_is_passed_over_after_the_time_out(
    readers: int, watchers: int, tmp_path: Path
) -> None:
    source = Splits(Progress(199), {"a": [100, 200], "silent": []})
    strategy = MONOTONIC.with_idleness(timedelta(milliseconds=20))
    assert _run(tmp_path, source, strategy, readers, watchers) == [100, 200]


@pytest.mark.parametrize("watchers", [1, 2])
def test_a_subtask_without_any_split_holds_nobody_back(watchers: int, tmp_path: Path) -> None:
    source = Splits(Progress(199), {"a": [100, 200]})
    assert _run(tmp_path, source, MONOTONIC, 3, watchers) == [100, 200]


def test_a_split_that_is_found_later_is_waited_for_until_its_first_record(tmp_path: Path) -> None:
    source = Splits(Progress(299), {"a": [100, 300], "later": [250, 300]}, found_later=["later"])
    assert _run(tmp_path, source, MONOTONIC, 1, 1) == [100, 250, 300, 300]


def test_processing_time_goes_on_without_records(tmp_path: Path) -> None:
    source = Splits(Progress(0), {"a": [1]})
    began = 1_600_000_000_000

    class FollowsClock(Progress):
        first: int | None = None

        @property
        def is_there(self) -> bool:
            if self.first is None and self.watermark > began:
                self.first = self.watermark
            return self.first is not None and self.watermark > self.first

    source.progress = FollowsClock(0)
    assert _run(tmp_path, source, WatermarkStrategy.processing_time(), 1, 1) == [1]


ODD = OutputTag[int]("odd")


class Sorting(Operator):
    def process(self, batch: Batch[Any], out: Emit) -> None:
        assert batch.timestamps is not None
        odd = [row for row, one in enumerate(batch.values) if one % 2]
        self.context.side(ODD, Batch([batch.values[row] for row in odd], [batch.timestamps[row] for row in odd]))
        out(Batch([one for one in batch.values if not one % 2]))


@pytest.mark.parametrize("parallelism", [1, 2])
def test_side_outputs_travel_over_channels_by_key_and_in_turn(parallelism: int, tmp_path: Path) -> None:
    source = Splits(Progress(-1), {"a": list(range(1, 41))})
    job = make_job(tmp_path)
    sorted_out: Stream[Any] = job.source(source, uid="in", watermarks=MONOTONIC)._then(
        "sort", Sorting, Sorting, "sort", parallelism
    )
    sorted_out.sink(FileSink(str(tmp_path / "even")), uid="even")
    odd = sorted_out.side_output(ODD)
    odd.sink(FileSink(str(tmp_path / "odd")), uid="odd", parallelism=3)
    counted = odd.key_by(lambda one: one % 3).reduce(lambda one, other: one + other, type=int, uid="sum", parallelism=2)
    counted.sink(FileSink(str(tmp_path / "sums")), uid="sums")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "even")) == list(range(2, 41, 2))
    assert sorted(lines(tmp_path / "odd")) == list(range(1, 41, 2))
    highest = {rest: sum(one for one in range(1, 41, 2) if one % 3 == rest) for rest in range(3)}
    assert set(highest.values()) <= set(lines(tmp_path / "sums"))
    assert len(lines(tmp_path / "sums")) == 20
