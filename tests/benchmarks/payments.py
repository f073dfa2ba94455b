"""Payments: input that is always the same, and what must come out of the jobs over it."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from tests.benchmarks.output_topic import PARTITIONS
from tests.kafka.broker import Kafka
from tests.kafka.reading import fill_topic

USERS = 100_000
LEAST_AMOUNT = 20
"""Smaller payments are left out by the job that filters: about a fifth of all."""
LARGE = {"batch.size": 262_144, "linger.ms": 50, "queue.buffering.max.messages": 500_000}
"""For a topic that is filled at once."""
_SEED = 7
_START_MS = 1_700_000_000_000

Output = Iterable[tuple[int, bytes]]
"""(partition, value) of the records that came out, in the order of each partition."""


class Payment(NamedTuple):
    """One record of the input."""

    user: str
    amount: int


def payments(count: int) -> Iterator[Payment]:
    """The first `count` payments of one fixed sequence; the user of rank r comes with a weight of 1/r (Zipf)."""
    pick = random.Random(_SEED)
    names = [f"u{number}" for number in range(USERS)]
    pick.shuffle(names)
    weights = list(accumulate(1 / rank for rank in range(1, USERS + 1)))
    while count > 0:
        # In blocks, so that fewer payments are always the beginning of more.
        for user in pick.choices(names, cum_weights=weights, k=10_000)[:count]:
            yield Payment(user, pick.randrange(1, 100))
        count -= 10_000


def encoded(number: int, payment: Payment) -> bytes:
    """A payment as it stands in the topic; `number` is its place in the sequence."""
    template = b'{"user": "%b", "amount": %d, "ts": %d, "page": "/p/%d"}'
    return template % (payment.user.encode(), payment.amount, _START_MS + number, number * 7919 % 99_991)


def fill(kafka: Kafka, topic: str, count: int) -> None:
    """Makes the input topic: a user's payments are in one partition, in their order."""
    kafka.create_topic(topic, PARTITIONS)
    records = ((payment.user.encode(), encoded(number, payment)) for number, payment in enumerate(payments(count)))
    fill_topic(kafka.bootstrap, topic, records, options=LARGE)


class _Account:
    """What one user's outputs must be, one after the other."""

    __slots__ = ("amounts", "partition", "seen", "total")

    def __init__(self) -> None:
        self.amounts = array("b")
        self.partition = -1
        self.seen = 0
        self.total = 0

    def next(self, partition: int, record: dict[str, object]) -> int:
        """Takes one output in; gives the amount that it belongs to."""
        assert self.seen < len(self.amounts), f"a result too many: {record}"
        assert self.partition in (-1, partition), f"{record} is in partition {partition}, others in {self.partition}"
        amount = self.amounts[self.seen]
        self.partition = partition
        self.total += amount
        self.seen += 1
        return amount


def check_spend(output: Output, count: int) -> None:
    """Each user has the counts 1..n with the right sums, in order, in one partition, and nothing else is there. Raises
    `AssertionError`."""

    def is_right(record: dict[str, object], account: _Account, _: int) -> bool:
        return (record["count"], record["sum"]) == (account.seen, account.total)

    _check_by_user(output, payments(count), is_right)


def check_parsed(output: Output, count: int) -> None:
    """Each payment that is large enough is there as cents, each user's in order and in one partition. Raises
    `AssertionError`."""

    def is_right(record: dict[str, object], _: _Account, amount: int) -> bool:
        return record["cents"] == 100 * amount

    _check_by_user(output, (one for one in payments(count) if one.amount >= LEAST_AMOUNT), is_right)


def _check_by_user(
    output: Output, wanted: Iterable[Payment], is_right: Callable[[dict[str, object], _Account, int], bool]
) -> None:
    accounts: dict[str, _Account] = {}
    seen = 0
    for user, amount in wanted:
        account = accounts.get(user) or accounts.setdefault(user, _Account())
        account.amounts.append(amount)
        seen += 1
    for partition, value in output:
        record = json.loads(value)
        account = accounts[record["user"]]
        amount = account.next(partition, record)
        assert is_right(record, account, amount), f"{record} is wrong or out of order"
        seen -= 1
    assert seen == 0, f"{seen} results are missing"


def check_passed(output: Output, count: int) -> None:
    """Each payment is there once, byte for byte. Raises `AssertionError`."""
    wanted = {encoded(number, payment) for number, payment in enumerate(payments(count))}
    for _, value in output:
        assert value in wanted, f"{value!r} was never put in, or is there twice"
        wanted.remove(value)
    assert not wanted, f"{len(wanted)} records are missing"
