"""A Kafka broker as a state machine: requests and the time go in, answers come out; it does nothing else.

It follows what Apache Kafka 4.1 answers to the request versions that it offers, quirks included, and the contract
tests hold both to the same answers.  Several nodes may serve one state, which stands for replicas that are all in sync;
everything is in memory.  There is no I/O here, no clock and
no chance: time comes with each call and must not go back, randomness with the constructor, so a test that gives the
same of both sees the same of everything.

```text
SimulatedBroker -- topics -------> Topic -> PartitionLog -> RecordBatch, ProducerState
                -- transactions -> TransactionalId
                -- groups -------> Group -> Member, GroupOffsets
```
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence

from streamlet.testing.kafka.model import batches, codes
from streamlet.testing.kafka.model.batches import NO_PRODUCER, RecordBatch
from streamlet.testing.kafka.model.groups import Groups
from streamlet.testing.kafka.model.log import Appended, PartitionLog
from streamlet.testing.kafka.model.offsets import GroupOffset
from streamlet.testing.kafka.model.settings import BrokerSettings
from streamlet.testing.kafka.model.topics import Topic, Topics
from streamlet.testing.kafka.model.transactions import Place, TransactionalId, TransactionCoordinator

Address = tuple[str, int]


class SimulatedBroker:
    """The state of a cluster. Call `advance` before each request, and when `next_event_ms` has come."""

    def __init__(self, settings: BrokerSettings | None = None, randomness: random.Random | None = None) -> None:
        self.settings = settings or BrokerSettings()
        randomness = randomness or random.Random(0)
        self.cluster_id = uuid.UUID(int=randomness.getrandbits(128), version=4).hex[:22]
        self.addresses: dict[int, Address] = {}
        """Where the brokers of the cluster are, by node, as clients are told."""
        self.topics = Topics(randomness)
        self.transactions = TransactionCoordinator(self.settings)
        self.groups = Groups(randomness)
        self._now_ms: int | None = None

    # -- brokers

    @property
    def coordinator(self) -> int:
        """The broker that clients are sent to with their transactions and groups.  All of them would answer."""
        return self.topics.nodes[0]

    def join(self, node: int, address: Address) -> None:
        """A broker is there, or there again: it leads what is given to it, and new partitions."""
        self.addresses[node] = address
        if node not in self.topics.nodes:
            self.topics.nodes.append(node)

    def leave(self, node: int) -> None:
        """A broker has been away for long enough: others lead what it led.  The last one stays."""
        if len(self.topics.nodes) > 1:
            self.topics.leave(node)
            self.addresses.pop(node, None)

    # -- time

    def advance(self, now_ms: int) -> None:
        """Does what is due: time-outs, expiry, markers, silent group members."""
        self._now_ms = now_ms
        self.transactions.sweep(now_ms)
        for transaction in self.transactions.due(now_ms):
            self._write_markers(transaction, now_ms)
        self.groups.advance(now_ms)

    def next_event_ms(self) -> int | None:
        """When `advance` has something to do without a request, or None."""
        times = (self.transactions.next_event_ms(), self.groups.next_event_ms())
        return min((at for at in times if at is not None), default=None)

    def _write_markers(self, ended: TransactionalId, now_ms: int) -> None:
        commit = ended.is_committing
        for topic, partition in sorted(ended.partitions):
            if (log := self.topics.log(topic, partition)) is not None:  # a deleted topic is nobody's error
                log.end_transaction(ended.producer_id, ended.epoch, commit=commit, now_ms=now_ms)
        self.groups.end_transaction(ended.groups, ended.producer_id, commit=commit)
        self.transactions.complete(ended, now_ms)

    # -- writing

    def produce(self, transactional_id: str | None, topic: str, partition: int, data: bytes) -> Appended:
        """Appends one batch, as Produce up to version 10 does."""
        found = self.topics.get(topic)
        log = self.topics.log(topic, partition)
        if found is None or log is None:
            return Appended(codes.UNKNOWN_TOPIC_OR_PARTITION)
        parsed = batches.parse(data)
        if parsed is None:
            return Appended(codes.CORRUPT_MESSAGE)
        if len(parsed) != 1:
            return Appended(codes.INVALID_RECORD)
        (batch,) = parsed
        error = self._unverified(transactional_id, (topic, partition), log, batch) or self._unfit(found, batch)
        return Appended(error) if error else log.append(batch)

    def _unverified(self, transactional_id: str | None, place: Place, log: PartitionLog, batch: RecordBatch) -> int:
        """An error code when a transactional batch belongs to no open transaction. A batch without the transactional
        flag is not looked at, whoever sends it."""
        if not batch.is_transactional or log.has_open_transaction(batch.producer_id, batch.epoch):
            return codes.NONE
        if transactional_id is None:
            return codes.INVALID_TXN_STATE
        error = self.transactions.verify(transactional_id, batch.producer_id, batch.epoch, place)
        if error == codes.CONCURRENT_TRANSACTIONS:
            return codes.NOT_ENOUGH_REPLICAS
        return codes.INVALID_PRODUCER_EPOCH if error == codes.PRODUCER_FENCED else error

    def _unfit(self, topic: Topic, batch: RecordBatch) -> int:
        """An error code when the topic does not take such a batch."""
        if len(batch.data) > int(topic.setting("max.message.bytes")):
            return codes.MESSAGE_TOO_LARGE
        if batch.is_control or (batch.producer_id != NO_PRODUCER and batch.base_sequence < 0):
            return codes.INVALID_RECORD
        if topic.is_compacted and not all(record.has_key for record in batches.records_of(batch)):
            return codes.INVALID_RECORD
        if self._now_ms is not None and _is_out_of_time(topic, batch, self._now_ms):
            return codes.INVALID_TIMESTAMP
        return codes.NONE

    def add_partitions(
        self, transactional_id: str, producer_id: int, epoch: int, places: Sequence[Place], now_ms: int
    ) -> dict[Place, int]:
        """Joins all partitions or none; gives an error code for each."""
        unknown = [place for place in places if self.topics.log(*place) is None]
        if unknown:
            code = {True: codes.UNKNOWN_TOPIC_OR_PARTITION, False: codes.OPERATION_NOT_ATTEMPTED}
            return {place: code[place in unknown] for place in places}
        error = self.transactions.add(transactional_id, producer_id, epoch, now_ms, partitions=places)
        return dict.fromkeys(places, error)

    def commit_offsets_in_transaction(
        self, transactional_id: str, producer_id: int, epoch: int, group: str, offsets: Mapping[Place, GroupOffset]
    ) -> int:
        """Stores a group's offsets for the time when the transaction commits; gives an error code."""
        error = self.transactions.has_group(transactional_id, producer_id, epoch, group)
        if not error:
            self.groups.store_in_transaction(group, producer_id, offsets)
        return error

    # -- topics

    def delete_topic(self, name: str) -> int:
        """Gives an error code."""
        error = self.topics.delete(name)
        if not error:
            self.groups.forget_topic(name)
        return error

    def expire_records(self, topic: str, before_ms: int) -> None:
        """Does what retention does: deletes whole batches that are older, in every partition."""
        found = self.topics.get(topic)
        for log in found.partitions if found is not None else ():
            log.expire(before_ms)


def _is_out_of_time(topic: Topic, batch: RecordBatch, now_ms: int) -> bool:
    """True when a record's time is further from now than the topic allows; -1 is no time."""
    if topic.setting("message.timestamp.type") == "LogAppendTime":
        return False
    after = int(topic.setting("message.timestamp.after.max.ms"))
    before = int(topic.setting("message.timestamp.before.max.ms"))
    if batch.max_timestamp <= now_ms + after and before >= now_ms:
        return False  # nothing needs to be opened
    times = [record.timestamp for record in batches.records_of(batch) if record.timestamp != -1]
    return any(time > now_ms + after or time < now_ms - before for time in times)
