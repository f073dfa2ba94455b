"""What is in an output topic, as a reader sees it that knows nothing of streamlet."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

PARTITIONS = 4
_PATIENCE_SECONDS = 30.0
_SOON = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
)


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


def committed(bootstrap: str, topic: str) -> Iterator[tuple[int, bytes]]:
    """(partition, value) of every committed record up to the end that the topic has now."""
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
