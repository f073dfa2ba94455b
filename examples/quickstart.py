"""Counts clicks per page, exactly-once: `streamlet run examples/quickstart.py`, no server needed.

The generator makes 300,000 clicks and the running counts go to part files in the folder `out`.  Kill it at any
instant (`kill -9`) and run it again: it goes on from its last checkpoint, and every click is counted exactly once.
"""

from datetime import timedelta

import msgspec

from streamlet import Count, Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


class Click(msgspec.Struct, frozen=True):
    number: int
    page: str


class PageCount(msgspec.Struct, frozen=True):
    page: str
    count: int


def click(number: int) -> Click:
    return Click(number, f"/page/{number * number % 7}")


job = Job("quickstart", checkpoint_interval=timedelta(seconds=1))

(
    job.source(Generator(click, count=300_000, rate_per_second=50_000), uid="clicks")
    .key_by(lambda click: click.page)
    .aggregate(Count(), result=PageCount, uid="count")
    .sink(FileSink("out"), uid="out")
)

if __name__ == "__main__":
    raise SystemExit(job.run())
