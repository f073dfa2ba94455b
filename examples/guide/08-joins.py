"""Joins: pairs of values of two streams, near in time, in one window, or with the version that was valid.

Both streams are keyed, by keys of one type, and have event time.

`interval_join` pairs values of one key when the time of the right value is from `lower` to `upper` after that of the
left value, both included; a negative `lower` looks back.  A pair comes out once, when its second value comes, with the
later time of both.  With `how="left"`, `"right"` or `"full"` a value without a partner comes out once, with None for
the other side, when the watermark says that no partner can come; its time is the last at which a partner could have
come, so nothing is late further on.  A value is in the state until then and no longer, so the state is bounded by the
interval and by how far the watermark is behind.  A value that is late itself (its time is not after the watermark of
both streams) joins nothing: it goes to the side output `left_late` or `right_late`, or is dropped, counted, and
reported once.  A stream that seldom has values holds the other back unless its strategy has `with_idleness`.

`window_join` pairs values of one key that lie in the same window, when it ends.  It takes tumbling, sliding and session
windows, or your own; `fn(left, right, window)` is called for each pair, and the result has the time `window.end - 1`.
In an outer join a value whose window has none of the other side meets None.  The state is the values of open windows,
each once.  A window is freed `allowed_lateness=` behind its end, at once without; each record that comes in between
emits the window again, whole, so that its last output counts.  Only a value whose windows have all been freed is late.

`orders.key_by(...).as_of_join(prices.key_by(...), fn, tolerance=)` takes the right stream as a table of versions: each
left value waits until the watermark has come to its time, and is then emitted, with that time, together with the last
version of its key that is not after it (nor more than `tolerance` before it).  Without such a version it is left out,
or with `how="left"` comes with None.  The latest version of a key stays in the state for ever, or for `tolerance` after
its time; older versions as long as a value that waits may need them.  Late values go the same way as above.

For tables without event time see `streamlet help lookups`.
"""

from datetime import timedelta

import msgspec

from streamlet import Job, TumblingWindows, WatermarkStrategy
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Timed(msgspec.Struct, frozen=True):
    """Something that happened to `id`, or was measured of it, at a time (epoch ms)."""

    id: int
    at: int
    amount: int = 0


SECOND = timedelta(seconds=1)
job = Job("joins")
times: WatermarkStrategy[Timed] = WatermarkStrategy.bounded_out_of_orderness(5 * SECOND).with_timestamps(lambda t: t.at)

# Orders that were paid within ten seconds, and the others with is_paid False.
orders = job.source(Generator(lambda i: Timed(i, 1000 * i), count=50), uid="orders", watermarks=times)
payments = job.source(Generator(lambda i: Timed(2 * i, 2500 * i), count=30), uid="payments", watermarks=times)
orders.key_by(lambda order: order.id).interval_join(
    payments.key_by(lambda payment: payment.id),
    lambda order, payment: {"order": order.id, "is_paid": payment is not None},
    lower=timedelta(0),
    upper=10 * SECOND,
    how="left",
    left_type=Timed,
    right_type=Timed,
    uid="paid",
).sink(Print(), uid="out")

# Which ads were clicked in the minute in which they were shown.
shown = job.source(Generator(lambda i: Timed(i % 3, 4000 * i), count=60), uid="shown", watermarks=times)
clicked = job.source(Generator(lambda i: Timed(i % 2, 9000 * i), count=20), uid="clicked", watermarks=times)
shown.key_by(lambda ad: ad.id).window_join(
    clicked.key_by(lambda click: click.id),
    TumblingWindows(60 * SECOND),
    lambda ad, click, window: {"ad": ad.id, "from": window.start, "is_clicked": click is not None},
    how="left",
    left_type=Timed,
    right_type=Timed,
    uid="in-a-minute",
).sink(Print("ad: "), uid="ads")

# Amounts times the rate that was valid at their time.
monotonic: WatermarkStrategy[Timed] = WatermarkStrategy.monotonic().with_timestamps(lambda timed: timed.at)
paid = job.source(Generator(lambda i: Timed(i % 2, 1000 * i, i), count=40), uid="amounts", watermarks=monotonic)
rates = job.source(Generator(lambda i: Timed(i % 2, 7000 * i, i), count=6), uid="rates", watermarks=monotonic)
paid.key_by(lambda payment: payment.id).as_of_join(
    rates.key_by(lambda rate: rate.id),
    lambda payment, rate: {"at": payment.at, "sum": payment.amount * rate.amount},
    left_type=Timed,
    right_type=Timed,
    uid="converted",
).sink(Print("converted: "), uid="sums")

if __name__ == "__main__":
    raise SystemExit(job.run())
