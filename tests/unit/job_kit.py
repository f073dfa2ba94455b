"""Whole jobs inside the test's process: a source that waits for a marker, runs and what they said, visible output."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import Job, Restart
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.connect import Batch, Position, ReaderContext, Source
from streamlet.machine.disk import LocalDisk
from tests.unit.words import require_good_words

CUT = 10
"""The records of each batch of `Waiting`, whatever the job says."""
BACKENDS = ("memory", "rocksdb")


class Ran:
    """How a run ended."""

    def __init__(self, code: int, said: str) -> None:
        self.code = code
        self.said = said

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.said}"


def make_job(folder: Path, name: str = "job", **settings: Any) -> Job:
    """A job with its state below `folder`, quick checkpoints, and no restarts unless told."""
    settings.setdefault("checkpoint_interval", timedelta(milliseconds=5))
    settings.setdefault("restart", Restart.none())
    settings.setdefault("state_dir", str(folder / "state"))
    settings.setdefault("batch_records", 10)
    settings.setdefault("retain", 50)
    return Job(name, **settings)


def run(job: Job, **options: Any) -> Ran:
    """Runs a job to its end as `job.run()` does."""
    stream = io.StringIO()
    code = job.run(stream=stream, **options)
    require_good_words(stream.getvalue())
    return Ran(code, stream.getvalue())


def lines(folder: Path, *, but: Sequence[Path] = ()) -> list[Any]:
    """The records in the visible files of a sink's folder, file by file in the order of checkpoints."""
    files = sorted(path for path in folder.glob("part-*") if path not in but)
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def files(folder: Path) -> list[Path]:
    """The visible files of a sink's folder."""
    return sorted(folder.glob("part-*"))


def storage(folder: Path, name: str = "job") -> CheckpointStorage:
    """The checkpoints of a job that `make_job` made."""
    return CheckpointStorage(folder / "state", name, LocalDisk())


def checkpoint_at(folder: Path, position: int, name: str = "job") -> int:
    """The newest checkpoint whose `Waiting` source stands at a position."""
    return max(
        info.id
        for info in storage(folder, name).checkpoints()
        if info.manifest is not None and {"numbers": {"split": position}} == info.manifest.positions
    )


class Waiting(Source[int]):
    """Gives 0, 1, ... up to `count`; at each number in `pauses` it goes on only behind the marker of a checkpoint
    that covers everything before it."""

    bounded = True

    def __init__(self, count: int, *pauses: int) -> None:
        self.count = count
        self.pauses = pauses

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {} if known else {"split": 0}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> WaitingReader:
        return WaitingReader(self, CUT, splits)


class WaitingReader:
    def __init__(self, source: Waiting, size: int, splits: Mapping[str, Position]) -> None:
        self._source = source
        self._size = size
        self._at: int | None = splits.get("split")
        self._covered = self._at
        self._changed = asyncio.Event()

    async def fetch(self) -> Sequence[Batch[int]] | None:
        if self._at is None or self._at >= self._source.count:
            return None
        if self._at in self._source.pauses and self._covered != self._at:
            self._changed.clear()
            try:
                async with asyncio.timeout(0.1):
                    await self._changed.wait()
            except TimeoutError:
                pass
            return []
        ends = [pause for pause in (*self._source.pauses, self._source.count) if pause > self._at]
        end = min(self._at + self._size, *ends)
        numbers, self._at = list(range(self._at, end)), end
        return [Batch(numbers, split="split", next_position=end)]

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        self._covered = positions.get("split")
        self._changed.set()

    async def close(self) -> None: ...


class Failing:
    """A function that gives back its number, and raises at some of them: once each, or for ever."""

    def __init__(self, *numbers: int, for_ever: bool = False) -> None:
        self._left = set(numbers)
        self._for_ever = for_ever
        self.failures = 0

    def __call__(self, number: int) -> int:
        if number in self._left:
            if not self._for_ever:
                self._left.discard(number)
            self.failures += 1
            raise RuntimeError(f"number {number}")
        return number
