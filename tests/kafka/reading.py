"""Independent witnesses: readers and writers that know nothing of streamlet."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition


class Read(NamedTuple):
    """A record as a read_committed reader sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


def read_committed(bootstrap: str, topic: str, *, timeout_seconds: float = 60, to_the_end: bool = True) -> list[Read]:
    """Every committed record, by partition and offset.

    It waits until no transaction is open (last stable offset = high watermark), and fails rather than give a part.
    With `to_the_end=False` it gives what a reader sees now, in front of the first open transaction of each partition.
    """
    deadline = time.monotonic() + timeout_seconds
    consumer = _consumer(bootstrap, "read_committed", tells_ends=not to_the_end)
    try:
        ends = _stable_ends(bootstrap, consumer, topic, deadline if to_the_end else None)
        out: list[Read] = []
        ended: set[int | None] = set()
        todo = {partition: end for partition, end in ends.items() if end > 0}
        consumer.assign([TopicPartition(topic, partition, 0) for partition in todo])
        while todo:
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {topic}: not read to its end {ends} after {timeout_seconds:g} s")
            for message in consumer.consume(500, timeout=0.1):
                error = message.error()
                if error is None:
                    out.append(_read(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    # Behind aborted records in front of an open transaction no position tells that there is no more.
                    ended.add(message.partition())
                else:
                    raise RuntimeError(str(error))
            todo = {p: end for p, end in todo.items() if p not in ended and _position(consumer, topic, p) < end}
        return sorted(out, key=lambda record: record[:2])
    finally:
        consumer.close()


def check_running_counts(
    inputs: Iterable[tuple[str, int]],
    outputs: Sequence[Read],
    *,
    user: str = "user",
    count: str = "count",
    total: str = "sum",
) -> None:
    """Every user of `inputs` (user, amount) has exactly the counts 1..n in order, each with the right sum so far.

    Outputs are JSON objects.  Amounts of a user are added in the order of `inputs`, which must be the order in which
    one partition holds them; all outputs of a user must be in one partition.
    """
    expected: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, amount in inputs:
        so_far = expected[name]
        so_far.append((len(so_far) + 1, (so_far[-1][1] if so_far else 0) + amount))
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    for record in outputs:
        value = json.loads(record.value or b"null")
        seen[value[user]].append((value[count], value[total]))
        partitions[value[user]].add(record.partition)
    for name, numbers in partitions.items():
        assert len(numbers) == 1, f"user {name}: outputs in partitions {sorted(numbers)}, so they have no order"
    assert set(seen) == set(expected), f"users missing or invented: {sorted(set(seen) ^ set(expected))[:10]}"
    for name, wanted in expected.items():
        got = seen[name]
        if got != wanted:
            at = next(
                (i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted))
            )
            raise AssertionError(
                f"user {name}: {len(got)} outputs, expected {len(wanted)}; the first difference is at {at}: "
                f"{got[max(0, at - 2) : at + 3]} instead of {wanted[max(0, at - 2) : at + 3]}"
            )


def fill_topic(
    bootstrap: str,
    topic: str,
    records: Iterable[bytes | tuple[bytes | None, bytes | None]],
    *,
    partition: int | None = None,
    timestamp: int | None = None,
    headers: list[tuple[str, bytes]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Writes values or (key, value) pairs, without a transaction; keys are spread as Java clients do (murmur2)."""
    settings = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 5, **(options or {})}
    producer = Producer({"log_level": 0, "enable.idempotence": True, **settings})
    where: dict[str, Any] = {} if partition is None else {"partition": partition}
    if timestamp is not None:
        where["timestamp"] = timestamp
    if headers is not None:
        where["headers"] = headers
    failures: list[str] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failures.append(str(error))

    for record in records:
        key, value = record if isinstance(record, tuple) else (None, record)
        while True:
            try:
                producer.produce(topic, value=value, key=key, on_delivery=delivered, **where)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    left = producer.flush(60)
    assert not failures, f"topic {topic}: {len(failures)} records were not written: {failures[0]}"
    assert left == 0, f"topic {topic}: {left} records were not written within 60 s"


def _consumer(bootstrap: str, isolation: str, *, tells_ends: bool = False) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "streamlet-tests-reading",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "enable.partition.eof": tells_ends,
            "log_level": 0,
        }
    )


def _stable_ends(bootstrap: str, consumer: Consumer, topic: str, deadline: float | None) -> dict[int, int]:
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    uncommitted = _consumer(bootstrap, "read_uncommitted")
    try:
        while True:
            ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
            all_ = {p: uncommitted.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
            if ends == all_ or deadline is None:
                return ends
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {topic}: a transaction stays open (stable ends {ends}, ends {all_})")
            time.sleep(0.02)
    finally:
        uncommitted.close()


def _position(consumer: Consumer, topic: str, partition: int) -> int:
    offset: int = consumer.position([TopicPartition(topic, partition)])[0].offset
    return offset


def _read(message: Any) -> Read:
    headers = [(name, value) for name, value in message.headers() or []]
    return Read(message.partition(), message.offset(), message.key(), message.value(), headers, message.timestamp()[1])
