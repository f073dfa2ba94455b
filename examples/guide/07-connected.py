"""Connected streams: two streams in one function, and rules that every subtask gets.

`connect` gives two streams that are keyed alike to one function, whose state and timers they share.
`connect_broadcast` gives one stream of a low rate, such as rules, to every subtask, in one order.  It fills tables that
are not keyed, which the records of all keys read.

`process_broadcast_element` may change the tables and emits nothing; everything else may only read them.  The tables are
in memory and in the checkpoint, whole for every subtask also after a change of parallelism.  Which of two streams comes
first is not fixed, so a record may come before a rule that was written earlier.  Event time needs a watermark strategy
on both streams, and rules that seldom come need `with_idleness`.
"""

from collections.abc import Iterator

import msgspec

from streamlet import (
    BroadcastContext,
    BroadcastState,
    Job,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    ProcessContext,
    ValueState,
)
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Order(msgspec.Struct, frozen=True):
    id: int
    shop: str
    cents: int


class Payment(msgspec.Struct, frozen=True):
    order: int
    cents: int


class Rule(msgspec.Struct, frozen=True):
    shop: str
    limit: int


# Orders and payments in one function: each of the two streams has a method.
class Settled(KeyedCoProcessFunction[int, Order, Payment, str]):
    owed = ValueState(int)  # below 0 where a payment came first

    def process_element1(self, value: Order, ctx: ProcessContext[int]) -> Iterator[str]:
        return self.book(value.cents, ctx)

    def process_element2(self, value: Payment, ctx: ProcessContext[int]) -> Iterator[str]:
        return self.book(-value.cents, ctx)

    def book(self, cents: int, ctx: ProcessContext[int]) -> Iterator[str]:
        self.owed.update((self.owed.value() or 0) + cents)
        if not self.owed.value():
            yield f"order {ctx.key} is settled"


# Limits that every subtask knows: 50 cents, until a rule for the shop has come.
class OverLimit(KeyedBroadcastProcessFunction[int, Order, Rule, str]):
    limits = BroadcastState(str, int)

    def process_element(self, value: Order, ctx: ProcessContext[int]) -> Iterator[str]:
        if value.cents > self.limits.get(value.shop, 50):
            yield f"order {ctx.key} is over the limit of {value.shop}"

    def process_broadcast_element(self, value: Rule, ctx: BroadcastContext) -> None:
        self.limits.put(value.shop, value.limit)


job = Job("settled")
orders = job.source(Generator(lambda i: Order(i, f"s{i % 2}", 10 + 2 * i), count=50), uid="orders")
payments = job.source(Generator(lambda i: Payment(i % 30, 5 + i % 30), count=60), uid="payments")
rules = job.source(Generator(lambda i: Rule(f"s{i}", 60 + i), count=2), uid="rules")

by_id = orders.key_by(lambda order: order.id)
by_id.connect(payments.key_by(lambda payment: payment.order)).process(Settled(), uid="settled").sink(Print(), uid="out")
by_id.connect_broadcast(rules).process(OverLimit(), uid="over").sink(Print("over: "), uid="alarms")

if __name__ == "__main__":
    raise SystemExit(job.run())
