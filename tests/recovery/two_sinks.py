"""A job for tests: what each user spends, into one topic or two, with transactions that time out soon."""

import os
from datetime import timedelta

import msgspec

from streamlet import Count, Job, Json, Restart, Sum
from streamlet_connectors.kafka import KafkaSink, KafkaSource


class Payment(msgspec.Struct, frozen=True):
    user: str
    amount: int


class Spend(msgspec.Struct, frozen=True):
    user: str
    count: int
    sum: int


bootstrap = os.environ["BOOTSTRAP"]

job = Job(
    "two-sinks",
    checkpoint_interval=timedelta(milliseconds=200),
    checkpoint_timeout=timedelta(seconds=1),
    restart=Restart.exponential(timedelta(milliseconds=100), timedelta(milliseconds=300), attempts=3),
)
spent = (
    job.source(KafkaSource(bootstrap, os.environ["IN_TOPIC"], value=Json(Payment)), uid="payments")
    .key_by(lambda payment: payment.user)
    .aggregate(Count(), Sum(lambda payment: payment.amount), result=Spend, uid="spend")
)
spent.sink(
    KafkaSink(bootstrap, os.environ["OUT_TOPIC"], value=Json(), transaction_timeout_seconds=3),
    uid="first",
)
if "OUT_TOPIC_2" in os.environ:
    spent.sink(
        KafkaSink(bootstrap, os.environ["OUT_TOPIC_2"], value=Json(), transaction_timeout_seconds=4),
        uid="second",
    )
