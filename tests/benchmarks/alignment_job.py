"""A job with a slow function behind a shuffle, run as `streamlet run` does, which tells how long checkpoints waited.

`python alignment_job.py TARGET ARGUMENT...` runs the command with these arguments and writes to TARGET, for each
checkpoint, the seconds from its trigger until its barriers had met in the slow function, and until all subtasks had
acknowledged it; one for which that never happened counts with its age.  The arguments end in
`-- MILLISECONDS SHAPE OUT`, where SHAPE is one of `SHAPES`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import (
    Count,
    Job,
    KeyedProcessFunction,
    ProcessContext,
    Stream,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
    Window,
)
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

MILLISECONDS = float(sys.argv[-3])
_FAST_RECORDS = 2000
"""So many records a function that turns slow takes quickly."""


class Slow(KeyedProcessFunction[str, int, tuple[str, int]]):
    seen = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[tuple[str, int]]:
        time.sleep(MILLISECONDS / 1000)
        self.seen.update((self.seen.value() or 0) + 1)
        yield ctx.key, self.seen.value() or 0


class Turning:
    """Takes microseconds, and from some record on its time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, value: int) -> int:
        self.calls += 1
        if self.calls > _FAST_RECORDS:
            time.sleep(MILLISECONDS / 1000)
        return value


def slowly(value: Any) -> Any:
    time.sleep(MILLISECONDS / 1000)
    return value


async def asked(value: int) -> int:
    await asyncio.sleep(MILLISECONDS / 1000)
    return value


def key_of(number: int) -> str:
    return f"k{number % 500}"


def keyed(numbers: Stream[int]) -> Stream[Any]:
    """A keyed function behind a shuffle."""
    return numbers.key_by(key_of).process(Slow(), uid="slow")


def _key(key: int, window: Window, count: int) -> int:
    return key


def counted(numbers: Stream[int]) -> Stream[Any]:
    """Windows of 1,000 keys."""
    timed = numbers.key_by(lambda number: number % 1000).window(TumblingWindows(timedelta(seconds=100)))
    return timed.aggregate(Count(), result=_key, uid="windows")


def windows(numbers: Stream[int]) -> Stream[Any]:
    """Windows that fire 1,000 results into a function of their chain."""
    return counted(numbers).map(slowly, uid="slow")


def windows_shuffled(numbers: Stream[int]) -> Stream[Any]:
    """Windows that fire 1,000 results into a keyed function behind a shuffle."""
    return counted(numbers).key_by(key_of).process(Slow(), uid="slow")


def fan_out(numbers: Stream[int]) -> Stream[Any]:
    """Fifty records for each, for a function of the chain."""
    return numbers.flat_map(lambda number: range(50), uid="fan").map(slowly, uid="slow")


def fan_out_shuffled(numbers: Stream[int]) -> Stream[Any]:
    """Fifty records for each, for a keyed function behind a shuffle."""
    return keyed(numbers.flat_map(lambda number: range(50), uid="fan"))


def turning(numbers: Stream[int]) -> Stream[Any]:
    """A function that turns slow in the middle of a batch."""
    return numbers.map(Turning(), uid="slow")


def asynchronous(numbers: Stream[int]) -> Stream[Any]:
    """Few calls at once, in one subtask."""
    return numbers.map_async(asked, capacity=5, uid="slow", parallelism=1)


SHAPES: dict[str, Callable[[Stream[int]], Stream[Any]]] = {
    "keyed": keyed,
    "windows": windows,
    "windows_shuffled": windows_shuffled,
    "fan_out": fan_out,
    "fan_out_shuffled": fan_out_shuffled,
    "turning": turning,
    "asynchronous": asynchronous,
}

job = Job("alignment")
times: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda number: number * 10)
numbers = job.source(Generator(int, splits=8), uid="numbers", watermarks=times)
SHAPES[sys.argv[-2]](numbers).sink(FileSink(sys.argv[-1]), uid="out")


def main(target: Path, arguments: list[str]) -> None:
    """The command."""
    from streamlet.checkpoint import coordinator, pending
    from streamlet.checkpoint.messages import Acknowledge, Busy, Trigger
    from streamlet.cli.main import main as streamlet
    from streamlet.runtime.job import attempt

    began: dict[int, float] = {}
    aligned: dict[int, float] = {}
    acknowledged: dict[int, float] = {}

    def write() -> None:
        now = time.monotonic()
        waits = [{one: of.get(one, now) - at for one, at in began.items()} for of in (aligned, acknowledged)]
        target.write_text(json.dumps([list(one.values()) for one in waits]))

    class Timed(pending.PendingCheckpoint):
        def note(self, message: Busy) -> None:
            if message.doing.startswith("sink"):  # what comes directly behind the barrier
                aligned[self.checkpoint_id] = time.monotonic()
            super().note(message)

        def acknowledge(self, message: Acknowledge) -> pending.Verdict:
            acknowledged[self.checkpoint_id] = time.monotonic()
            return super().acknowledge(message)

    class Stopped(coordinator.CheckpointCoordinator):
        def stop(self) -> None:
            write()  # it may never come to the end
            super().stop()

    def trigger(checkpoint_id: int, **options: Any) -> Trigger:
        began.setdefault(checkpoint_id, time.monotonic())
        return Trigger(checkpoint_id, **options)

    coordinator.__dict__.update(PendingCheckpoint=Timed, Trigger=trigger)
    attempt.__dict__.update(CheckpointCoordinator=Stopped)
    try:
        streamlet(arguments)
    finally:
        write()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
