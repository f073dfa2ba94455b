"""Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from streamlet.testing.kafka.apis.call import Api, Call, Waiting
from streamlet.testing.kafka.apis.wire import Answer, milliseconds
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.log import Appended, EpochEnd, PartitionLog, Slice


def produce(call: Call) -> Answer | None:
    request = call.request
    topics = []
    for topic in request.topic_data:
        answers = []
        for part in topic.partition_data:
            log = call.broker.topics.log(topic.name, part.index)
            if log is not None and log.leader != call.node:
                done = Appended(codes.NOT_LEADER_OR_FOLLOWER)
            else:
                records = bytes(part.records or b"")
                done = call.broker.produce(request.transactional_id, topic.name, part.index, records)
            start = -1 if done.error or log is None else log.start_offset
            answers.append(
                {"index": part.index, "error_code": done.error, "base_offset": done.base_offset,
                 "log_start_offset": start}
            )  # fmt: skip
        topics.append({"name": topic.name, "partition_responses": answers})
    return None if request.acks == 0 else {"responses": topics}


class _Wanted(NamedTuple):
    """One partition of a Fetch; `name` is None for a topic id that nobody has."""

    name: str | None
    topic: Any
    partition: int
    offset: int
    max_bytes: int
    node: int
    leader_epoch: int
    last_epoch: int

    def refusal(self, log: PartitionLog) -> int:
        """An error code when the reader must look again first."""
        if log.leader != self.node:
            return codes.NOT_LEADER_OR_FOLLOWER
        return log.epochs.refusal(self.leader_epoch)

    def is_outside(self, log: PartitionLog) -> bool:
        return not log.start_offset <= self.offset <= log.end_offset

    def parting(self, log: PartitionLog) -> EpochEnd | None:
        return log.parting(self.offset, self.last_epoch)


def _wanted(call: Call) -> Iterator[_Wanted]:
    for topic in call.request.topics:
        name = getattr(topic, "topic", None)
        if name is None:
            found = call.broker.topics.by_id(topic.topic_id)
            name = found.name if found is not None else None
        for part in topic.partitions:
            yield _Wanted(
                name, topic, part.partition, part.fetch_offset, part.partition_max_bytes, call.node,
                getattr(part, "current_leader_epoch", -1), getattr(part, "last_fetched_epoch", -1),
            )  # fmt: skip


def fetch(call: Call) -> Waiting:
    """Answers when there are `min_bytes`, an error, or no time left."""
    deadline = call.now_ms + milliseconds(call.request.max_wait)
    now = call.now_ms
    while now < deadline and not _is_enough(call):
        now = yield deadline
    return _fetched(call)


def _is_enough(call: Call) -> bool:
    committed = call.request.isolation_level == 1
    least: int = call.request.min_bytes
    size = 0
    for one in _wanted(call):
        log = _log(call, one)
        if log is None or one.refusal(log) or one.is_outside(log) or one.parting(log) is not None:
            return True
        size += log.readable_bytes(one.offset, committed=committed, enough=max(1, least))
        if size >= least:
            return True
    return size >= least


def _log(call: Call, one: _Wanted) -> PartitionLog | None:
    return None if one.name is None else call.broker.topics.log(one.name, one.partition)


def _fetched(call: Call) -> Answer:
    committed = call.request.isolation_level == 1
    left = min(getattr(call.request, "max_bytes", 1 << 31), call.broker.settings.fetch_max_bytes)
    is_first = True
    answers: list[dict[str, Any]] = []
    for one in _wanted(call):
        log = _log(call, one)
        if log is not None:
            part = _read(log, one, min(left, one.max_bytes), committed=committed, is_first=is_first)
        else:
            part = Slice(codes.UNKNOWN_TOPIC_ID if one.name is None else codes.UNKNOWN_TOPIC_OR_PARTITION)
        left -= len(part.records)
        is_first = is_first and not part.records
        if not answers or answers[-1]["of"] is not one.topic:
            answers.append(
                {"of": one.topic, "topic": one.name, "topic_id": getattr(one.topic, "topic_id", None), "partitions": []}
            )
        answers[-1]["partitions"].append(_partition(one.partition, part, committed=committed))
    return {"responses": answers}


def _read(log: PartitionLog, one: _Wanted, limit: int, *, committed: bool, is_first: bool) -> Slice:
    if error := one.refusal(log):
        return Slice(error)
    parting = one.parting(log)
    if parting is not None and parting.epoch < 0:
        return Slice(codes.OFFSET_OUT_OF_RANGE)
    if parting is not None:
        return Slice(codes.NONE, log.end_offset, log.last_stable_offset, log.start_offset, parting=parting)
    return log.read(one.offset, limit, committed=committed, is_first=is_first)


def _partition(partition: int, part: Slice, *, committed: bool) -> dict[str, Any]:
    aborted = [{"producer_id": producer, "first_offset": first} for producer, first in part.aborted]
    parting = part.parting
    return {
        **({} if parting is None else {"diverging_epoch": {"epoch": parting.epoch, "end_offset": parting.end}}),
        "partition_index": partition,
        "error_code": part.error,
        "high_watermark": part.high_watermark,
        "last_stable_offset": part.last_stable_offset,
        "log_start_offset": part.start_offset,
        "aborted_transactions": aborted if committed and not part.error else None,
        "preferred_read_replica": -1,
        "records": part.records,
    }


def list_offsets(call: Call) -> Answer:
    committed = getattr(call.request, "isolation_level", 0) == 1
    topics = []
    for topic in call.request.topics:
        answers = []
        for part in topic.partitions:
            log = call.broker.topics.log(topic.name, part.partition_index)
            answer = {"partition_index": part.partition_index, "timestamp": -1, "offset": -1, "leader_epoch": -1}
            if log is None:
                answer["error_code"] = codes.UNKNOWN_TOPIC_OR_PARTITION
            elif log.leader != call.node:
                answer["error_code"] = codes.NOT_LEADER_OR_FOLLOWER
            else:
                found = log.find(part.timestamp, committed=committed)
                answer |= {"timestamp": found.timestamp, "offset": found.offset}
                answer["leader_epoch"] = log.epochs.current if found.offset >= 0 else -1
            answers.append(answer)
        topics.append({"name": topic.name, "partitions": answers})
    return {"topics": topics}


def offset_for_leader_epoch(call: Call) -> Answer:
    topics = []
    for topic in call.request.topics:
        answers = []
        for part in topic.partitions:
            log = call.broker.topics.log(topic.topic, part.partition)
            answer = {"partition": part.partition, "error_code": codes.UNKNOWN_TOPIC_OR_PARTITION}
            if log is not None:
                known = log.epochs.end_of(part.leader_epoch, log.end_offset)
                answer |= {"error_code": codes.NONE, "leader_epoch": known.epoch, "end_offset": known.end}
            answers.append(answer)
        topics.append({"topic": topic.topic, "partitions": answers})
    return {"topics": topics}


def delete_records(call: Call) -> Answer:
    topics = []
    for topic in call.request.topics:
        answers = []
        for part in topic.partitions:
            log = call.broker.topics.log(topic.name, part.partition_index)
            error, low = codes.UNKNOWN_TOPIC_OR_PARTITION, -1
            if log is not None and log.delete_before(part.offset):
                error, low = codes.NONE, log.start_offset
            elif log is not None:
                error = codes.OFFSET_OUT_OF_RANGE
            answers.append({"partition_index": part.partition_index, "low_watermark": low, "error_code": error})
        topics.append({"name": topic.name, "partitions": answers})
    return {"topics": topics}


APIS = (
    Api(0, "Produce", 3, 10, produce),
    Api(1, "Fetch", 4, 16, fetch),
    Api(2, "ListOffsets", 1, 8, list_offsets),
    Api(21, "DeleteRecords", 0, 2, delete_records),
    Api(23, "OffsetForLeaderEpoch", 2, 4, offset_for_leader_epoch),
)
