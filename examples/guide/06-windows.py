"""Windows: results per key and stretch of time, when they come, and what is late.

`keyed.window(...)` takes one of these (all of them are names of `streamlet.windows`); a record belongs to:

    TumblingWindows(size, offset=)
        one stretch of time
    TumblingWindows(days=1, timezone="Europe/Berlin")
        days, `weeks=` (from Monday) or `months=` of a time zone: 23, 24 or 25 hours, as its clocks say
    SlidingWindows(size, slide, offset=)
        size / slide stretches; what they share is kept once, so a record costs the same however many these are
    SessionWindows(gap)
        a session of its key, which ends when there was no record for `gap`, a time or a function of the value; a record
        that lies in a closed session is late, never a session that overlaps with it
    CountWindows(n)
        each n records of its key, in the order in which they come; at the end of input also what is left
    GlobalWindows()
        the one window of its key, emitted at the end of input or by a trigger
    your WindowAssigner
        what its `assign(value, timestamp)` says

Then one of `.aggregate(...)`, by place or by name as on keyed streams, `.count()`, `.sum(f)`, `.min(f)`, `.max(f)`,
`.mean(f)`, `.top_k(n, by, type=T)`, `.distinct(f)`, `.collect(limit=n, type=T)`, `.reduce(f, type=T)`, or `.process(fn,
type=T)` with a `WindowProcessFunction` that gets all values (and the state keeps them all).  Values are in the order in
which they came, but those of sliding windows pane by pane, and those of sessions that a record has joined session by
session; this is also the order of `collect`, and decides which of equal values `top_k` takes first.  Results are
`WindowResult(key, window, value)`, or what `result(key, window, *values)` gives; their event time is the last
millisecond of the window, `window.end - 1`.

A window [start, end) is emitted when the watermark comes to end - 1, at the end of input too, and with
`time="processing"` when the clock comes to its end, whether or not a record comes.  It is freed
`allowed_lateness(time)` later.  Until then each late record emits it again, with all records, or after `.discarding()`
with those since the last time.  After that a record is *late*, as the window operator decides by the watermark that has
come to it: it goes to `late_output(tag)` as it came, or is dropped, counted, and reported once: the sum stands in the
progress line and in the last line of the log.

`.trigger(EveryRecords(n))` and `EveryDuration(time)` emit a window early, `AtEndOfInput()` not before that; your own
`Trigger` decides record by record.  Tumbling and sliding windows with a trigger of their own cost one update per window
that a record is in.  Sliding windows and sessions need `merge` of an `AggregateFunction`.
"""

from datetime import timedelta

import msgspec

from streamlet import (
    Count,
    Job,
    Max,
    OutputTag,
    SessionWindows,
    SlidingWindows,
    Sum,
    TumblingWindows,
    WatermarkStrategy,
)
from streamlet.windows import CountWindows, EveryRecords
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Click(msgspec.Struct, frozen=True):
    page: str
    ms: int
    at: int


LATE = OutputTag[Click]("late")
SECOND = timedelta(seconds=1)

job = Job("windows", batch_records=10)
clicks = job.source(
    Generator(lambda i: Click(f"/{i % 3}", i, 2000 * (40 + i - i * i % 31)), count=200),
    uid="clicks",
    watermarks=WatermarkStrategy.bounded_out_of_orderness(20 * SECOND).with_timestamps(lambda click: click.at),
)

# Clicks per page and minute.  What is late for its minute goes to a stream of its own.
minutes = (
    clicks.key_by(lambda click: click.page)
    .window(TumblingWindows(60 * SECOND))
    .late_output(LATE)
    .aggregate(
        Count(),
        Sum(lambda click: click.ms),
        result=lambda page, window, clicks, ms: {"page": page, "from": window.start, "clicks": clicks, "ms": ms},
        uid="per-minute",
    )
)
minutes.sink(Print(), uid="out")
minutes.side_output(LATE).sink(Print("late: "), uid="late")


class Reading(msgspec.Struct, frozen=True):
    room: int
    degrees: int
    at: int


# Readings of rooms, with a pause after each 40 of them, which ends the sessions.
readings = job.source(
    Generator(lambda i: Reading(i % 2, i * i % 30, 700 * (i + i // 40 * 30 - i % 7)), count=120),
    uid="readings",
    watermarks=WatermarkStrategy.bounded_out_of_orderness(SECOND).with_timestamps(lambda reading: reading.at),
).key_by(lambda reading: reading.room)

# A window of ten seconds every five seconds, emitted again for records that are up to four seconds late.
sliding = readings.window(SlidingWindows(10 * SECOND, 5 * SECOND)).allowed_lateness(4 * SECOND)
sliding.aggregate(Max(lambda reading: reading.degrees), Count(), uid="sliding").sink(Print("sliding: "), uid="highest")

# Sessions, emitted with every 15 records and at their end, each time with the records since the last time.
sessions = readings.window(SessionWindows(15 * SECOND)).trigger(EveryRecords(15)).discarding()
sessions.count(uid="sessions").sink(Print("session: "), uid="counts")
twenties = readings.window(CountWindows(20)).mean(lambda reading: reading.degrees, uid="twenties")
twenties.sink(Print("twenty: "), uid="means")

if __name__ == "__main__":
    raise SystemExit(job.run())
