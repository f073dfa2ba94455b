"""Drops repeated deliveries of events: `streamlet run examples/deduplicate.py`, no server needed.

A shaky sender delivers each event up to three times, some of them much later.  Each goes to the folder `out` once, and
events without an id to the folder `dead`.  The ids are kept for an hour by event time, in the checkpoint.
"""

from datetime import timedelta
from typing import Any

from streamlet import Job, StateTtl, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


def delivery(number: int) -> dict[str, Any]:
    """Every third delivery is a new event; the others repeat one of 100 and of 1000 deliveries ago."""
    event = max(number // 3 - (0, 33, 333)[number % 3], 0)
    found: dict[str, Any] = {"id": f"event-{event}", "at": number * 1000}
    if number % 500 == 499:
        del found["id"]
    return found


job = Job("deduplicate")

(
    job.source(
        Generator(delivery, count=3000),
        uid="deliveries",
        watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(minutes=1)).with_timestamps(lambda d: d["at"]),
    )
    .map(lambda delivery: {"id": delivery["id"], "at": delivery["at"]}, on_error=FileSink("dead"), uid="checked")
    .deduplicate(lambda delivery: delivery["id"], ttl=StateTtl(timedelta(hours=1), time="event"), uid="once")
    .sink(FileSink("out"), uid="out")
)

if __name__ == "__main__":
    raise SystemExit(job.run())
