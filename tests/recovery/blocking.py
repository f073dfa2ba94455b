"""A job for tests: one of its two subtasks blocks at a number, in its first process life only."""

import os
import time
from datetime import timedelta
from pathlib import Path

from streamlet import Count, Job, Restart
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

COUNT = int(os.environ["COUNT"])
been = Path("been-here")


def blocking(number: int) -> int:
    if number == COUNT // 2 and not been.exists():
        been.touch()
        time.sleep(3600)
    return number


job = Job(
    "blocking",
    checkpoint_interval=timedelta(milliseconds=100),
    checkpoint_timeout=timedelta(seconds=4),
    parallelism=2,
    restart=Restart.fixed(timedelta(milliseconds=1), attempts=3),
)
(
    job.source(Generator(int, count=COUNT, rate_per_second=5_000), uid="numbers")
    .key_by(lambda number: number % 7, uid="k")
    .map(blocking, uid="blocking")
    .key_by(lambda number: number % 7, uid="again")
    .aggregate(Count(), result=lambda key, count: {"key": key, "count": count}, uid="count")
    .sink(FileSink("out"), uid="out")
)
