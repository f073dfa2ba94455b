"""What goes into a job and what comes out of it while faults hit it: a feeder and a watcher, each in its thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

_TURN_SECONDS = 0.02
_FLUSH_SECONDS = 180.0
_ASK_SECONDS = 60.0


class Feeder:
    """Writes payments at a pace that may be changed; each user's are in one partition, in order."""

    def __init__(self, bootstrap: str, topic: str, total: int, users: int, seed: int) -> None:
        self.fed = 0
        self.total = total
        self._topic, self._users = topic, users
        self._random = random.Random(seed)
        self._per_second = 1000.0
        self._failures: list[str] = []
        self._ended = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    @property
    def left(self) -> int:
        return self.total - self.fed

    def pace(self, per_second: float) -> None:
        self._per_second = per_second

    def finish(self) -> int:
        """Feeds the rest at once; gives how many were fed when all are acknowledged."""
        self._ended.set()
        self._thread.join()
        left = self._producer.flush(_FLUSH_SECONDS)
        assert not left and not self._failures, f"{left} payments were not written: {self._failures[:1]}"
        return self.fed

    def _run(self) -> None:
        due = 0.0
        while self.left:
            due = self.left if self._ended.is_set() else due + self._per_second * _TURN_SECONDS
            portion = min(int(due), self.left)
            due -= portion
            self._feed(portion)
            self._ended.wait(_TURN_SECONDS)

    def _feed(self, count: int) -> None:
        pick = self._random.random
        for _ in range(count):
            user = f"user-{int(pick() * self._users)}"
            value = f'{{"user":"{user}","amount":{int(pick() * 1000)}}}'
            while True:
                try:
                    self._producer.produce(self._topic, key=user, value=value, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self.fed += 1
        self._producer.poll(0)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failures.append(str(error))


class Watcher:
    """Reads a topic as readers do (read_committed), and knows when something new came."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.seen = 0
        self._topic = topic
        self._last = dict.fromkeys(range(partitions), -1)
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._reader = _consumer(bootstrap)
        self._asker = _consumer(bootstrap)
        self._reader.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def mark(self) -> dict[int, int]:
        """How far a reader could read now, by partition."""
        deadline = time.monotonic() + _ASK_SECONDS
        while True:
            try:
                return {p: self._asker.get_watermark_offsets(TopicPartition(self._topic, p), 5)[1] for p in self._last}
            except KafkaException:
                if time.monotonic() > deadline:
                    raise

    def has_passed(self, mark: dict[int, int]) -> bool:
        """True when a record was read that was not there at the mark."""
        return any(self._last[partition] >= offset for partition, offset in mark.items())

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits for something that reading changes."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._reader.close()
        self._asker.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            new = [one for one in self._reader.consume(10_000, timeout=0.02) if one.error() is None]
            if new:
                with self._changed:
                    self.seen += len(new)
                    for one in new:
                        self._last[one.partition() or 0] = one.offset() or 0
                    self._changed.notify_all()


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "soak-watcher",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        }
    )
