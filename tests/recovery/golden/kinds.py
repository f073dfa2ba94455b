"""The job of the other kinds of state: all windows, triggers, joins, tables, shorthands, calls in flight, timers.

`python -m tests.recovery.golden.kinds FOLDER` writes its checkpoints, once for each format version, each with what was
visible of the output behind it.  What is declared here must not change: a later release goes on from these checkpoints.
All that is put out does not depend on how often a watermark comes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import (
    AggregatingState,
    BroadcastContext,
    BroadcastState,
    Count,
    Job,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    Max,
    Mean,
    Min,
    ProcessContext,
    ReducingState,
    SessionWindows,
    SlidingWindows,
    StateTtl,
    TimerContext,
    TumblingWindows,
    ValueState,
)
from streamlet.aggregates import ApproxDistinct, Collect, Composed, Distinct, TopK
from streamlet.windows import (
    AtEndOfInput,
    CountWindows,
    EveryDuration,
    EveryRecords,
    GlobalWindows,
    Window,
    WindowContext,
    WindowProcessFunction,
)
from streamlet_connectors.files import FileSink
from tests.recovery.golden.jobs import COUNT, CUT, SECOND, TIMES, write
from tests.unit.job_kit import Waiting, make_job

CENTURY = timedelta(days=36500)
IN_2100_MS = 4_102_444_800_000
IN_FLIGHT = 3
OUTS = 26


class Timed(KeyedProcessFunction[int, int, list[Any]]):
    """Timers of both times, and the two states that fold."""

    largest = ReducingState(max, int)
    mean: AggregatingState[int, float] = AggregatingState(Mean())

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        self.largest.add(value)
        self.mean.add(value)
        yield [value, self.largest.value(), self.mean.value()]
        ctx.timers.register_processing_time(IN_2100_MS + value)
        ctx.timers.register_event_time((ctx.timestamp or 0) + 9000)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Any:
        yield ["timer", ctx.key, timestamp]


class Both(KeyedCoProcessFunction[int, int, int, list[Any]]):
    total = ValueState(int)
    by_time = ValueState(int, ttl=StateTtl(CENTURY, time="event"))

    def process_element1(self, value: int, ctx: ProcessContext[int]) -> Iterable[list[Any]]:
        self.total.update((self.total.value() or 0) + value)
        self.by_time.update((self.by_time.value() or 0) + 1)
        return ()

    def process_element2(self, value: int, ctx: ProcessContext[int]) -> Iterable[list[Any]]:
        self.total.update((self.total.value() or 0) - 10 * value)
        ctx.timers.register_event_time(COUNT * 2000)
        return ()

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterable[list[Any]]:
        yield [ctx.key, self.total.value(), self.by_time.value()]


class Ruled(KeyedBroadcastProcessFunction[int, int, int, list[Any]]):
    rules = BroadcastState(int, str)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterable[list[Any]]:
        if value >= CUT:
            yield [value, self.rules.get(value % CUT, "no rule")]

    def process_broadcast_element(self, value: int, ctx: BroadcastContext) -> None:
        self.rules.put(value, f"rule {value}")


class Sorted(WindowProcessFunction[int, int, list[Any]]):
    def process(self, key: int, window: Window, values: list[int], ctx: WindowContext[Any]) -> Iterable[list[Any]]:
        yield [key, window.start, sorted(values)]


def build(folder: Path, backend: str, parallelism: int = 1) -> Job:
    """The job; each step that has state has an output of its own."""
    job = make_job(folder, state_backend=backend, parallelism=parallelism)
    numbers = job.source(Waiting(COUNT, CUT // 2, CUT), uid="numbers", watermarks=TIMES, parallelism=1)
    keyed = numbers.key_by(lambda number: number % 5, uid="by")
    first = numbers.filter(lambda number: number < CUT // 2)

    def written(stream: Any, name: str) -> None:
        stream.sink(FileSink(str(folder / "out" / name)), uid=f"{name}-out", parallelism=1)

    written(keyed.process(Timed(), uid="timed"), "timed")
    written(keyed.connect(first.key_by(lambda number: number % 5, uid="by-first")).process(Both(), uid="both"), "both")
    written(keyed.connect_broadcast(first).process(Ruled(), uid="ruled"), "ruled")

    written(numbers.deduplicate(lambda number: number % 26, ttl=None, uid="ever"), "ever")
    written(numbers.deduplicate(lambda number: number % 29, ttl=CENTURY, uid="once"), "once")
    written(keyed.batch(3, within=CENTURY, uid="batched"), "batched")
    written(keyed.top_k(3, lambda number: number * 7 % 11, type=int, uid="top"), "top")
    written(keyed.distinct(lambda number: number % 4, type=int, uid="distinct"), "distinct")
    written(keyed.min(lambda number: -number, uid="least"), "least")
    written(
        keyed.aggregate(
            Composed(
                about=ApproxDistinct(lambda number: number % 9),
                all=Collect(limit=50, type=int),
                few=Distinct(lambda number: number % 2, type=int),
                best=TopK(2, lambda number: number % 6, type=int),
                mean=Mean(lambda number: number),
                least=Min(lambda number: number),
            ),
            uid="sketched",
        ),
        "sketched",
    )

    windows = {
        "counted": keyed.window(CountWindows(3)),
        "global": keyed.window(GlobalWindows()).trigger(EveryRecords(3)),
        "days": keyed.window(TumblingWindows(days=1, timezone="Europe/Berlin")),
        "hopping": keyed.window(SlidingWindows(14 * SECOND, 4 * SECOND, offset=SECOND)).allowed_lateness(2 * SECOND),
        "at-end": keyed.window(TumblingWindows(16 * SECOND)).trigger(AtEndOfInput()),
        "by-time": keyed.window(SessionWindows(6 * SECOND)).trigger(EveryDuration(1000 * SECOND)),
        "gathering": keyed.window(TumblingWindows(30 * SECOND)).trigger(EveryRecords(2)).accumulating(),
        "emptied": keyed.window(TumblingWindows(30 * SECOND)).trigger(EveryRecords(3)).discarding(),
        "varying": keyed.window(SessionWindows(lambda number: timedelta(seconds=3 + number % 4))),
    }
    for name, windowed in windows.items():
        made = windowed.aggregate(
            Composed(ones=Count(), largest=Max(lambda number: number)),
            uid=name,
            result=lambda key, window, values: [key, window.start, values],
        )
        written(made, name)
    written(keyed.window(SlidingWindows(12 * SECOND, 4 * SECOND)).process(Sorted(), type=int, uid="listed"), "listed")
    written(keyed.window(SessionWindows(6 * SECOND)).process(Sorted(), type=int, uid="joined"), "joined")

    pair: Any = lambda left, right, window=None: [left, right]  # noqa: E731
    written(keyed.window_join(keyed, TumblingWindows(16 * SECOND), pair, uid="in-windows"), "in-windows")
    other = keyed.window_join(keyed, SessionWindows(6 * SECOND), pair, how="full", uid="in-sessions")
    written(other, "in-sessions")
    written(keyed.as_of_join(keyed, pair, tolerance=9 * SECOND, how="left", uid="as-of"), "as-of")
    waiting = numbers.lookup_join(
        first,
        pair,
        key=lambda number: str(number % 7),
        table_key=lambda number: str(number),
        wait_for="end",
        uid="look",
    )
    written(waiting, "look")

    arrived = asyncio.Event()

    async def later(number: int) -> int:
        """Those before the cut are in flight until something behind it comes."""
        if number >= CUT:
            arrived.set()
        elif number >= CUT - IN_FLIGHT:
            await arrived.wait()
        return number

    written(numbers.map_async(later, type=int, uid="called", parallelism=1), "called")
    return job


if __name__ == "__main__":
    write(Path(sys.argv[1]), build)
