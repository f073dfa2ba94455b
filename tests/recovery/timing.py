"""A job whose output comes from timers alone, of both kinds, and from state that they share with records.

COUNT, RATE and KEYS come from the environment; record i has the event time i ms.
"""

import os
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import Job, KeyedProcessFunction, ListState, ProcessContext, TimerContext, ValueState, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

KEYS = int(os.environ.get("KEYS", "50"))
AHEAD_MS = 1000
"""In event time: so many records are waited for by their timers at any instant."""
PAUSE_MS = 300
"""By the clock."""


class Line(msgspec.Struct, frozen=True):
    domain: str
    key: int
    number: int
    """Of the record that set the timer."""


class Timing(KeyedProcessFunction[int, int, Line]):
    """Tells of each record twice: `AHEAD_MS` later in event time, but for every seventh, whose timer is taken back; and
    by the clock, in groups."""

    waiting = ListState(int)
    last = ValueState(int, ttl=timedelta(days=1))

    def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
        ctx.timers.register_event_time(value + AHEAD_MS)
        last = self.last.value()
        if last is not None and last % 7 == 0:
            ctx.timers.delete_event_time(last + AHEAD_MS)
        self.last.update(value)
        if not len(self.waiting):
            ctx.timers.register_processing_time(ctx.now_ms() + PAUSE_MS)
        self.waiting.add(value)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[Line]:
        if ctx.domain == "event":
            yield Line("event", ctx.key, timestamp - AHEAD_MS)
        else:
            yield from [Line("processing", ctx.key, number) for number in self.waiting.get()]
            self.waiting.clear()


job = Job("timing", checkpoint_interval=timedelta(milliseconds=100), state_memory=1 << 20)
(
    job.source(
        Generator(int, count=int(os.environ["COUNT"]), rate_per_second=float(os.environ["RATE"])),
        uid="numbers",
        watermarks=WatermarkStrategy.monotonic().with_timestamps(lambda number: number),
    )
    .key_by(lambda number: number % KEYS)
    .process(Timing(), uid="timing")
    .sink(FileSink("out"), uid="out")
)
