"""A running job is upgraded five times with kills in between: its output is that of the versions, record by record.

Which version took a record depends on when it was killed; each row says so itself.  All branches share one checkpoint,
so they must agree: a record is in a window of 10 s exactly if a version before the fifth took it.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.kafka.broker import Kafka
from tests.kafka.reading import read_committed
from tests.recovery.running_jobs import PROJECT, SECONDS, a_home, a_seed, is_full_run
from tests.recovery.spending import PARTITIONS, QUICK, Feeder, a_witness

LIVES = 6 if is_full_run() else 2
"""Of each version, each but the last ended by `kill -9`."""
VERSIONS = range(1, 7)
PER_SECOND = 1_500
JOB = PROJECT / "tests" / "kafka" / "upgraded.py"
START = int(time.time() * 1000) // 20_000 * 20_000 - 3_600_000
"""Not long ago: brokers delete records whose times are older than their retention."""
STEP, OUT_OF_ORDER, USERS = 15, 2_000, 40
LONGEST_LIFE_SECONDS = 1.5
TOPICS = ("PAYMENTS", "ACCOUNTS", "SUMS", "WINDOWS", "VISITS")

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900 if is_full_run() else 240)]


class Paying:
    """What was fed, by user in the order of its partition, and what must come of it."""

    def __init__(self, kafka: Kafka, topics: dict[str, str], seed: int) -> None:
        self.kafka, self.topics, self.random = kafka, topics, random.Random(seed)
        self.fed: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        self.count = 0
        self._failed: list[str] = []
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 1, "retries": 0, "log_level": 0})

    def feed(self, count: int) -> None:
        for _ in range(count):
            user = self.random.randrange(USERS)
            at = START + self.count * STEP + self.random.randrange(OUT_OF_ORDER)
            self.pay(f"user-{user}", user % PARTITIONS, self.random.randrange(1_000), at)
        self.flush()

    def close_windows(self) -> None:
        """A payment far ahead in each partition: the windows that those belong to stay open."""
        for partition in range(PARTITIONS):
            self.pay("end", partition, 0, START + self.count * STEP + 1_000_000)
        self.flush()

    def pay(self, user: str, partition: int, amount: int, at: int) -> None:
        self.fed[user].append((self.count, amount, at))
        row = {"user": user, "number": self.count, "amount": amount, "at": at}
        self._producer.produce(self.topics["PAYMENTS"], json.dumps(row), partition=partition, on_delivery=self._told)
        self.count += 1

    def flush(self) -> None:
        left = self._producer.flush(2 * SECONDS)
        assert not left and not self._failed, f"{left} records were not written: {self._failed[:1]}"

    def _told(self, error: object, _: object) -> None:
        if error is not None:
            self._failed.append(str(error))

    def rows(self, name: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for one in read_committed(self.kafka.bootstrap, self.topics[name], timeout_seconds=SECONDS):
            row = json.loads(one.value or b"")
            found[row["user"]].append(row)
        return found

    def check(self) -> None:
        accounts, sums, windows, visits = map(self.rows, TOPICS[1:])
        seen = set()
        del self.fed["end"]  # of several partitions, so in no order
        for user, fed in self.fed.items():
            rows = accounts[user]
            assert [row["number"] for row in rows] == [number for number, _, _ in fed]
            versions = [row["version"] for row in rows]
            assert versions == sorted(versions)
            seen.update(versions)
            total = largest = added = 0
            expected = []
            for (_, amount, _), row in zip(fed, rows, strict=True):
                total += amount
                assert row["total"] == total
                if row["version"] >= 2:
                    added += amount
                    expected.append(added)
                largest = max(largest, amount) if row["version"] >= 4 else 0
                assert row.get("largest", 0) == largest and ("largest" in row) == (row["version"] >= 4)
            assert [row["sum"] for row in sums[user]] == expected
            counted = sum(version < 6 for version in versions)
            counts = [row["count"] for row in visits[user]]
            assert [count for count in counts if count is not None] == list(range(1, counted + 1))
            assert len(counts) == len(fed)
            self._check_windows(user, dict(zip((number for number, _, _ in fed), versions, strict=True)), windows[user])
        assert seen == set(VERSIONS), "each version took records"

    def _check_windows(self, user: str, versions: dict[int, int], windows: list[dict[str, Any]]) -> None:
        at = {number: time for number, _, time in self.fed[user]}
        assert sorted(number for row in windows for number in row["numbers"]) == sorted(versions)
        places = [(row["start"], row["end"]) for row in windows]
        assert len(places) == len(set(places)), "a window came out twice"
        for row in windows:
            size = row["end"] - row["start"]
            assert all(row["start"] <= at[number] < row["end"] for number in row["numbers"])
            assert all(size == (10_000 if versions[number] < 5 else 20_000) for number in row["numbers"])


def test_a_job_that_is_upgraded_five_times_and_killed_in_between_is_exact(kafka: Kafka, tmp_path: Path) -> None:
    topics = {name: f"{name.lower()}-{uuid.uuid4().hex[:12]}" for name in TOPICS}
    for topic in topics.values():
        kafka.create_topic(topic, PARTITIONS)
    seed = a_seed()
    paying, lives = Paying(kafka, topics, seed), random.Random(seed)
    environment = {"BOOTSTRAP": kafka.bootstrap, **topics}
    with ExitStack() as stack:
        home = stack.enter_context(a_home(JOB, tmp_path / "state", environment))
        witness = stack.enter_context(a_witness(kafka, topics["ACCOUNTS"]))
        feeder = Feeder(paying.feed, 10_000_000, 200, PER_SECOND)
        stack.callback(feeder.cancel)
        for version in VERSIONS:
            options = [*QUICK, "--allow-dropped-state", "visits"] if version == 6 else [*QUICK]
            for _ in range(LIVES):
                job = home.start(*options, VERSION=str(version))
                before = witness.look(0.05)
                job.wait_until(lambda: witness.look(0.05) > before, f"version {version} has committed")  # noqa: B023
                witness.look_until(time.monotonic() + lives.uniform(0, LONGEST_LIFE_SECONDS))
                job.kill()
        feeder.cancel()
        paying.close_windows()
        job = home.start(*QUICK, VERSION="6")
        job.wait_until(lambda: witness.look(0.05) >= paying.count, "all payments are committed")
        assert job.stop() == 0, job.said
        paying.check()
