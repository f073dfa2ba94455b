"""Alarms, in the folder `out`, for two large payments of a card within a minute, and for payments never confirmed."""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import Job, KeyedProcessFunction, ProcessContext, StateTtl, TimerContext, ValueState, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


class Event(msgspec.Struct, frozen=True):
    card: str
    at: int
    amount: int  # 0 confirms the last payment


class Alarm(msgspec.Struct, frozen=True):
    card: str
    at: int
    why: str


class FraudRule(KeyedProcessFunction[str, Event, Alarm]):
    large = ValueState(int, ttl=StateTtl(timedelta(minutes=1), time="event"))
    deadline = ValueState(int)

    def process_element(self, value: Event, ctx: ProcessContext[str]) -> Iterator[Alarm]:
        if (deadline := self.deadline.value()) is not None and value.at <= deadline:
            ctx.timers.delete_event_time(deadline)
        if value.amount:
            self.deadline.update(value.at + 300_000)
            ctx.timers.register_event_time(value.at + 300_000)
        if value.amount > 900:
            if (before := self.large.value()) is not None and value.at - before < 60_000:
                yield Alarm(ctx.key, value.at, "two large payments within a minute")
            self.large.update(value.at)

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[Alarm]:
        yield Alarm(ctx.key, timestamp, "not confirmed within five minutes")


def event(number: int) -> Event:
    return Event(f"card-{number // 6 % 50}", 10_000 * number, 0 if number % 7 < 3 else number * 331 % 1000)


job = Job("fraud-rule")
events = job.source(
    Generator(event, count=20_000),
    uid="events",
    watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=30)).with_timestamps(lambda e: e.at),
)
events.key_by(lambda event: event.card).process(FraudRule(), uid="rule").sink(FileSink("out"), uid="out")

if __name__ == "__main__":
    raise SystemExit(job.run())
