"""A job for tests in six versions, each an edit of the one before; VERSION says which, the rest is as in `windowed`.

1 accounts, 10 s windows and visits  2 a step is added: sums  3 the uid `accounts` becomes `balances`  4 accounts get a
field: the largest amount  5 windows are of 20 s  6 the step `visits` is gone
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from streamlet import (
    Job,
    Json,
    KeyedProcessFunction,
    ProcessContext,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
    Window,
)
from streamlet.aggregates import Collect
from streamlet_connectors.kafka import KafkaSink, KafkaSource

VERSION = int(os.environ["VERSION"])
RENAMED: Any = {"uid": "balances", "renamed_from": "accounts"}
bootstrap = os.environ["BOOTSTRAP"]


class Payment(msgspec.Struct, frozen=True, gc=False):
    user: str
    number: int
    amount: int
    at: int


@dataclass
class Account:
    total: int
    if VERSION >= 4:
        largest: int = 0


class Accounts(KeyedProcessFunction[str, Payment, Any]):
    account = ValueState(Account)

    def process_element(self, value: Payment, ctx: ProcessContext[str]) -> Iterator[Any]:
        account = self.account.value() or Account(0)
        account.total += value.amount
        row = {"user": value.user, "number": value.number, "version": VERSION, "total": account.total}
        if VERSION >= 4:
            account.largest = row["largest"] = max(account.largest, value.amount)
        self.account.update(account)
        yield row


def numbers_of(user: str, window: Window, payments: list[Payment]) -> Any:
    return {"user": user, "start": window.start, "end": window.end, "numbers": [one.number for one in payments]}


def out(topic: str) -> KafkaSink[Any]:
    return KafkaSink(bootstrap, os.environ[topic], value=Json(), key=lambda row: row["user"])


job = Job("upgraded", checkpoint_interval=timedelta(milliseconds=200))
payments = job.source(
    KafkaSource(bootstrap, os.environ["PAYMENTS"], value=Json(Payment)),
    uid="payments",
    watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=2)).with_timestamps(lambda one: one.at),
)
by_user = payments.key_by(lambda one: one.user, uid="by-user")
by_user.process(Accounts(), **({"uid": "accounts"} if VERSION < 3 else RENAMED)).sink(out("ACCOUNTS"), uid="rows")
if VERSION >= 2:
    sums = by_user.sum(lambda one: one.amount, result=lambda user, sum: {"user": user, "sum": sum}, uid="sums")
    sums.sink(out("SUMS"), uid="sums-out")
windows = by_user.window(TumblingWindows(timedelta(seconds=10 if VERSION < 5 else 20)))
windows.aggregate(Collect(type=Payment), result=numbers_of, uid="windows").sink(out("WINDOWS"), uid="windows-out")
if VERSION < 6:
    visits: Any = by_user.count(result=lambda user, count: {"user": user, "count": count}, uid="visits")
else:
    visits = payments.map(lambda one: {"user": one.user, "count": None})
visits.sink(out("VISITS"), uid="visits-out")
