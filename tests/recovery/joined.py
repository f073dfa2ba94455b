"""A job for tests: orders with their payments by an interval join, two Kafka topics to a third.

BOOTSTRAP, ORDERS, PAYMENTS and OUT come from the environment.
"""

import os
from datetime import timedelta

import msgspec

from streamlet import Job, Json, WatermarkStrategy
from streamlet_connectors.kafka import KafkaSink, KafkaSource


class Order(msgspec.Struct, frozen=True):
    order: int
    at: int


class Payment(msgspec.Struct, frozen=True):
    order: int
    number: int
    at: int


class Report(msgspec.Struct, frozen=True):
    order: int | None
    payment: int | None


def report(order: Order | None, payment: Payment | None) -> Report:
    return Report(None if order is None else order.order, None if payment is None else payment.number)


bootstrap = os.environ["BOOTSTRAP"]
strategy = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=30))

job = Job("joined", checkpoint_interval=timedelta(milliseconds=200), state_memory=1 << 20)
orders = job.source(
    KafkaSource(bootstrap, os.environ["ORDERS"], value=Json(Order)),
    uid="orders",
    watermarks=strategy.with_timestamps(lambda one: one.at),
)
payments = job.source(
    KafkaSource(bootstrap, os.environ["PAYMENTS"], value=Json(Payment)),
    uid="payments",
    watermarks=strategy.with_timestamps(lambda one: one.at),
)
(
    orders.key_by(lambda one: one.order)
    .interval_join(
        payments.key_by(lambda one: one.order), report, how="full", uid="joined",
        lower=timedelta(0), upper=timedelta(seconds=15), left_type=Order, right_type=Payment,
    )
    .sink(KafkaSink(bootstrap, os.environ["OUT"], value=Json()), uid="out")
)  # fmt: skip
