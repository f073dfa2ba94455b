"""A running count per user, at-least-once, as a person writes it over a Kafka client in C: a poll, a dict, a produce.

It keeps nothing, and shows how soon a result can be there with this broker on this machine.
"""

from __future__ import annotations

import os
from collections import Counter

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.benchmarks.handwritten import Payment
from tests.benchmarks.output_topic import PARTITIONS

_LINGER_MS = 5


def main() -> None:
    """Runs until it is ended."""
    common = {"bootstrap.servers": os.environ["BOOTSTRAP"], "log_level": 0}
    consumer = Consumer({**common, "group.id": "by-hand", "enable.auto.commit": False})
    consumer.assign([TopicPartition(os.environ["IN_TOPIC"], partition, 0) for partition in range(PARTITIONS)])
    producer = Producer(
        {**common, "enable.idempotence": True, "linger.ms": _LINGER_MS, "partitioner": "murmur2_random"}
    )
    decode = msgspec.json.Decoder(Payment).decode
    counts: Counter[str] = Counter()
    while True:
        for message in consumer.consume(500, timeout=0.005):
            if message.error() is None:
                user = decode(message.value() or b"").user
                counts[user] += 1
                result = msgspec.json.encode({"user": user, "count": counts[user]})
                producer.produce(os.environ["OUT_TOPIC"], result, user)
        producer.poll(0)


if __name__ == "__main__":
    main()
