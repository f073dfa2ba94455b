"""A job for tests whose function blocks for ever at a number, in one of several ways."""

import asyncio
import os
import time
from pathlib import Path

from streamlet import Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

WAY = os.environ["WAY"]


def tell() -> None:
    Path("blocks").touch()


def block() -> None:
    tell()
    if WAY == "sleep":
        time.sleep(3600)
    if WAY == "swallow":
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                continue
    if WAY == "lock":
        sum(range(10**12))  # in C, with the interpreter's lock


def plain(number: int) -> int:
    if number == 50 and WAY not in ("async", "thread"):
        block()
    return number


async def waiting(number: int) -> int:
    if number == 50 and WAY == "async":
        tell()
        time.sleep(3600)  # noqa: ASYNC251 - the mistake that this is about
    if number == 50 and WAY == "thread":
        tell()
        await asyncio.to_thread(time.sleep, 3600)
    return number


job = Job("blocking")
(
    job.source(Generator(int, count=100_000, rate_per_second=2_000), uid="numbers")
    .key_by(lambda number: number % 2, uid="k")
    .map(plain, uid="plain")
    .map_async(waiting, uid="waiting")
    .sink(FileSink("out"), uid="out")
)
