"""A job for tests without Kafka: a keyed function that takes 20 ms counts what fans out before a shuffle into files.

COUNT and KEYS come from the environment; each number becomes FANS records.
"""

import os
import time
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import Job, KeyedProcessFunction, ProcessContext, ValueState
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

KEYS, FANS = int(os.environ.get("KEYS", "20")), 5


class Line(msgspec.Struct, frozen=True):
    key: int
    count: int


class Slow(KeyedProcessFunction[int, int, Line]):
    seen = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[Line]:
        time.sleep(0.02)
        self.seen.update((self.seen.value() or 0) + 1)
        yield Line(ctx.key, self.seen.value() or 0)


job = Job("slow", checkpoint_interval=timedelta(milliseconds=100), retain=1)
(
    job.source(Generator(lambda number: number, count=int(os.environ.get("COUNT", "60"))), uid="numbers")
    .flat_map(lambda number: range(FANS * number, FANS * (number + 1)), uid="fan")
    .key_by(lambda number: number * 7919 % KEYS)
    .process(Slow(), uid="slow")
    .sink(FileSink("out"), uid="out")
)
