"""KafkaSink: writes records to a Kafka topic, exactly-once for read_committed readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from streamlet import Json
from streamlet.connect import Committer, Delivery, Format, Sink, SinkContext, SinkWriter
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.writing.batching import Compression
from streamlet_connectors.kafka.writing.committer import KafkaCommitter
from streamlet_connectors.kafka.writing.extras import Headers, Timestamp
from streamlet_connectors.kafka.writing.routing import Partition, StreamKey
from streamlet_connectors.kafka.writing.spec import NoneAs, SinkSpec
from streamlet_connectors.kafka.writing.writer import KafkaWriter

T = TypeVar("T")


class KafkaSink(Sink[T]):
    """Writes to one topic: `KafkaSink("localhost:9092", "spend", value=Json())`.

    With `delivery="exactly_once"` (the default) each checkpoint is one Kafka transaction per subtask: readers with
    `isolation.level=read_committed` see every record once, as soon as the checkpoint is committed.  Readers that are
    not read_committed see records earlier, and those of aborted transactions too.

    - `value`: how values become bytes.
    - `key`: the stream's key by default (no key if the stream is not keyed), a function of the value, or None.
      `key_format` writes it; by default str as UTF-8, bytes as they are, everything else as JSON.  The partition of a
      key is the one that every Java client chooses, fixed while the job runs.  Records without a key go to the
      partitions in turn.
    - `none_as`: None is written as a record without a value, which deletes its key in a compacted topic ("deletion"),
      or as the format writes it ("value": `null` in JSON).
    - `partition`: a function (key, value, number of partitions) that chooses instead.
    - `headers`: a mapping or list of pairs (str, bytes), or a function of the value that gives one.
    - `timestamp`: "event" (the record's event time, now where it has none or is still to come, as for an early result
      of a window, and 0 before 1970), "now", or a function of the value that gives epoch ms.
    - `compression`: "zstd", "lz4", "snappy" or "gzip".
    - `transaction_timeout_seconds`: how long a prepared transaction may wait for its commit, a crash and the time
      until the next start included.  At most the brokers' `transaction.max.timeout.ms`.  When it passes, the broker
      aborts the output, and the job stops and says so.
    - `delivery_timeout_seconds`: how long one write is tried again before the attempt fails.
    - `linger_seconds`: at-least-once only: how long a record may wait for others; longer makes fewer and
      larger requests.
    - `max_record_bytes`: an own limit of a record's key and value; the topic's `max.message.bytes` is always checked.
    - every further option is about the connection, see `KafkaOptions`.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        topic: str,
        *,
        value: Format[T] | None = None,
        key: Callable[[T], Any] | StreamKey | None = "stream",
        key_format: Format[Any] | None = None,
        none_as: NoneAs = "deletion",
        headers: Callable[[T], Headers | None] | Headers | None = None,
        timestamp: Callable[[T], int] | Timestamp = "event",
        partition: Partition | None = None,
        compression: Compression | None = None,
        delivery: Delivery = "exactly_once",
        transaction_timeout_seconds: float = 900.0,
        delivery_timeout_seconds: float = 120.0,
        linger_seconds: float = 0.005,
        max_record_bytes: int | None = None,
        **options: Any,
    ) -> None:
        self.delivery = delivery
        self._spec = SinkSpec(
            options=KafkaOptions.of(bootstrap, options, where=f"KafkaSink({topic!r})"),
            topic=topic,
            value=Json() if value is None else value,
            key=key,
            key_format=key_format,
            none_as=none_as,
            headers=headers,
            timestamp=timestamp,
            partition=partition,
            compression=compression,
            delivery=delivery,
            transaction_timeout_seconds=transaction_timeout_seconds,
            delivery_timeout_seconds=delivery_timeout_seconds,
            linger_seconds=linger_seconds,
            max_record_bytes=max_record_bytes,
        )
        self._spec.check()

    def writer(self, context: SinkContext) -> SinkWriter[T]:
        return KafkaWriter(self._spec, context)

    def committer(self, context: SinkContext) -> Committer | None:
        return KafkaCommitter(self._spec, context) if self.delivery == "exactly_once" else None

    def __repr__(self) -> str:
        return f"KafkaSink({self._spec.options.bootstrap!r}, {self._spec.topic!r}, delivery={self.delivery!r})"
