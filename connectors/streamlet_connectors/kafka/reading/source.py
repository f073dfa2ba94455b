"""KafkaSource: reads topics exactly-once, by positions that are in the checkpoint; no consumer group is joined."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args, overload

from streamlet import Json, OutputTag
from streamlet.connect import ConfigError, Format, Outages, Position, ReaderContext, Source
from streamlet_connectors.kafka.protocol import requests
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import BrokersUnreachableError, TopicMissingError, TransportError
from streamlet_connectors.kafka.protocol.offsets import (
    find_offsets,
    position_at,
    position_parts,
    split_name,
    split_parts,
)
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.reading.decoding import Decoder, KafkaRecord, NullValues, OnBadRecord
from streamlet_connectors.kafka.reading.leaders import OutOfRange, gone, replaced
from streamlet_connectors.kafka.reading.partition_fetch import FetchLimits
from streamlet_connectors.kafka.reading.reader import KafkaReader, ReadingOptions

T = TypeVar("T")

Isolation = Literal["read_committed", "read_uncommitted"]
RecordShape = Literal["value", "full"]
Start = Literal["earliest", "latest"] | datetime | int | Mapping[int, int]

_log = logging.getLogger("streamlet.kafka")


class KafkaSource(Source[T]):
    """Reads topics; each partition is a split, and its records come in the order of their offsets.

    - `value`, `key`: formats; the key is only seen with `record="full"`, and is bytes without a format.
    - `start`: where a job without history starts: "earliest", "latest", a time (a datetime with a time zone, or epoch
      ms), or `{partition: offset}` for every partition of the one topic.  Resolved once; partitions that are added
      later are read from their first record.
    - `stop`: "latest" ends the job at what was the end when it first started; None reads for ever.
    - `record`: "value" gives decoded values, "full" gives `KafkaRecord`s.
    - `null_values`: a record without a value (a tombstone) fails the job, is skipped, or is passed as None.
    - `on_bad_record`: a record that cannot be decoded fails the job, or is logged, counted and skipped, or with an
      `OutputTag[BadRecord]` is given as it is to `stream.side_output(tag)`.  Messages name its place; its contents only
      with `show_records=True`, for logs are read by more people than topics are.
    - `timestamps`: True gives Kafka's record timestamps as event times, also where no watermark strategy asks for them.
    - `isolation`: "read_committed" leaves out what transactions have not committed.
    - `out_of_range`: what to do when the topic no longer holds the position: fail, or go on elsewhere with a warning.
    - `group`: offsets are committed to it behind each checkpoint, for lag tools only: nothing is read back, and nobody
      may subscribe with it.
    - `discovery_interval_seconds`: how often new partitions, and topics that were replaced, are looked for.
    - `partition_bytes`, `request_bytes`, `buffer_bytes`: what is fetched ahead per partition, request and reader.
    - all else: how to connect, see `KafkaOptions` (`security_protocol`, `sasl_plain_username`, ...).
    """

    @overload
    def __init__(
        self: KafkaSource[KafkaRecord],
        bootstrap: str | Sequence[str],
        topics: str | Sequence[str],
        *,
        record: Literal["full"],
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self,
        bootstrap: str | Sequence[str],
        topics: str | Sequence[str],
        *,
        value: Format[T],
        record: Literal["value"] = "value",
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(
        self: KafkaSource[Any],
        bootstrap: str | Sequence[str],
        topics: str | Sequence[str],
        *,
        value: None = None,
        record: Literal["value"] = "value",
        **options: Any,
    ) -> None: ...
    def __init__(
        self,
        bootstrap: str | Sequence[str],
        topics: str | Sequence[str],
        *,
        value: Format[Any] | None = None,
        key: Format[Any] | None = None,
        start: Start = "earliest",
        stop: Literal["latest"] | None = None,
        record: RecordShape = "value",
        null_values: NullValues = "fail",
        on_bad_record: OnBadRecord = "fail",
        show_records: bool = False,
        timestamps: bool = False,
        isolation: Isolation = "read_committed",
        out_of_range: OutOfRange = "fail",
        group: str | None = None,
        discovery_interval_seconds: float | None = 30.0,
        partition_bytes: int = 1 << 20,
        request_bytes: int = 8 << 20,
        buffer_bytes: int = 32 << 20,
        **client: Any,
    ) -> None:
        names = [topics] if isinstance(topics, str) or not isinstance(topics, Iterable) else list(topics)
        if wrong := [one for one in names if not isinstance(one, str)]:
            raise ConfigError(
                f"KafkaSource: a topic is named by text, not by {wrong[0]!r:.80}",
                remedy='name it, or several: KafkaSource(address, ["payments", "refunds"])',
            )
        self.topics = tuple(dict.fromkeys(names))
        self._where = f"KafkaSource({', '.join(self.topics)})"
        self._kafka = KafkaOptions.of(bootstrap, client, where=self._where)
        self._one_of("record", record, RecordShape)
        self._one_of("null_values", null_values, NullValues)
        if not isinstance(on_bad_record, OutputTag):
            self._one_of("on_bad_record", on_bad_record, Literal["fail", "skip"])
        self._one_of("isolation", isolation, Isolation)
        self._one_of("out_of_range", out_of_range, OutOfRange)
        self._one_of("stop", stop, Literal["latest", None])
        self._check_sizes(partition_bytes, request_bytes, buffer_bytes)
        if not self.topics or not all(self.topics):
            raise ConfigError(f"{self._where}: no topic is named", remedy='name one: KafkaSource(address, "payments")')
        if key is not None and record != "full":
            raise self._wrong("a key format is given, but only values are read", 'add record="full", or leave key out')
        if discovery_interval_seconds is not None and discovery_interval_seconds <= 0:
            raise self._wrong("discovery_interval_seconds must be more than 0", "None turns it off")
        self._start = self._checked_start(start)
        self.bounded = stop is not None
        self.discovery_interval_seconds = None if self.bounded else discovery_interval_seconds
        self._value: Format[Any] = Json() if value is None else value
        self._key = key
        self._full = record == "full"
        self._outages: Outages | None = None
        self._null_values: NullValues = null_values
        self._on_bad_record: OnBadRecord = on_bad_record
        self.side_outputs = (on_bad_record,) if isinstance(on_bad_record, OutputTag) else ()
        self._show_records = show_records
        self._options = ReadingOptions(
            isolation=requests.READ_COMMITTED if isolation == "read_committed" else 0,
            out_of_range=out_of_range,
            group=group,
            timestamps=timestamps,
            limits=FetchLimits(partition_bytes, request_bytes, buffer_bytes),
        )

    # -- the contract

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> KafkaReader:
        self._outages = context.outages  # discovery meets the same outages, which are told once
        decoder = Decoder(
            self._value,
            self._key,
            full=self._full,
            null_values=self._null_values,
            on_bad_record=self._on_bad_record,
            show_records=self._show_records,
            count=context.count,
        )
        return KafkaReader(self._kafka, self._options, decoder, context, splits, bounded=self.bounded)

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        """Resolves the start option at the very first start; later gives new partitions, from their first record.

        A topic that was deleted and created again, or is gone for `topic_timeout_seconds`, is a final error.  Brokers
        that do not answer are no error once positions are known: the readers compare topic ids too, and wait for them.
        """
        connection = KafkaConnection(self._kafka, outages=self._outages)
        try:
            await connection.open()
            found = {topic: await self._topic(connection, topic, at_start=not known) for topic in self.topics}
            self._compare(known, found)
            if not known:
                return await self._first(connection, found)
            if self.bounded:
                return {}
            return self._later(found, known)
        except (BrokersUnreachableError, TopicMissingError, TransportError) as error:
            if not known:
                raise
            _log.warning("%s: not looked for new partitions: %s", self._where, error.message)
            return {}
        finally:
            await connection.close()

    # -- discovery

    async def _topic(self, connection: KafkaConnection, topic: str, *, at_start: bool) -> TopicInfo:
        try:
            return await connection.wait_for_topic(topic, at_start=at_start)
        except TopicMissingError as error:
            if not (await connection.look([topic]))[topic].error:
                raise  # it is there, but a partition of it has no leader: that may pass
            raise gone(topic, "it is not there", self._kafka.topic_timeout_seconds) from error

    def _compare(self, known: Mapping[str, Position], found: Mapping[str, TopicInfo]) -> None:
        for split, position in known.items():
            topic, partition = split_parts(split)
            info = found.get(topic)
            if info is None:
                raise ConfigError(
                    f"{self._where}: the checkpoint holds positions of topic {topic}, which the source no longer names",
                    remedy="name it again, or give the source another uid to start it anew",
                )
            topic_id = position_parts(position, split).topic_id
            if info.id.hex() != topic_id:
                raise replaced(topic, topic_id, info.id.hex())
            if partition >= info.partitions:
                raise gone(topic, f"partition {partition} is not there", self._kafka.topic_timeout_seconds)

    async def _first(self, connection: KafkaConnection, found: Mapping[str, TopicInfo]) -> dict[str, Position]:
        splits: dict[str, Position] = {}
        for topic, info in found.items():
            starts = await self._starts(connection, info)
            stops: Mapping[int, int] = {}
            if self.bounded:
                stops = await self._find(connection, topic, range(info.partitions), requests.LATEST)
            for partition, offset in starts.items():
                splits[split_name(topic, partition)] = position_at(offset, info.id.hex(), stops.get(partition))
        return splits

    async def _starts(self, connection: KafkaConnection, info: TopicInfo) -> Mapping[int, int]:
        start = self._start
        if isinstance(start, int):
            return await self._find(connection, info.name, range(info.partitions), start)
        if set(start) != set(range(info.partitions)):
            raise self._wrong(
                f"start names partitions {sorted(start)}, but the topic has {info.partitions}",
                f"give an offset for each of the partitions 0 to {info.partitions - 1}",
            )
        return start

    def _later(self, found: Mapping[str, TopicInfo], known: Mapping[str, Position]) -> dict[str, Position]:
        """Partitions that came since: from offset 0, and not from the earliest that is there now.  What was deleted
        before it could be read is told of as everywhere else, when 0 turns out to be out of range."""
        return {
            split_name(topic, partition): position_at(0, info.id.hex(), None)
            for topic, info in found.items()
            for partition in range(info.partitions)
            if split_name(topic, partition) not in known
        }

    async def _find(
        self, connection: KafkaConnection, topic: str, partitions: Sequence[int], which: int
    ) -> Mapping[int, int]:
        timestamps = dict.fromkeys(partitions, which)
        found = await find_offsets(connection, topic, timestamps, isolation=self._options.isolation)
        return {partition: found[partition] for partition in partitions}

    # -- options

    def _checked_start(self, start: Any) -> int | Mapping[int, int]:
        """Gives what ListOffsets is asked for, or the offsets themselves."""
        if start in ("earliest", "latest"):
            return requests.EARLIEST if start == "earliest" else requests.LATEST
        if isinstance(start, datetime):
            if start.tzinfo is None:
                raise self._wrong(f"the start {start} has no time zone", "datetime(..., tzinfo=timezone.utc)")
            return int(start.timestamp() * 1000)
        if isinstance(start, int) and not isinstance(start, bool) and start >= 0:
            return start
        if isinstance(start, Mapping) and all(type(n) is int and n >= 0 for pair in start.items() for n in pair):
            if len(self.topics) > 1:
                raise self._wrong(
                    "start gives offsets of partitions, but there are several topics", "use one source per topic"
                )
            return dict(start)
        raise self._wrong(
            f"start={start!r} is not understood",
            '"earliest", "latest", a datetime with a time zone, epoch ms, or {partition: offset}',
        )

    def _one_of(self, name: str, value: object, allowed: Any) -> None:
        if value not in get_args(allowed):
            raise self._wrong(f"{name}={value!r}", f"choose one of {', '.join(map(repr, get_args(allowed)))}")

    def _check_sizes(self, partition: int, request: int, buffer: int) -> None:
        if not 1024 <= partition <= request <= buffer <= 1 << 31:
            raise self._wrong(
                f"partition_bytes={partition}, request_bytes={request}, buffer_bytes={buffer}",
                "each at least as large as the one before, partition_bytes at least 1024, buffer_bytes below 2 GiB",
            )

    def _wrong(self, what: str, remedy: str) -> ConfigError:
        return ConfigError(f"{self._where}: {what}", remedy=remedy)
