"""KafkaWriter: turns batches into record batches, one per partition, and these into transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import length_hint
from types import NoneType
from typing import Any

from streamlet.connect import (
    Batch,
    Committable,
    ConfigError,
    EncodeError,
    SinkContext,
    SinkError,
    StreamletError,
    UserFunctionError,
    encoded,
)
from streamlet_connectors.kafka.protocol import requests
from streamlet_connectors.kafka.protocol.client import KafkaConnection, Pauses
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.writing.batching import HEADER_BYTES, new_builder
from streamlet_connectors.kafka.writing.delivery import Delivery, Idempotent, ProducerBatch
from streamlet_connectors.kafka.writing.extras import TimeLimits, header_column, listed, require_small, time_column
from streamlet_connectors.kafka.writing.refusals import SETTINGS
from streamlet_connectors.kafka.writing.routing import Router, named_row, shortened
from streamlet_connectors.kafka.writing.spec import SinkSpec
from streamlet_connectors.kafka.writing.transaction import Prepared, Transaction, refused
from streamlet_connectors.kafka.writing.transaction_pool import TransactionPool, transactional_ids

_BATCH_BYTES = 256_000
"""Small enough that a barrier finds little unsent; larger ones were no faster."""
_ALL_BATCHES_BYTES = 32 << 20
_SMALLEST_BATCH_BYTES = 16 << 10
_DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
_ABANDON_SECONDS = 1.0
_SEQUENCES = 1 << 31
_NO_HEADERS: list[tuple[str, bytes]] = []


class PartitionBatch:
    """What is being written to one partition.  `append` is the open batch's own; without one it opens a batch."""

    __slots__ = ("append", "builder", "count", "partition", "sequence", "writer")

    def __init__(self, writer: KafkaWriter, partition: int) -> None:
        self.writer = writer
        self.partition = partition
        self.sequence = 0
        self.count = 0
        self.builder: Any = None
        self.append: Callable[..., Any] = self.begin

    def begin(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Any) -> Any:
        """Opens a batch with its first record: the only one that can be too large, as it fits in any batch."""
        builder = self.writer.new_builder()
        appended = builder.append(offset, timestamp, key, value, headers)
        self.writer.check_size(appended.size, key, self.partition)
        self.builder = builder
        self.append = builder.append
        self.writer.filled.append(self)
        return appended

    def take(self, producer: Transaction | Idempotent) -> ProducerBatch:
        """Closes the open batch."""
        producer_batch = ProducerBatch(self.builder, self.count, producer, self.sequence)
        self.sequence = (self.sequence + self.count) % _SEQUENCES
        self.count = 0
        self.builder = None
        self.append = self.begin
        return producer_batch

    def shut(self) -> None:
        """Makes a write through a remembered target of an ended writer fail, rather than be lost."""
        self.append = _shut


def _shut(*_: Any) -> Any:
    raise SinkError("the Kafka writer is closed")


class KafkaWriter:
    """The writer of one subtask: exactly-once through transactions, or at-least-once as it goes."""

    def __init__(self, spec: SinkSpec, context: SinkContext) -> None:
        self.filled: list[PartitionBatch] = []
        """The targets with an open batch, in the order they were opened."""
        self._spec = spec
        self._context = context
        self._connection = KafkaConnection(
            spec.options, client_id=f"{spec.options.client_id}-{context.uid}", outages=context.outages
        )
        self._delivery = Delivery(
            self._connection,
            spec.topic,
            compression=spec.compression,
            run_blocking=context.run_blocking,
            clock=context.clock,
            seconds=spec.delivery_timeout_seconds,
            limit_of=lambda: self._max_message_bytes,
        )
        self._topic: TopicInfo | None = None
        self._open: list[PartitionBatch] = []
        self._router: Router[PartitionBatch] | None = None
        self._pool: TransactionPool | None = None
        self._producer: Transaction | Idempotent | None = None
        self._max_message_bytes = _DEFAULT_MAX_MESSAGE_BYTES
        self._batch_bytes = _BATCH_BYTES
        self._header_function = spec.headers if callable(spec.headers) else None
        self._headers = [] if callable(spec.headers) else listed(spec.headers)
        self._time_limits = TimeLimits()
        self._needs_keys = False
        self._linger: asyncio.TimerHandle | None = None

    # -- life

    async def open(self) -> None:
        """Connects, checks the topic and the transaction time-out, and makes the first transaction ready."""
        spec, context = self._spec, self._context
        await self._connection.open()
        self._topic = topic = await self._connection.wait_for_topic(spec.topic, at_start=True)
        await self._learn_limits(topic.partitions)
        self._open = [PartitionBatch(self, partition) for partition in range(topic.partitions)]
        self._router = Router(
            self._open,
            key=spec.key,
            key_format=spec.key_format,
            partition=spec.partition,
            owns_memo=context.owns_memo,
        )
        if spec.delivery == "at_least_once":
            self._producer = await self._idempotent()
            return
        await check_timeout(self._connection, spec, context)
        ids = transactional_ids(context.job, context.instance, context.uid, context.attempt, context.subtask)
        self._pool = TransactionPool(self._connection, context.clock, ids, spec.timeout_ms)
        self._producer = await self._pool.take()

    async def close(self) -> None:
        """Stops, and aborts the transaction that is not prepared if the broker answers within a second.  Background
        work is ended and sockets are closed also when this is cancelled, as when a second task of the attempt fails."""
        if self._linger is not None:
            self._linger.cancel()
        for target in self._open:
            target.shut()
        try:
            await self._delivery.close()
            await self._abandon()
        finally:
            if self._pool is not None:
                self._pool.shut()
            if isinstance(self._producer, Transaction):
                self._producer.shut()
            self._connection.shut()
        await self._connection.close()

    async def _abandon(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        producer, self._producer = self._producer, None
        if isinstance(producer, Transaction):
            try:
                async with asyncio.timeout(_ABANDON_SECONDS):
                    await producer.abandon()
            except (TimeoutError, StreamletError):
                pass  # the next start fences it, or it times out

    async def _learn_limits(self, partitions: int) -> None:
        said = await self._connection.topic_settings(self._spec.topic, SETTINGS)
        self._max_message_bytes = int(said.get("max.message.bytes", _DEFAULT_MAX_MESSAGE_BYTES))
        self._needs_keys = "compact" in said.get("cleanup.policy", "")
        self._time_limits = TimeLimits.of(said)
        share = max(_ALL_BATCHES_BYTES // partitions, _SMALLEST_BATCH_BYTES)
        segment_bytes = int(said.get("segment.bytes", _BATCH_BYTES))
        self._batch_bytes = min(_BATCH_BYTES, share, self._max_message_bytes, segment_bytes)

    async def _idempotent(self) -> Idempotent:
        pauses = Pauses()
        deadline = asyncio.get_running_loop().time() + self._spec.options.connect_timeout_seconds
        while True:
            answer = await self._connection.send_to_any(requests.init_producer_id(None, self._spec.timeout_ms))
            if not answer.error:
                return Idempotent(answer.producer_id, answer.epoch)
            if asyncio.get_running_loop().time() > deadline:
                raise refused("asking for a producer id", answer.error)
            await pauses.pause()

    # -- writing

    async def write(self, batch: Batch[Any]) -> None:
        """Takes a batch; waits while 8 MiB are on their way to the brokers."""
        if not self._delivery.has_room:
            await self._delivery.room()
        if self._producer is None:
            assert self._pool is not None, "open() comes first"
            self._producer = await self._pool.take()
            for target in self._open:
                target.sequence = 0
        if not batch.values:
            return
        before = len(self.filled)
        try:
            self._append_all(batch)
        except (EncodeError, UserFunctionError):
            self._announce(before)  # it says which record it is about, and what was written before that
            raise
        except BaseException as error:
            self._delivery.failure = error  # some records of the batch are written: it must not be written again
            raise
        self._announce(before)

    def _append_all(self, batch: Batch[Any]) -> None:
        encoded = self._encoded(batch)
        spec, router = self._spec, self._router
        assert router is not None
        before = 0
        has_times = callable(spec.timestamp) or (spec.timestamp == "event" and batch.timestamps is not None)
        is_bare = spec.headers is None and spec.max_record_bytes is None and not has_times
        if is_bare and router.is_plain(batch):
            written = self._append_plain(batch, encoded, router)
            if written == len(encoded):
                return
            before = written
            batch, encoded = batch.part(written, len(batch)), encoded[written:]
        try:
            targets, keys = router.route(batch)
            if self._needs_keys:
                self._require_keys(keys)
            if spec.max_record_bytes is not None:
                require_small(keys, encoded, spec.max_record_bytes)
            headers = header_column(self._header_function, self._headers, batch)
            times = time_column(spec.timestamp, batch, self._context.clock.now_ms(), self._time_limits)
        except EncodeError as error:
            raise self._refused(batch, error.index, error, before) from error
        column = iter(encoded)
        try:
            # This loop is what a record costs. No calls but one, no objects but the builder's own.
            for target, key, timestamp, value, header in zip(targets, keys, times, column, headers, strict=False):
                if target.append(target.count, timestamp, key, value, header) is None:
                    self._ship(target)
                    target.append(0, timestamp, key, value, header)
                target.count += 1
        except EncodeError as error:
            row = len(encoded) - length_hint(column) - 1
            raise self._refused(batch, row, error, before, row) from error

    def _append_plain(self, batch: Batch[Any], encoded: list[Any], router: Router[PartitionBatch]) -> int:
        """The same, without columns, where a record is its stream's key and a value, and the time is that of writing.
        Gives how many are written: it stops at a key that is not text."""
        remember, now, column = router.remember, self._context.clock.now_ms(), iter(encoded)
        encode = str.encode
        try:
            for keyed, value in zip(batch.keys or (), column, strict=False):
                try:
                    key = encode(keyed.key)
                except (TypeError, UnicodeEncodeError):
                    return len(encoded) - length_hint(column) - 1
                target = keyed.memo or remember(keyed, key)
                if target.append(target.count, now, key, value, _NO_HEADERS) is None:
                    self._ship(target)
                    target.append(0, now, key, value, _NO_HEADERS)
                target.count += 1
        except EncodeError as error:
            row = len(encoded) - length_hint(column) - 1
            raise self._refused(batch, row, error, 0, row) from error
        return len(encoded)

    def _encoded(self, batch: Batch[Any]) -> list[Any]:
        """Gives the value of each record as bytes; None for a record without a value."""
        values = batch.values
        if self._spec.none_as == "deletion" and NoneType in set(map(type, values)):
            rows = [row for row, value in enumerate(values) if value is not None]
            column: list[Any] = [None] * len(values)
            for row, data in zip(rows, self._formatted(batch, [values[row] for row in rows], rows), strict=True):
                column[row] = data
            return column
        return self._formatted(batch, values, range(len(values)))

    def _formatted(self, batch: Batch[Any], values: list[Any], rows: Sequence[int]) -> list[bytes]:
        """Gives the bytes of values, which are these rows of a batch."""
        try:
            written = encoded(self._spec.value, values)
        except EncodeError as error:
            raise self._refused(batch, rows[error.index], error) from error
        if len(written) != len(values):
            # Which of them is missing nobody knows, so no policy can leave it out.
            raise ConfigError(
                f"sink {self._context.uid!r}, topic {self._spec.topic!r}: the format {type(self._spec.value).__name__} "
                f"made {len(written)} of {len(values)} values",
                remedy="its encode_batch gives the bytes of every value, in their order",
            )
        return written

    def _refused(
        self, batch: Batch[Any], row: int, error: EncodeError, before: int = 0, written: int = 0
    ) -> EncodeError:
        """The error of a row: that many were written of those `before` the batch, and of the batch."""
        where = f"sink {self._context.uid!r}, topic {self._spec.topic!r}"
        return EncodeError(
            f"{where}: {named_row(batch, row)}: {error.message}",
            index=before + row,
            remedy=error.remedy,
            written=before + written,
        )

    def _require_keys(self, keys: Sequence[bytes | None]) -> None:
        if None in keys:
            raise EncodeError(
                "it has no key, and the topic is compacted (cleanup.policy=compact), which takes none without",
                index=keys.index(None),
                remedy="give the sink a key=, or set cleanup.policy=delete for the topic",
            )

    def _announce(self, before: int) -> None:
        """Lets partitions join the transaction while their first batch still fills."""
        if len(self.filled) > before and isinstance(self._producer, Transaction):
            self._producer.want(self._spec.topic, [target.partition for target in self.filled[before:]])
        if self._linger is None and self._spec.delivery == "at_least_once":
            self._linger = asyncio.get_running_loop().call_later(self._spec.linger_seconds, self._ship_filled)

    def _ship(self, target: PartitionBatch) -> None:
        assert self._producer is not None
        self.filled.remove(target)
        producer_batch = target.take(self._producer)
        if isinstance(self._producer, Transaction):
            self._producer.records += producer_batch.records
        self._delivery.ship(target.partition, producer_batch)

    def _ship_filled(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._delivery.failure is None:
            for target in list(self.filled):
                self._ship(target)

    def new_builder(self) -> Any:
        return new_builder(self._batch_bytes, is_transactional=self._spec.delivery == "exactly_once")

    def check_size(self, size: int, key: bytes | None, partition: int) -> None:
        """Refuses a record that the topic does not take."""
        whole = size + HEADER_BYTES
        if whole <= self._max_message_bytes or self._spec.compression is not None:
            return
        raise EncodeError(
            f"the record {'without key' if key is None else f'with key {shortened(key)}'} for partition {partition} "
            f"has {whole} bytes, but max.message.bytes of topic {self._spec.topic!r} is {self._max_message_bytes}",
            remedy="raise max.message.bytes of the topic, set compression=, or make the record smaller",
        )

    # -- checkpoints

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        """Sends everything and waits for every acknowledgement; then the transaction is only the committer's."""
        self._ship_filled()
        await self._delivery.flushed()
        transaction = self._producer
        if not isinstance(transaction, Transaction) or not transaction.records:
            return []
        assert self._topic is not None
        committable = transaction.prepare(self._topic, self._connection.cluster)
        self._producer = None
        return [committable]

    async def released(self, committables: Sequence[Committable]) -> None:
        """Makes the transactional ids of these free."""
        if self._pool is not None:
            for committable in committables:
                self._pool.release(Prepared.of(committable))


async def check_timeout(connection: KafkaConnection, spec: SinkSpec, context: SinkContext) -> None:
    """Raises `ConfigError` when the transaction time-out is more than the brokers allow or less than the job needs."""
    seconds = spec.transaction_timeout_seconds
    allowed = await connection.broker_setting("transaction.max.timeout.ms")
    if allowed is not None and spec.timeout_ms > int(allowed):
        raise ConfigError(
            f"sink {context.uid!r}: transaction_timeout_seconds is {seconds:g}, but the brokers allow at most "
            f"{int(allowed) / 1000:g} (transaction.max.timeout.ms={allowed})",
            remedy="lower transaction_timeout_seconds, or raise transaction.max.timeout.ms on the brokers",
        )
    if context.budget_seconds > seconds:
        raise ConfigError(
            f"sink {context.uid!r}: transaction_timeout_seconds is {seconds:g}, but prepared output may have to wait "
            f"{context.budget_seconds:g} s in normal work (checkpoint interval, time-outs and restarts together)",
            remedy="raise transaction_timeout_seconds (and transaction.max.timeout.ms on the brokers), or lower the "
            "checkpoint interval, the checkpoint time-out or the restart delays",
        )
