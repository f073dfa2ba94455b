"""Timers: calls of a process function at a time, per key.

A process function can ask to be called at a time: `on_timer` gets the state of the key, and what it emits has the
timer's time.  Event-time timers fire when the watermark has come to their time; processing-time timers fire by the wall
clock, also while no record comes.  The wall clock never goes back for a job, also not over a restart: where the clock
of the machine is set back, that of the job goes on at half the pace until the machine's has caught up.

Timers belong to a key and are in the checkpoint: what became due while the job was down fires after the restart.
Timers fire in the order of time, singly; a timer that `on_timer` registers for a time that has come fires in the same
round, a timer that it deletes does not.  At the end of all input every timer fires, also those by the clock, and what
they register is dropped, so that a timer that renews itself comes to an end; a stop fires nothing.  An event-time timer
behind a source without a watermark strategy is an error where it is registered.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import Job, KeyedProcessFunction, ProcessContext, TimerContext, ValueState, WatermarkStrategy
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print

MINUTE = 60_000


class Event(msgspec.Struct, frozen=True):
    order: int
    at: int
    what: str


# An order that is not paid within 15 minutes is reported.  The timer is deleted when the payment comes.
class Unpaid(KeyedProcessFunction[int, Event, str]):
    due = ValueState(int)

    def process_element(self, value: Event, ctx: ProcessContext[int]) -> None:
        if value.what == "order":
            self.due.update(value.at + 15 * MINUTE)
            ctx.timers.register_event_time(value.at + 15 * MINUTE)
        elif value.what == "payment" and (due := self.due.value()) is not None:
            ctx.timers.delete_event_time(due)
            self.due.clear()

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[str]:
        self.due.clear()
        yield f"order {ctx.key} was not paid by {timestamp}"


def event(i: int) -> Event:
    return Event(i // 2, i * MINUTE, "order" if i % 2 == 0 else "payment" if i % 3 else "hint")


job = Job("unpaid")
events = job.source(
    Generator(event, count=60),
    uid="events",
    watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(minutes=2)).with_timestamps(lambda e: e.at),
)
events.key_by(lambda e: e.order).process(Unpaid(), uid="unpaid").sink(Print(), uid="out")

if __name__ == "__main__":
    raise SystemExit(job.run())
