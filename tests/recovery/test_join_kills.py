"""A join of two topics, killed again and again, goes on with more subtasks: every pair once, and nobody twice."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.kafka.broker import Kafka
from tests.kafka.reading import read_committed
from tests.recovery.running_jobs import PROJECT, SECONDS, a_home, a_seed, is_full_run
from tests.recovery.spending import PARTITIONS, QUICK, a_witness

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900 if is_full_run() else 400)]

JOB = PROJECT / "tests" / "recovery" / "joined.py"
KILLS, PORTION = (20, 3_000) if is_full_run() else (2, 400)
STEP, UPPER = 40, 15_000
START = int(time.time() * 1000) - 3_600_000
"""Not long ago: brokers delete records whose times are older than their retention."""


class Shop:
    """What was ordered and paid so far. Times go back by less than the strategy allows, so nothing is late."""

    def __init__(self, kafka: Kafka, orders: str, payments: str, seed: int) -> None:
        self._topics = orders, payments
        self._random = random.Random(seed)
        self._orders: list[int] = []
        self._payments: list[tuple[int, int]] = []
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 1, "retries": 0, "log_level": 0})
        self._failed: list[str] = []

    def feed(self, count: int) -> None:
        """Further orders, most with one payment, some with none, several, or one that is too early or too late."""
        chance = self._random
        for _ in range(count):
            order = len(self._orders)
            at = START + order * STEP
            self._orders.append(at)
            self._send(0, {"order": order, "at": at})
            for _ in range(chance.choice((0, 1, 1, 1, 2))):
                paid = at + chance.choice((chance.randrange(UPPER + 1), UPPER, 0, UPPER + 1, -1))
                self._send(1, {"order": order, "number": len(self._payments), "at": paid})
                self._payments.append((order, paid))
        self._flush()

    def pass_time(self) -> None:
        """Records far ahead in each partition, which themselves meet nobody before the test ends."""
        ahead = START + len(self._orders) * STEP + 1_000_000
        for partition in range(PARTITIONS):
            self._send(0, {"order": -1 - partition, "at": ahead}, partition)
            self._send(1, {"order": -10 - partition, "number": -1, "at": ahead}, partition)
        self._flush()

    def expected(self) -> Counter[tuple[int | None, int | None]]:
        pairs = [
            (order, number)
            for number, (order, paid) in enumerate(self._payments)
            if 0 <= paid - self._orders[order] <= UPPER
        ]
        met, matched = {order for order, _ in pairs}, {number for _, number in pairs}
        unpaid = [(order, None) for order in range(len(self._orders)) if order not in met]
        unknown = [(None, number) for number in range(len(self._payments)) if number not in matched]
        return Counter([*pairs, *unpaid, *unknown])

    def _send(self, side: int, value: dict[str, Any], partition: int | None = None) -> None:
        where = self._random.randrange(PARTITIONS) if partition is None else partition
        self._producer.produce(
            self._topics[side], value=json.dumps(value), partition=where, on_delivery=self._delivered
        )

    def _flush(self) -> None:
        left = self._producer.flush(2 * SECONDS)
        assert not left and not self._failed, f"{left} records were not written: {self._failed[:1]}"

    def _delivered(self, error: object, _: object) -> None:
        if error is not None:
            self._failed.append(str(error))


def test_an_interval_join_is_exact_after_random_kills_and_with_more_subtasks(kafka: Kafka, tmp_path: Path) -> None:
    topics = {name: f"{name.lower()}-{uuid.uuid4().hex[:12]}" for name in ("ORDERS", "PAYMENTS", "OUT")}
    for topic in topics.values():
        kafka.create_topic(topic, PARTITIONS)
    seed = a_seed()
    shop = Shop(kafka, topics["ORDERS"], topics["PAYMENTS"], seed)
    lives = random.Random(seed)
    with (
        a_home(JOB, tmp_path / "state", {"BOOTSTRAP": kafka.bootstrap, **topics}) as home,
        a_witness(kafka, topics["OUT"]) as witness,
    ):
        for _ in range(KILLS):
            shop.feed(PORTION)
            # Fewer than what this portion gives at once: the rest is under way, or in the state.
            goal = witness.seen + lives.randrange(PORTION // 3)
            job = home.start(*QUICK, "--parallelism", "2")
            job.wait_until(lambda goal=goal: witness.look(0.02) > goal, "more is committed")  # type: ignore[misc]
            job.kill()
        shop.feed(PORTION)
        shop.pass_time()
        expected = shop.expected()
        job = home.start(*QUICK, "--parallelism", "3")
        job.wait_until(lambda: witness.look(0.05) >= expected.total(), f"{expected.total()} records are committed")
        assert job.stop() == 0, job.said
    found = [
        json.loads(one.value or b"") for one in read_committed(kafka.bootstrap, topics["OUT"], timeout_seconds=SECONDS)
    ]
    assert Counter((one["order"], one["payment"]) for one in found) == expected
