"""A job for tests: asks about numbers with many asynchronous calls in flight, and counts by key behind them.

COUNT, RATE and ORDERED come from the environment; files go to the folders `answers` and `counts`.
"""

import asyncio
import os
from datetime import timedelta

import msgspec

from streamlet import Count, Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


class Line(msgspec.Struct, frozen=True):
    key: int
    count: int


async def answer(number: int) -> int:
    """Some at once, some long after others."""
    await asyncio.sleep(number * 7919 % 50 / 1000)
    return number


job = Job("asking", checkpoint_interval=timedelta(milliseconds=50), batch_records=50)
answers = job.source(
    Generator(lambda number: number, count=int(os.environ["COUNT"]), rate_per_second=float(os.environ["RATE"])),
    uid="numbers",
).map_async(answer, ordered=os.environ["ORDERED"] == "1", capacity=200, uid="ask")
answers.sink(FileSink("answers"), uid="answers")
answers.key_by(lambda number: number % 97).aggregate(Count(), result=Line, uid="count").sink(
    FileSink("counts"), uid="counts"
)
