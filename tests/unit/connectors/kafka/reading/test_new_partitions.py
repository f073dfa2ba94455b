"""Partitions that came after the start are read from their very first record, or what is gone of them is told of."""

from __future__ import annotations

import asyncio
from typing import Any

from confluent_kafka import Producer

from streamlet import Text
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.kafka import KafkaSource
from streamlet_connectors.kafka.protocol.offsets import position_parts


def _fill(kafka: EmbeddedKafka, partition: int, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for value in values:
        producer.produce("in", value, partition=partition)
    assert producer.flush(10) == 0


def test_a_partition_that_is_found_later_begins_at_its_first_offset() -> None:
    with EmbeddedKafka(topics={"in": 1}) as kafka:
        source: Any = KafkaSource(kafka.bootstrap, "in", value=Text())
        known = asyncio.run(source.discover({}))
        kafka.add_partitions("in", 3)
        _fill(kafka, 1, b"a", b"b", b"c")
        kafka.delete_records("in", {1: 2})
        found = asyncio.run(source.discover(known))
        assert {split: position_parts(position).offset for split, position in found.items()} == {"in-1": 0, "in-2": 0}
