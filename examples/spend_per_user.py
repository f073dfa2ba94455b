"""Counts and sums what each user spends, Kafka to Kafka, exactly-once.

Reads JSON `{"user": str, "amount": int, "ts": epoch ms}` and writes, for every record, the user's running count and
sum as JSON with the user as message key.  BOOTSTRAP, IN_TOPIC and OUT_TOPIC come from the environment.
"""

import os
from datetime import timedelta

import msgspec

from streamlet import Count, Job, Json, Sum
from streamlet_connectors.kafka import KafkaSink, KafkaSource


class Payment(msgspec.Struct, frozen=True, gc=False):
    user: str
    amount: int


class Spend(msgspec.Struct, frozen=True, gc=False):
    user: str
    count: int
    sum: int


bootstrap = os.environ.get("BOOTSTRAP", "localhost:9092")

job = Job("spend-per-user", checkpoint_interval=timedelta(seconds=1))

(
    job.source(
        KafkaSource(bootstrap, os.environ.get("IN_TOPIC", "payments"), value=Json(Payment)),
        uid="payments",
    )
    .key_by(lambda payment: payment.user)
    .aggregate(Count(), Sum(lambda payment: payment.amount), result=Spend, uid="spend")
    .sink(KafkaSink(bootstrap, os.environ.get("OUT_TOPIC", "spend"), value=Json()), uid="out")
)

if __name__ == "__main__":
    raise SystemExit(job.run())
