"""A job for tests without Kafka: counts numbers by key into files, with more keys than its memory holds.

COUNT, RATE, KEYS, TIMEOUT and RETAIN come from the environment; files go to the folder `out`, or OUT, but not while
there is a file `away`.
"""

import os
from datetime import timedelta
from pathlib import Path

import msgspec

from streamlet import Count, Job
from streamlet.connect import SinkContext
from streamlet.errors import SinkError
from streamlet_connectors.files import FileSink
from streamlet_connectors.files.sink import FileSinkWriter
from streamlet_connectors.generator import Generator

KEYS = int(os.environ.get("KEYS", "5000"))


class Line(msgspec.Struct, frozen=True):
    key: int
    count: int


class Store(FileSink[Line]):
    def writer(self, context: SinkContext) -> FileSinkWriter[Line]:
        if Path("away").exists():
            raise SinkError("the store is away")
        return super().writer(context)


job = Job(
    "counting",
    checkpoint_interval=timedelta(milliseconds=100),
    state_memory=1 << 20,
    checkpoint_timeout=timedelta(seconds=float(os.environ.get("TIMEOUT", "60"))),
    retain=int(os.environ.get("RETAIN", "1")),
    verify="full" if os.environ.get("VERIFY") == "full" else "default",
)
(
    job.source(
        Generator(lambda number: number, count=int(os.environ["COUNT"]), rate_per_second=float(os.environ["RATE"])),
        uid="numbers",
    )
    .key_by(lambda number: number * 7919 % KEYS)
    .aggregate(Count(), result=Line, uid="count")
    .sink(Store(os.environ.get("OUT", "out")), uid="out")
)
