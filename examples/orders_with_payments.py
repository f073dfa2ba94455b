"""Joins orders with their payments: `streamlet run examples/orders_with_payments.py`, no server needed.

An order is paid within 15 minutes, or is reported as unpaid as soon as event time is past that.  Kill it at any instant
and run it again: every order is reported exactly once.
"""

from datetime import timedelta

import msgspec

from streamlet import Job, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


class Order(msgspec.Struct, frozen=True):
    id: str
    amount: int
    at: int


class Payment(msgspec.Struct, frozen=True):
    order: str
    method: str
    at: int


class Report(msgspec.Struct, frozen=True):
    order: str
    amount: int
    paid_by: str | None


def order(number: int) -> Order:
    return Order(f"order-{number}", number % 90 + 10, 1000 * number)


def payment(number: int) -> Payment:
    return Payment(f"order-{number}", ("card", "cash")[number % 2], 1000 * number + number % 20 * 60_000)


def report(order: Order, payment: Payment | None) -> Report:
    return Report(order.id, order.amount, payment.method if payment else None)


job = Job("orders-with-payments")
times = WatermarkStrategy.bounded_out_of_orderness(timedelta(minutes=20))

orders = job.source(Generator(order, count=10_000), uid="orders", watermarks=times.with_timestamps(lambda o: o.at))
payments = job.source(Generator(payment, count=10_000), uid="paid", watermarks=times.with_timestamps(lambda p: p.at))

reports = orders.key_by(lambda o: o.id).interval_join(
    payments.key_by(lambda p: p.order), report, how="left", uid="reports",
    lower=timedelta(0), upper=timedelta(minutes=15), left_type=Order, right_type=Payment,
)  # fmt: skip
reports.sink(FileSink("out"), uid="out")

if __name__ == "__main__":
    raise SystemExit(job.run())
