"""The input of the spend benchmark, always the same, and the check of every output record against it."""

from __future__ import annotations

import json
import random
import time
from array import array
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from tests.kafka.broker import Kafka
from tests.kafka.reading import fill_topic

USERS = 100_000
PARTITIONS = 4
_SEED = 7
_PATIENCE_SECONDS = 30.0
_SOON = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
_START_MS = 1_700_000_000_000


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


def fill(kafka: Kafka, topic: str, count: int) -> None:
    """Makes the input topic: a user's payments are in one partition, in their order."""
    kafka.create_topic(topic, PARTITIONS)
    template = b'{"user": "%b", "amount": %d, "ts": %d, "page": "/p/%d"}'
    records = (
        (key, template % (key, payment.amount, _START_MS + number, number * 7919 % 99_991))
        for number, payment in enumerate(payments(count))
        for key in (payment.user.encode(),)
    )
    large = {"batch.size": 262_144, "linger.ms": 50, "queue.buffering.max.messages": 500_000}
    fill_topic(kafka.bootstrap, topic, records, options=large)


class Ends:
    """Where a topic ends for readers, over all partitions: records and the markers of transactions."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        self._wanted = {TopicPartition(topic, partition): latest for partition in range(PARTITIONS)}

    def stable(self) -> int:
        """The sum of the last stable offsets: what is before them is decided."""
        return self._sum(IsolationLevel.READ_COMMITTED)

    def written(self) -> int:
        """The sum of the offsets up to which anything was written."""
        return self._sum(IsolationLevel.READ_UNCOMMITTED)

    def _sum(self, isolation: IsolationLevel) -> int:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            found = self._admin.list_offsets(self._wanted, isolation_level=isolation, request_timeout=30)
            try:
                return sum(one.result(30).offset for one in found.values())
            except KafkaException as error:
                # A topic that was just made: its leaders are not known everywhere yet.
                if time.monotonic() > deadline or error.args[0].code() not in _SOON:
                    raise
                time.sleep(0.05)


class _Account:
    """What one user's outputs must be, one after the other."""

    __slots__ = ("amounts", "partition", "seen", "total")

    def __init__(self) -> None:
        self.amounts = array("b")
        self.partition = -1
        self.seen = 0
        self.total = 0


def check(bootstrap: str, topic: str, count: int) -> None:
    """Reads every committed record: each user has the counts 1..n with the right sums, in order, in one partition, and
    nothing else is there. Raises `AssertionError`."""
    accounts: dict[str, _Account] = {}
    for user, amount in payments(count):
        account = accounts.get(user) or accounts.setdefault(user, _Account())
        account.amounts.append(amount)
    seen = 0
    for partition, value in _committed(bootstrap, topic):
        record = json.loads(value)
        user = record["user"]
        account = accounts[user]
        assert account.seen < len(account.amounts), f"{user} has a result too many: {record}"
        account.total += account.amounts[account.seen]
        account.seen += 1
        assert (record["count"], record["sum"]) == (account.seen, account.total), f"{record} is wrong or out of order"
        assert account.partition in (-1, partition), f"{user} is in two partitions"
        account.partition = partition
        seen += 1
    assert seen == count, f"{seen} results of {count} records"


def _committed(bootstrap: str, topic: str) -> Iterator[tuple[int, bytes]]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "streamlet-benchmarks",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "log_level": 0,
        }
    )
    try:
        places = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
        ends = {place.partition: consumer.get_watermark_offsets(place, timeout=30)[1] for place in places}
        consumer.assign(places)
        while any(one.offset < ends[one.partition] for one in consumer.position(places)):
            for message in consumer.consume(10_000, timeout=0.2):
                assert message.error() is None, str(message.error())
                yield message.partition() or 0, message.value() or b""
    finally:
        consumer.close()
