"""Event time: watermarks, late records, and sources that fall silent.

What works by event time needs to know when it may stop waiting: a source says so by a `WatermarkStrategy`.  A
*watermark* of time t says that no record of t or before is expected any more; a record that comes all the same is
*late*.

    WatermarkStrategy.bounded_out_of_orderness(delay), .monotonic()
        the watermark stays `delay`, or nothing, behind the newest record of a split
    WatermarkStrategy.from_function(f)
        `f(value, timestamp)` gives the watermark behind each record, or None
    WatermarkStrategy.processing_time()
        the time of a record is that of reading it; nothing is late, and a second run gives other times
    .with_timestamps(f)
        times from the value, whole epoch ms; else those of the source, such as Kafka's
    .with_idleness(timeout)
        a split without records for that long no longer holds the others back
    .with_max_ahead(limit)
        a time further ahead of the clock than `limit` (by default 1 minute) does not move the watermark, so that one
        wrong clock makes no other record late; warned of once, then counted

Each split has a watermark, which moves behind each batch.  The watermark of a source is the lowest of its splits', and
that of an operator with several inputs the lowest of theirs.  So one silent split holds everything back, for ever
without `with_idleness`: also a new Kafka partition until its first record.  An input that has ended holds nothing back
and moves nothing on: how far it had come does not make late what other inputs still bring.

While all splits are silent, event time stands still until the next record, and open windows wait for it:
`with_idleness` only keeps a silent split from holding back others.  What must end without a record takes windows of
`time="processing"`, processing-time timers, or `processing_time()`, under which event time follows the clock.
Watermarks never go back and are in the checkpoint, so a restored job calls the same records late.  At the end of all
input the watermark is `MAX_TIMESTAMP` (of `streamlet.windows`); a stop is no end.

An operator that needs event time behind a source without a strategy is an error of `streamlet plan`.  Without a
strategy there are no watermarks and no cost.  A record that is emitted under a tag that no `side_output` takes is
dropped, and that is said once.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import Job, KeyedProcessFunction, OutputTag, ProcessContext, WatermarkStrategy
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Click(msgspec.Struct, frozen=True):
    page: str
    at: int


LATE = OutputTag[Click]("late")


# A process function sees the time of its record and the watermark.
class OnTime(KeyedProcessFunction[str, Click, Click]):
    def process_element(self, value: Click, ctx: ProcessContext[str]) -> Iterator[Click]:
        if ctx.timestamp is not None and ctx.timestamp <= ctx.current_watermark:
            ctx.output(LATE, value)
        else:
            yield value


# One record per batch, so that the watermark moves behind each record and this example is the same in each run.
job = Job("clicks", batch_records=1)
clicks = job.source(
    Generator(lambda i: Click(f"/{i % 3}", 1000 * (10 + i - i * i % 9)), count=50),
    uid="clicks",
    watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=2)).with_timestamps(lambda c: c.at),
)
on_time = clicks.key_by(lambda click: click.page).process(OnTime(), uid="on-time")
on_time.sink(Print(), uid="out")
on_time.side_output(LATE).sink(Print("late: "), uid="late")

if __name__ == "__main__":
    raise SystemExit(job.run())
