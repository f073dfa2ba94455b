"""A job for tests: what each user spends, with little patience, so that an outage of seconds outlasts all of it."""

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
    "outlasting",
    checkpoint_interval=timedelta(milliseconds=200),
    checkpoint_timeout=timedelta(seconds=1),
    restart=Restart.exponential(timedelta(milliseconds=100), timedelta(milliseconds=300), attempts=2),
)
(
    job.source(KafkaSource(bootstrap, os.environ["IN_TOPIC"], value=Json(Payment)), uid="payments")
    .key_by(lambda payment: payment.user)
    .aggregate(Count(), Sum(lambda payment: payment.amount), result=Spend, uid="spend")
    .sink(
        KafkaSink(
            bootstrap,
            os.environ["OUT_TOPIC"],
            value=Json(),
            transaction_timeout_seconds=3,
            delivery_timeout_seconds=1.5,
            connect_timeout_seconds=1,
            request_timeout_seconds=1,
        ),
        uid="out",
    )
)
