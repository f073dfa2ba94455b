"""Windows over four partitions, with late records, killed again and again, are those of a run that never was."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import defaultdict
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.kafka.broker import Kafka
from tests.kafka.reading import Read, read_committed
from tests.recovery.running_jobs import PROJECT, SECONDS, JobHome, a_home, a_seed, is_full_run
from tests.recovery.spending import PARTITIONS, QUICK, Feeder, a_witness

RECORDS, KILLS = (200_000, 20) if is_full_run() else (20_000, 3)
JOB = PROJECT / "tests" / "kafka" / "windowed.py"
SIZE, OUT_OF_ORDER, STEP = 10_000, 2_000, 15
START = int(time.time() * 1000) // SIZE * SIZE - 3_600_000
"""Not long ago: brokers delete records whose times are older than their retention."""
FIRST = 4_000
"""Records before any is late: they carry the watermark over the first windows."""
LATE_SHARE = 0.01
LONGEST_LIFE_SECONDS = 2.5
_PORTION = 1_000

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900 if is_full_run() else 240)]


class Visiting:
    """What was fed, which of it is late whatever comes first, and what must come out.

    In each partition times go back by less than the strategy allows, so that nothing is late that should not be.  Late
    records lie in the first window; they are fed when all windows that could close were seen committed, so that every
    subtask knows a watermark behind the first from then on, whatever checkpoint it is restored from.
    """

    def __init__(self, kafka: Kafka, home: JobHome, topics: list[str], seed: int) -> None:
        self.kafka, self.home = kafka, home
        self.in_topic, self.out_topic, self.late_topic = topics
        self.random = random.Random(seed)
        self.fed = 0
        self.has_late = False
        self.windows: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.late: dict[int, tuple[str, int]] = {}
        self._failed: list[str] = []
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 1, "retries": 0, "log_level": 0})

    def feed(self, count: int) -> None:
        pick = self.random
        for _ in range(count):
            user = f"user-{pick.randrange(200)}"
            if self.has_late and pick.random() < LATE_SHARE:
                at = START + pick.randrange(SIZE)
                self.late[self.fed] = user, at
            else:
                at = START + self.fed * STEP + pick.randrange(OUT_OF_ORDER)
                self.windows[user, at - at % SIZE].append(self.fed)
            self._send(pick.randrange(PARTITIONS), user, at)
        self._flush()

    def close_windows(self) -> None:
        """A record far ahead in each partition: what it belongs to itself stays open."""
        for partition in range(PARTITIONS):
            self._send(partition, "end", START + self.fed * STEP + 100 * SIZE)
        self._flush()

    def expected(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {place: (len(numbers), sum(numbers)) for place, numbers in self.windows.items()}

    def check(self) -> None:
        records = [(one, json.loads(one.value or b"")) for one in self._read(self.out_topic)]
        found = [((value["user"], value["start"]), (value["count"], value["numbers"])) for _, value in records]
        assert len(found) == len(dict(found)), "a window came out twice"
        assert dict(found) == self.expected()
        assert all(one.key == value["user"].encode() for one, value in records)
        assert all(one.timestamp == value["start"] + SIZE - 1 for one, value in records)
        newest: dict[str, int] = {}
        for user, start in (place for place, _ in found):
            assert newest.get(user, 0) < start, "windows of a key are in order"
            newest[user] = start
        late = [json.loads(one.value or b"") for one in self._read(self.late_topic)]
        assert len(late) == len(self.late)
        assert {one["number"]: (one["user"], one["at"]) for one in late} == self.late

    def _read(self, topic: str) -> list[Read]:
        return read_committed(self.kafka.bootstrap, topic, timeout_seconds=SECONDS)

    def _send(self, partition: int, user: str, at: int) -> None:
        value = json.dumps({"user": user, "number": self.fed, "at": at})
        self._producer.produce(self.in_topic, key=user, value=value, partition=partition, on_delivery=self._delivered)
        self.fed += 1

    def _flush(self) -> None:
        left = self._producer.flush(2 * SECONDS)
        assert not left and not self._failed, f"{left} records were not written: {self._failed[:1]}"

    def _delivered(self, error: object, _: object) -> None:
        if error is not None:
            self._failed.append(str(error))


@pytest.mark.parametrize("parallelism", [1, 3] if is_full_run() else [2])
def test_windows_and_late_records_are_exact_after_random_kills(kafka: Kafka, tmp_path: Path, parallelism: int) -> None:
    topics = [f"{what}-{uuid.uuid4().hex[:12]}" for what in ("visits", "windows", "late")]
    for topic in topics:
        kafka.create_topic(topic, PARTITIONS)
    names = ("IN_TOPIC", "OUT_TOPIC", "LATE_TOPIC")
    environment = {"BOOTSTRAP": kafka.bootstrap, **dict(zip(names, topics, strict=True))}
    seed = a_seed()
    options = (*QUICK, "--parallelism", str(parallelism))
    began = time.monotonic()
    with a_home(JOB, tmp_path / "state", environment) as home, a_witness(kafka, topics[1]) as witness:
        visiting = Visiting(kafka, home, topics, seed)
        visiting.feed(FIRST)
        job = home.start(*options)
        closed = sum(1 for _, start in visiting.windows if start <= START + 4 * SIZE)
        job.wait_until(lambda: witness.look(0.05) >= closed, "all windows that can close are committed")
        job.kill()
        visiting.has_late = True
        feeder = Feeder(visiting.feed, RECORDS, _PORTION, RECORDS / ((KILLS + 1) * LONGEST_LIFE_SECONDS / 2))
        lives = random.Random(seed)
        for _ in range(KILLS):
            job = home.start(*options)
            witness.look_until(time.monotonic() + lives.uniform(0.1, LONGEST_LIFE_SECONDS))
            job.kill()
        feeder.finish()
        visiting.close_windows()
        total = len(visiting.windows)
        job = home.start(*options)
        job.wait_until(lambda: witness.look(0.05) >= total, f"{total} windows are committed")
        assert job.stop() == 0, job.said
        visiting.check()
        print(
            f"{visiting.fed} records, {total} windows, {len(visiting.late)} late, {KILLS + 1} kills, "
            f"{time.monotonic() - began:.1f} s"
        )
