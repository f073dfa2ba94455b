"""The requests that streamlet sends, each at one fixed version, and what is read of their answers.

The versions are valid on every Apache Kafka from 3.1 on.  EndTxn is version 0 for good: there a commit can be repeated,
and mixing versions turns a repeated commit into an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streamlet_connectors.kafka.protocol import codes, wire
from streamlet_connectors.kafka.protocol.wire import (
    COMPACT,
    NULLABLE,
    TAGS,
    Array,
    CompactArray,
    Int8,
    Int16,
    Int32,
    Int64,
)

GROUP_COORDINATOR = 0
TRANSACTION_COORDINATOR = 1
READ_UNCOMMITTED = 0
READ_COMMITTED = 1
LATEST = -1
EARLIEST = -2

_THROTTLE = ("throttle_time_ms", Int32)
_ERROR = ("error_code", Int16)
_PRODUCER = (("producer_id", Int64), ("producer_epoch", Int16))


class TopicInfo(NamedTuple):
    """A topic as Metadata shows it: `leaders[p]` is the node that leads partition p, -1 when there is none."""

    name: str
    error: int
    id: bytes
    leaders: tuple[int, ...]
    epochs: tuple[int, ...] = ()
    """How often the leader of partition p had changed when it became that node."""

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return len(self.leaders)


class ClusterInfo(NamedTuple):
    """Where the brokers are, and the topics that were asked for."""

    brokers: Mapping[int, tuple[str, int]]
    cluster: str
    topics: Mapping[str, TopicInfo]


class CoordinatorInfo(NamedTuple):
    error: int
    node: int
    host: str
    port: int


class ProducerIdentity(NamedTuple):
    """What the broker knows a producer by; the epoch rises whenever the transactional id is taken again."""

    error: int
    producer_id: int
    epoch: int


class Added(NamedTuple):
    """The answer to AddPartitionsToTxn; `error` is the cause when partitions were refused together."""

    error: int
    refused: tuple[tuple[str, int, int], ...]


class Ended(NamedTuple):
    error: int


class TransactionInfo(NamedTuple):
    """A transaction as its coordinator sees it."""

    error: int
    transactional_id: str
    state: str
    timeout_ms: int
    start_ms: int
    producer_id: int
    epoch: int
    partitions: tuple[tuple[str, int], ...]


class Produced(NamedTuple):
    topic: str
    partition: int
    error: int
    base_offset: int


class FoundOffset(NamedTuple):
    """The answer of ListOffsets; offset -1 when no record is that young."""

    topic: str
    partition: int
    error: int
    timestamp: int
    offset: int


class GroupOffset(NamedTuple):
    """A group's offset, -1 when it has none."""

    topic: str
    partition: int
    error: int
    offset: int
    metadata: str


class BrokerConfigs(NamedTuple):
    error: int
    values: Mapping[str, str | None]


def _flat(topics: Iterable[tuple[str, Iterable[tuple[Any, ...]]]]) -> Iterable[tuple[Any, ...]]:
    return ((topic, *partition) for topic, partitions in topics for partition in partitions)


def _cluster(answer: Any) -> ClusterInfo:
    topics = {}
    for error, name, topic_id, _internal, partitions, _operations, _tags in answer.topics:
        led = {partition[1]: (partition[2], partition[3]) for partition in partitions}
        leaders = [led.get(partition, (-1, -1)) for partition in range(len(led))]
        topics[name] = TopicInfo(
            name, error, topic_id, tuple(node for node, _ in leaders), tuple(epoch for _, epoch in leaders)
        )
    brokers = {node: (host, port) for node, host, port, _rack, _tags in answer.brokers}
    return ClusterInfo(brokers, answer.cluster_id or "", topics)


_METADATA = wire.api(
    "Metadata", 3, 12,
    (("topics", CompactArray(("id", wire.Uuid), ("name", COMPACT), TAGS)), ("auto_create", wire.Boolean),
     ("operations", wire.Boolean), TAGS),
    (_THROTTLE, ("brokers", CompactArray(("node", Int32), ("host", COMPACT), ("port", Int32), ("rack", COMPACT), TAGS)),
     ("cluster_id", COMPACT), ("controller", Int32),
     ("topics", CompactArray(
         _ERROR, ("name", COMPACT), ("id", wire.Uuid), ("internal", wire.Boolean),
         ("partitions", CompactArray(
             _ERROR, ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
             ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)), ("offline", CompactArray(Int32)), TAGS)),
         ("operations", Int32), TAGS)), TAGS),
    _cluster, flexible=True,
)  # fmt: skip


def metadata(topics: Iterable[str]) -> wire.Request[ClusterInfo]:
    """Asks for the brokers and these topics. It never creates a topic."""
    return _METADATA([(bytes(16), topic, {}) for topic in topics], False, False, {})


_FIND_COORDINATOR = wire.api(
    "FindCoordinator", 10, 1,
    (("key", NULLABLE), ("kind", Int8)),
    (_THROTTLE, _ERROR, ("message", NULLABLE), ("node", Int32), ("host", NULLABLE), ("port", Int32)),
    lambda answer: CoordinatorInfo(answer.error_code, answer.node, answer.host, answer.port),
)  # fmt: skip


def find_coordinator(kind: int, key: str) -> wire.Request[CoordinatorInfo]:
    return _FIND_COORDINATOR(key, kind)


_INIT_PRODUCER_ID = wire.api(
    "InitProducerId", 22, 0,
    (("transactional_id", NULLABLE), ("timeout_ms", Int32)),
    (_THROTTLE, _ERROR, *_PRODUCER),
    lambda answer: ProducerIdentity(answer.error_code, answer.producer_id, answer.producer_epoch),
)  # fmt: skip


def init_producer_id(transactional_id: str | None, timeout_ms: int) -> wire.Request[ProducerIdentity]:
    """Takes a transactional id into use, which aborts what is open under it; None for a producer without one."""
    return _INIT_PRODUCER_ID(transactional_id, timeout_ms)


def _added(answer: Any) -> Added:
    refused = tuple(entry for entry in _flat(answer.errors) if entry[2])
    causes = [code for _, _, code in refused if code != codes.OPERATION_NOT_ATTEMPTED]
    return Added(causes[0] if causes else refused[0][2] if refused else 0, refused)


_ADD_PARTITIONS = wire.api(
    "AddPartitionsToTxn", 24, 0,
    (("transactional_id", NULLABLE), *_PRODUCER, ("topics", Array(("topic", NULLABLE), ("partitions", Array(Int32))))),
    (_THROTTLE, ("errors", Array(("topic", NULLABLE), ("partitions", Array(("partition", Int32), _ERROR))))),
    _added,
)  # fmt: skip


def add_partitions(
    transactional_id: str, producer_id: int, epoch: int, topic: str, partitions: Sequence[int]
) -> wire.Request[Added]:
    """Joins partitions to the open transaction, or opens it. Harmless when repeated."""
    return _ADD_PARTITIONS(transactional_id, producer_id, epoch, [(topic, list(partitions))])


_END_TXN = wire.api(
    "EndTxn", 26, 0,
    (("transactional_id", NULLABLE), *_PRODUCER, ("committed", wire.Boolean)),
    (_THROTTLE, _ERROR),
    lambda answer: Ended(answer.error_code),
)  # fmt: skip


def end_transaction(transactional_id: str, producer_id: int, epoch: int, *, commit: bool) -> wire.Request[Ended]:
    return _END_TXN(transactional_id, producer_id, epoch, commit)


def _transaction(answer: Any) -> TransactionInfo:
    ((*state, topics, _tags),) = answer.states
    return TransactionInfo._make([*state, tuple((topic, p) for topic, partitions, _ in topics for p in partitions)])


_DESCRIBE_TRANSACTIONS = wire.api(
    "DescribeTransactions", 65, 0,
    (("ids", CompactArray(COMPACT)), TAGS),
    (_THROTTLE, ("states", CompactArray(
        _ERROR, ("transactional_id", COMPACT), ("state", COMPACT), ("timeout_ms", Int32), ("start_ms", Int64),
        *_PRODUCER, ("topics", CompactArray(("topic", COMPACT), ("partitions", CompactArray(Int32)), TAGS)), TAGS)),
     TAGS),
    _transaction, flexible=True,
)  # fmt: skip


def describe_transaction(transactional_id: str) -> wire.Request[TransactionInfo]:
    return _DESCRIBE_TRANSACTIONS([transactional_id], {})


_PRODUCE = wire.api(
    "Produce", 0, 7,
    (("transactional_id", NULLABLE), ("acks", Int16), ("timeout_ms", Int32),
     ("topics", Array(("topic", NULLABLE), ("partitions", Array(("partition", Int32), ("records", wire.Bytes)))))),
    (("topics", Array(("topic", NULLABLE), ("partitions", Array(
        ("partition", Int32), _ERROR, ("base_offset", Int64), ("append_time", Int64), ("log_start", Int64))))),
     _THROTTLE),
    lambda answer: tuple(Produced(*entry[:4]) for entry in _flat(answer.topics)),
    encode=lambda request: _encode_produce(request),
)  # fmt: skip


def _encode_produce(request: Any) -> bytes:
    """Writes a Produce with one copy of the records, where aiokafka's nested types make six."""
    parts = [NULLABLE.encode(request.transactional_id), Int16.encode(request.acks), Int32.encode(request.timeout_ms)]
    parts.append(Int32.encode(len(request.topics)))
    for topic, batches in request.topics:
        parts += (NULLABLE.encode(topic), Int32.encode(len(batches)))
        for partition, records in batches:
            parts += (Int32.encode(partition), Int32.encode(len(records)), records)
    return b"".join(parts)


def produce(
    transactional_id: str | None, topic: str, batches: Sequence[tuple[int, bytes | bytearray]], *, timeout_ms: int
) -> wire.Request[tuple[Produced, ...]]:
    """Appends one record batch per partition, on all in-sync replicas. The answers come in any order."""
    return _PRODUCE(transactional_id, -1, timeout_ms, [(topic, batches)])


_LIST_OFFSETS = wire.api(
    "ListOffsets", 2, 3,
    (("replica", Int32), ("isolation", Int8),
     ("topics", Array(("topic", NULLABLE), ("partitions", Array(("partition", Int32), ("timestamp", Int64)))))),
    (_THROTTLE, ("topics", Array(("topic", NULLABLE), ("partitions", Array(
        ("partition", Int32), _ERROR, ("timestamp", Int64), ("offset", Int64)))))),
    lambda answer: tuple(FoundOffset(*entry) for entry in _flat(answer.topics)),
)  # fmt: skip


def list_offsets(
    topic: str, timestamps: Iterable[tuple[int, int]], *, isolation: int = READ_COMMITTED
) -> wire.Request[tuple[FoundOffset, ...]]:
    """Finds offsets by `(partition, epoch ms)`, `LATEST` (the last stable one when read_committed) or `EARLIEST`."""
    return _LIST_OFFSETS(-1, isolation, [(topic, list(timestamps))])


_OFFSET_COMMIT = wire.api(
    "OffsetCommit", 8, 3,
    (("group", NULLABLE), ("generation", Int32), ("member", NULLABLE), ("retention_ms", Int64),
     ("topics", Array(("topic", NULLABLE), ("partitions", Array(
         ("partition", Int32), ("offset", Int64), ("metadata", NULLABLE)))))),
    (_THROTTLE, ("topics", Array(("topic", NULLABLE), ("partitions", Array(("partition", Int32), _ERROR))))),
    lambda answer: tuple(_flat(answer.topics)),
)  # fmt: skip


def commit_offsets(
    group: str, offsets: Mapping[str, Sequence[tuple[int, int]]], comment: str = ""
) -> wire.Request[tuple[tuple[str, int, int], ...]]:
    """Stores `{topic: [(partition, next offset)]}` for a group without members; gives (topic, partition, error)."""
    topics = [(topic, [(p, offset, comment) for p, offset in ps]) for topic, ps in offsets.items()]
    return _OFFSET_COMMIT(group, -1, "", -1, topics)


def _group_offsets(answer: Any) -> tuple[int, tuple[GroupOffset, ...]]:
    offsets = (GroupOffset(t, p, error, offset, text or "") for t, p, offset, text, error in _flat(answer.topics))
    return answer.error_code, tuple(offsets)


_OFFSET_FETCH = wire.api(
    "OffsetFetch", 9, 3,
    (("group", NULLABLE), ("topics", Array(("topic", NULLABLE), ("partitions", Array(Int32))))),
    (_THROTTLE, ("topics", Array(("topic", NULLABLE), ("partitions", Array(
        ("partition", Int32), ("offset", Int64), ("metadata", NULLABLE), _ERROR)))), _ERROR),
    _group_offsets,
)  # fmt: skip


def group_offsets(
    group: str, partitions: Mapping[str, Sequence[int]]
) -> wire.Request[tuple[int, tuple[GroupOffset, ...]]]:
    """Reads a group's offsets; gives (error of the group, offsets)."""
    return _OFFSET_FETCH(group, [(topic, list(ps)) for topic, ps in partitions.items()])


def _configs(answer: Any) -> BrokerConfigs:
    error, _message, _kind, _name, entries = answer.resources[0]
    return BrokerConfigs(error, {entry[0]: entry[1] for entry in entries})


_DESCRIBE_CONFIGS = wire.api(
    "DescribeConfigs", 32, 1,
    (("resources", Array(("kind", Int8), ("name", NULLABLE), ("keys", Array(NULLABLE)))), ("synonyms", wire.Boolean)),
    (_THROTTLE, ("resources", Array(
        _ERROR, ("message", NULLABLE), ("kind", Int8), ("name", NULLABLE),
        ("entries", Array(
            ("name", NULLABLE), ("value", NULLABLE), ("read_only", wire.Boolean), ("source", Int8),
            ("sensitive", wire.Boolean),
            ("synonyms", Array(("name", NULLABLE), ("value", NULLABLE), ("source", Int8)))))))),
    _configs,
)  # fmt: skip


def describe_configs(kind: int, name: str, keys: Sequence[str]) -> wire.Request[BrokerConfigs]:
    """Reads settings of a topic (kind 2) or a broker (kind 4)."""
    return _DESCRIBE_CONFIGS([(kind, name, list(keys))], False)
