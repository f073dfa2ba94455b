"""`spend_per_user` under test: its topics, what is fed into them, and a witness who sees what readers see."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.kafka.broker import Kafka
from tests.kafka.reading import check_running_counts, read_committed
from tests.recovery.running_jobs import PROJECT, SECONDS, JobHome, RunningJob, a_home

JOB = PROJECT / "examples" / "spend_per_user.py"
PARTITIONS = 4
QUICK = ("--checkpoint-interval", "200ms")
_PORTION = 100
_PAUSE_SECONDS = 0.03
"""Between two portions: a small job in the middle of work, not a flood."""


class Spending:
    """A pair of topics, the payments that were fed so far, and the job's home."""

    def __init__(
        self, kafka: Kafka, home: JobHome, in_topic: str, out_topic: str, *, users: int, outages: bool
    ) -> None:
        self.kafka = kafka
        self.home = home
        self.in_topic = in_topic
        self.out_topic = out_topic
        self.fed: list[tuple[str, int]] = []
        self._random = random.Random(17)
        self._users = users
        # An idempotent producer takes half a second to begin; nothing but an outage needs it.
        settings = {"enable.idempotence": True} if outages else {"retries": 0}
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 1,
                "log_level": 0,
                **settings,
            }
        )
        self._failed: list[str] = []

    def feed(self, count: int) -> None:
        """Writes further payments; all of a user are in one partition, in the order of `fed`."""
        pick, producer = self._random, self._producer
        made = [(f"user-{pick.randrange(self._users)}", pick.randrange(1, 1000)) for _ in range(count)]
        for user, amount in made:
            value = json.dumps({"user": user, "amount": amount})
            producer.produce(self.in_topic, key=user, value=value, on_delivery=self._delivered)
        left = producer.flush(2 * SECONDS)
        assert not left and not self._failed, f"{left} payments were not written: {self._failed[:1]}"
        self.fed += made

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed.append(str(error))

    def feed_while(self, job: RunningJob, at_most: int = 10_000) -> None:
        """Writes portions until the job has ended, so that it ends in the middle of work."""
        while not job.has_ended and len(self.fed) < at_most:
            self.feed(_PORTION)
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.process.wait(_PAUSE_SECONDS)

    def feed_until_it_stands(self, job: RunningJob) -> None:
        """Writes portions until the job has stopped itself at its fault point."""
        while not job.stands_still:
            self.feed(_PORTION)

    def finish(self, *options: str) -> None:
        """Runs the job to the end of what was fed, stops it, and checks what a reader sees."""
        job = self.home.start(*QUICK, *options)
        self.wait_for_output(job)
        assert job.stop() == 0, job.said
        self.check()

    def wait_for_output(self, job: RunningJob) -> None:
        """Waits until as many records are committed as were fed."""
        with a_witness(self.kafka, self.out_topic) as witness:
            job.wait_until(lambda: witness.look(0.05) >= len(self.fed), f"{len(self.fed)} records are committed")

    def check(self) -> None:
        """Every user has the counts 1..n with the right sums in order, and nothing else is there."""
        check_running_counts(self.fed, read_committed(self.kafka.bootstrap, self.out_topic, timeout_seconds=SECONDS))


@contextlib.contextmanager
def a_spending(
    kafka: Kafka, folder: Path, job_file: Path = JOB, *, users: int = 50, outages: bool = False, **more: str
) -> Iterator[Spending]:
    """New topics and a new state directory; `more` goes into the job's environment."""
    name = uuid.uuid4().hex[:12]
    in_topic, out_topic = f"payments-{name}", f"spend-{name}"
    for topic in (in_topic, out_topic):
        kafka.create_topic(topic, PARTITIONS)
    environment = {"BOOTSTRAP": kafka.bootstrap, "IN_TOPIC": in_topic, "OUT_TOPIC": out_topic, **more}
    with a_home(job_file, folder / "state", environment) as home:
        yield Spending(kafka, home, in_topic, out_topic, users=users, outages=outages)


class Witness:
    """A read_committed reader that follows a topic: how many records it saw, and when the last came."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.seen = 0
        self.last_at = 0.0
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "streamlet-tests-witness",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])

    def look(self, seconds: float) -> int:
        """Reads what is there, waiting a little; gives how many records it has seen in all."""
        new = sum(1 for message in self._consumer.consume(10_000, timeout=seconds) if message.error() is None)
        if new:
            self.seen += new
            self.last_at = time.monotonic()
        return self.seen

    def look_until(self, deadline: float) -> float | None:
        """Reads on until a time; gives when the first new record came, if one did."""
        before, first = self.seen, None
        while time.monotonic() < deadline:
            if self.look(0.02) > before and first is None:
                first = self.last_at
        return first

    def close(self) -> None:
        self._consumer.close()


@contextlib.contextmanager
def a_witness(kafka: Kafka, topic: str) -> Iterator[Witness]:
    witness = Witness(kafka.bootstrap, topic)
    try:
        yield witness
    finally:
        witness.close()


class Feeder:
    """Feeds in the background, in portions, at about a rate; the rate is load, nothing waits for it."""

    def __init__(self, feed: Callable[[int], None], total: int, portion: int, per_second: float) -> None:
        self._feed, self._total, self._portion = feed, total, portion
        self._pause = portion / per_second
        self._is_cancelled = False
        self._hurry = threading.Event()
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Feeds no more; returns when what was begun is fed."""
        self._is_cancelled = True
        self.finish()

    def finish(self) -> None:
        """Feeds the rest at once; returns when everything is fed."""
        self._hurry.set()
        self._thread.join(2 * SECONDS)
        assert not self._thread.is_alive(), "the input could not be fed"
        if self._failure:
            raise self._failure[0]

    def _run(self) -> None:
        try:
            for start in range(0, self._total, self._portion):
                if self._is_cancelled:
                    break
                self._feed(min(self._portion, self._total - start))
                self._hurry.wait(self._pause)
        except BaseException as error:
            self._failure.append(error)
