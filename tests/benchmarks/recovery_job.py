"""The spending job with a large value per key: its state is about KEYS times VALUE_BYTES, and does not compress.

BOOTSTRAP, IN_TOPIC, OUT_TOPIC, VALUE_BYTES and FIRST (a file that gets the time of the first record) come from the
environment.
"""

import os
import random
import time
from datetime import timedelta
from pathlib import Path

import msgspec

from streamlet import Job, Json
from streamlet.aggregates import AggregateFunction
from streamlet_connectors.kafka import KafkaSink, KafkaSource

VALUE_BYTES = int(os.environ["VALUE_BYTES"])
first = Path(os.environ["FIRST"])


class Payment(msgspec.Struct, frozen=True, gc=False):
    user: str
    amount: int


class Spent(msgspec.Struct, frozen=True, gc=False):
    user: str
    count: int
    sum: int
    ballast: bytes


class Padded(AggregateFunction[Payment, Spent | None, Spent | None]):
    """Count and sum beside bytes that are the user's own."""

    accumulator_type = Spent | None

    def create_accumulator(self) -> Spent | None:
        return None

    def add(self, accumulator: Spent | None, value: Payment) -> Spent:
        if accumulator is None:
            return Spent(value.user, 1, value.amount, random.Random(value.user).randbytes(VALUE_BYTES))
        count, total = accumulator.count + 1, accumulator.sum + value.amount
        return Spent(value.user, count, total, accumulator.ballast)

    def result(self, accumulator: Spent | None) -> Spent | None:
        return accumulator


def user(payment: Payment) -> str:
    global note
    if note:
        note = False
        first.write_text(str(time.monotonic()))
    return payment.user


def line(spent: Spent | None) -> dict[str, object]:
    assert spent is not None
    return {"user": spent.user, "count": spent.count, "sum": spent.sum}


note = True
bootstrap = os.environ["BOOTSTRAP"]
job = Job("recovery", checkpoint_interval=timedelta(milliseconds=int(os.environ["INTERVAL_MS"])))
(
    job.source(KafkaSource(bootstrap, os.environ["IN_TOPIC"], value=Json(Payment)), uid="payments")
    .key_by(user)
    .aggregate(Padded(), uid="spend")
    .map(line)
    .sink(KafkaSink(bootstrap, os.environ["OUT_TOPIC"], value=Json()), uid="out")
)
