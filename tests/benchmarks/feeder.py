"""Writes payments at a fixed rate, whatever becomes of them: `python -m tests.benchmarks.feeder BOOTSTRAP TOPIC FIRST
COUNT RATE AT`.

Payment number FIRST + i is due at AT + i / RATE seconds of the monotonic clock, which all processes of a machine share.
A feeder that is late sends at once: those who measure count from when a record was due.  Prints by how many
milliseconds it was late at most.
"""

from __future__ import annotations

import sys
import time
from itertools import islice

from confluent_kafka import Producer

from tests.benchmarks.payments import encoded, payments

_NAP_SECONDS = 0.0005


def feed(bootstrap: str, topic: str, first: int, count: int, rate: float, at: float) -> float:
    """Sends until all is delivered; gives by how many seconds it was late at most."""
    made = [
        (payment.user.encode(), encoded(first + number, payment))
        for number, payment in enumerate(islice(payments(first + count), first, None))
    ]
    settings = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 0, "acks": "1"}
    producer = Producer({"log_level": 0, "queue.buffering.max.messages": 1_000_000, **settings})
    producer.list_topics(topic, timeout=10)
    sent, late = 0, 0.0
    while sent < count:
        now = time.monotonic()
        due = min(count, int((now - at) * rate) + 1) if now >= at else 0
        if due > sent:
            late = max(late, now - at - sent / rate)
        for key, value in made[sent:due]:
            producer.produce(topic, value, key)
        sent = max(sent, due)
        producer.poll(0)
        time.sleep(_NAP_SECONDS)
    left = producer.flush(60)
    if left:
        raise RuntimeError(f"{left} records were not delivered within 60 s")
    return late


if __name__ == "__main__":
    bootstrap, topic, first, count, rate, at = sys.argv[1:]
    print(round(feed(bootstrap, topic, int(first), int(count), float(rate), float(at)) * 1000, 1))
