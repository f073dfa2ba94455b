"""A job whose state is much larger than its memory: several passes over scattered keys, then a few keys only.

KEYS, PASSES, FEW and TAIL come from the environment.  First `PASSES` times every key once, in an order that has nothing
to do with how state is sorted; then TAIL records over the first FEW keys of that order.
"""

import os
from datetime import timedelta

import msgspec

from streamlet import Count, Job, Restart, Sum
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.benchmarks.large_state_input import Input

given = Input.of(os.environ)


class Change(msgspec.Struct, frozen=True, gc=False):
    key: str
    amount: int


def change(index: int) -> Change:
    return Change(given.key(index), given.amount(index))


def is_looked_at(result: tuple[str, int, int]) -> bool:
    return result[0].endswith("000")


job = Job(
    "large-state",
    checkpoint_interval=timedelta(milliseconds=int(os.environ.get("INTERVAL_MS", "1000"))),
    restart=Restart.none(),
)
(
    job.source(Generator(change, count=given.records), uid="changes")
    .key_by(lambda value: value.key)
    .aggregate(Count(), Sum(lambda value: value.amount), result=lambda *result: result, uid="sums")
    .filter(is_looked_at)
    .sink(FileSink(os.environ["OUT"]), uid="out")
)
