"""The jobs from Kafka to Kafka: WORK names one. BOOTSTRAP, IN_TOPIC and OUT_TOPIC come from the environment too.

DELIVERY and LINGER_SECONDS are those of the sink, STOP that of the source.  With FIRST, the time of the first record
is written into that file.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from streamlet import Bytes, Count, Job, Json, Sum, Text
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from tests.benchmarks.payments import LEAST_AMOUNT


class Payment(msgspec.Struct, frozen=True, gc=False):
    user: str
    amount: int


class Spend(msgspec.Struct, frozen=True, gc=False):
    user: str
    count: int
    sum: int


class Purchase(msgspec.Struct, frozen=True, gc=False):
    user: str
    cents: int


class Counted(msgspec.Struct, frozen=True, gc=False):
    word: str
    count: int


def source(value: Any) -> KafkaSource[Any]:
    stop: Any = os.environ.get("STOP") or None
    return KafkaSource(os.environ["BOOTSTRAP"], os.environ["IN_TOPIC"], value=value, stop=stop)


def sink(value: Any, **options: Any) -> KafkaSink[Any]:
    delivery: Any = os.environ.get("DELIVERY", "exactly_once")
    if "LINGER_SECONDS" in os.environ:
        options["linger_seconds"] = float(os.environ["LINGER_SECONDS"])
    return KafkaSink(os.environ["BOOTSTRAP"], os.environ["OUT_TOPIC"], value=value, delivery=delivery, **options)


def spend(job: Job) -> None:
    (
        job.source(source(Json(Payment)), uid="payments")
        .key_by(lambda payment: payment.user)
        .aggregate(Count(), Sum(lambda payment: payment.amount), result=Spend, uid="spend")
        .sink(sink(Json()), uid="out")
    )


def pass_through(job: Job) -> None:
    job.source(source(Bytes()), uid="in").sink(sink(Bytes(), key=None), uid="out")


def parse_map_filter(job: Job) -> None:
    (
        job.source(source(Json(Payment)), uid="payments")
        .filter(lambda payment: payment.amount >= LEAST_AMOUNT)
        .map(lambda payment: Purchase(payment.user, 100 * payment.amount))
        .sink(sink(Json(), key=lambda purchase: purchase.user), uid="out")
    )


def word_count(job: Job) -> None:
    (
        job.source(source(Text()), uid="lines")
        .flat_map(str.split)
        .key_by(lambda word: word)
        .aggregate(Count(), result=Counted, uid="count")
        .sink(sink(Json()), uid="out")
    )


def first_record(job: Job) -> None:
    """`spend`, with a function that notes the time when it is called first."""
    target = Path(os.environ["FIRST"])
    noted: list[float] = []

    def user(payment: Payment) -> str:
        if not noted:
            noted.append(time.monotonic())
            target.write_text(str(noted[0]))
        return payment.user

    (
        job.source(source(Json(Payment)), uid="payments")
        .key_by(user)
        .aggregate(Count(), Sum(lambda payment: payment.amount), result=Spend, uid="spend")
        .sink(sink(Json()), uid="out")
    )


JOBS = {made.__name__: made for made in (spend, pass_through, parse_map_filter, word_count, first_record)}

job = Job("benchmark")
JOBS[os.environ["WORK"]](job)
