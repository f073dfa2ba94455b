"""InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, and the describing ones."""

from __future__ import annotations

import re
from typing import Any

from streamlet.testing.kafka.apis.call import Api, Call, by_topic
from streamlet.testing.kafka.apis.wire import Answer, milliseconds
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.offsets import GroupOffset


def init_producer_id(call: Call) -> Answer:
    request = call.request
    producer_id = getattr(request, "producer_id", -1)
    expected = (producer_id, request.producer_epoch) if producer_id != -1 else None
    given = call.broker.transactions.init_producer_id(
        request.transactional_id, milliseconds(request.transaction_timeout), call.now_ms, expected
    )
    error = call.fenced(given.error, since=4)
    return {"error_code": error, "producer_id": given.producer_id, "producer_epoch": given.epoch}


def add_partitions(call: Call) -> Answer:
    request = call.request
    places = [(topic.name, part) for topic in request.v3_and_below_topics for part in topic.partitions]
    added = call.broker.add_partitions(
        request.v3_and_below_transactional_id,
        request.v3_and_below_producer_id,
        request.v3_and_below_producer_epoch,
        places,
        call.now_ms,
    )
    topics = [
        {"name": topic, "results_by_partition": [
            {"partition_index": part, "partition_error_code": call.fenced(error, since=2)} for part, error in parts]}
        for topic, parts in by_topic(added)
    ]  # fmt: skip
    return {"results_by_topic_v3_and_below": topics}


def add_offsets(call: Call) -> Answer:
    request = call.request
    error = call.broker.transactions.add(
        request.transactional_id, request.producer_id, request.producer_epoch, call.now_ms, groups=[request.group_id]
    )
    return {"error_code": call.fenced(error, since=2)}


def end_transaction(call: Call) -> Answer:
    request = call.request
    error = call.broker.transactions.end(
        request.transactional_id, request.producer_id, request.producer_epoch, call.now_ms, commit=request.committed
    )
    return {"error_code": call.fenced(error, since=2)}


def commit_offsets(call: Call) -> Answer:
    request = call.request
    offsets = {
        (topic.name, part.partition_index): GroupOffset(
            part.committed_offset, getattr(part, "committed_leader_epoch", -1), part.committed_metadata or ""
        )
        for topic in request.topics
        for part in topic.partitions
    }
    error = _not_member(call)
    if not error:
        error = call.broker.commit_offsets_in_transaction(
            request.transactional_id, request.producer_id, request.producer_epoch, request.group_id, offsets
        )
    error = codes.INVALID_PRODUCER_EPOCH if error == codes.PRODUCER_FENCED else error
    topics = [
        {"name": topic, "partitions": [{"partition_index": part, "error_code": error} for part, _ in parts]}
        for topic, parts in by_topic(offsets)
    ]
    return {"topics": topics}


def _not_member(call: Call) -> int:
    """An error code when the request names a member or a generation that is not the group's."""
    generation, member = getattr(call.request, "generation_id", -1), getattr(call.request, "member_id", "")
    group = call.broker.groups.get(call.request.group_id)
    if generation < 0 and not member:
        return codes.NONE
    return codes.UNKNOWN_MEMBER_ID if group is None else group.may_commit(member, generation, call.now_ms)


def describe_transactions(call: Call) -> Answer:
    return {"transaction_states": [_described(call, id) for id in call.request.transactional_ids]}


def _described(call: Call, id: str) -> dict[str, Any]:
    known = call.broker.transactions.get(id)
    is_loading = call.now_ms < call.broker.transactions.loads_until_ms
    if known is None or is_loading:
        return {
            "error_code": codes.COORDINATOR_LOAD_IN_PROGRESS if is_loading else codes.TRANSACTIONAL_ID_NOT_FOUND,
            "transactional_id": id, "transaction_state": "",
            "transaction_timeout": 0, "transaction_start_time": 0, "producer_id": 0, "producer_epoch": 0,
        }  # fmt: skip
    places = dict.fromkeys(sorted(known.partitions))
    return {
        "error_code": codes.NONE,
        "transactional_id": id,
        "transaction_state": known.state.value,
        "transaction_timeout": known.timeout_ms,
        "transaction_start_time": known.start_ms,
        "producer_id": known.producer_id,
        "producer_epoch": known.epoch,
        "topics": [{"topic": topic, "partitions": [part for part, _ in parts]} for topic, parts in by_topic(places)],
    }


def list_transactions(call: Call) -> Answer:
    request = call.request
    pattern = getattr(request, "transactional_id_pattern", None)
    found = [
        {"transactional_id": one.id, "producer_id": one.producer_id, "transaction_state": one.state.value}
        for one in call.broker.transactions.all()
        if (not request.state_filters or one.state.value in request.state_filters)
        and (not request.producer_id_filters or one.producer_id in request.producer_id_filters)
        and (not pattern or re.fullmatch(pattern, one.id))
        and call.now_ms - one.start_ms > getattr(request, "duration_filter", -1)
    ]
    return {"transaction_states": found}


def describe_producers(call: Call) -> Answer:
    topics = []
    for topic in call.request.topics:
        answers = []
        for index in topic.partition_indexes:
            log = call.broker.topics.log(topic.name, index)
            producers = [] if log is None else list(log.producers.items())
            active = [
                {"producer_id": id, "producer_epoch": state.epoch, "last_sequence": state.last_sequence,
                 "last_timestamp": state.last_timestamp, "coordinator_epoch": 0,
                 "current_txn_start_offset": -1 if state.first_offset is None else state.first_offset}
                for id, state in producers
            ]  # fmt: skip
            error = codes.UNKNOWN_TOPIC_OR_PARTITION if log is None else codes.NONE
            answers.append({"partition_index": index, "error_code": error, "active_producers": active})
        topics.append({"name": topic.name, "partitions": answers})
    return {"topics": topics}


APIS = (
    Api(22, "InitProducerId", 0, 5, init_producer_id),
    Api(24, "AddPartitionsToTxn", 0, 3, add_partitions),
    Api(25, "AddOffsetsToTxn", 0, 3, add_offsets),
    Api(26, "EndTxn", 0, 4, end_transaction),
    Api(28, "TxnOffsetCommit", 0, 3, commit_offsets),
    Api(61, "DescribeProducers", 0, 0, describe_producers),
    Api(65, "DescribeTransactions", 0, 0, describe_transactions),
    Api(66, "ListTransactions", 0, 2, list_transactions),
)
