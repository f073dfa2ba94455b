"""FindCoordinator, the classic consumer group protocol, and the offsets of groups."""

from __future__ import annotations

from typing import Any

from streamlet.testing.kafka.apis.call import Api, Call, Waiting, by_topic
from streamlet.testing.kafka.apis.wire import Answer, milliseconds
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.groups import Group, Join, Joined, Member
from streamlet.testing.kafka.model.offsets import GroupOffset
from streamlet.testing.kafka.model.transactions import Place

_LONG_MS = 3_600_000
_UNSAID = -(1 << 31)


def find_coordinator(call: Call) -> Answer:
    node = call.broker.coordinator
    host, port = call.broker.addresses[node]
    here = {"error_code": codes.NONE, "error_message": None, "node_id": node, "host": host, "port": port}
    if call.version < 4:
        return here
    return {"coordinators": [{**here, "key": key} for key in call.request.coordinator_keys]}


def join_group(call: Call) -> Waiting:
    """Answers when everybody in the group has joined, or the rebalance has waited long enough."""
    request = call.request
    session = milliseconds(request.session_timeout)
    rebalance = getattr(request, "rebalance_timeout", None)
    asked = Join(
        request.member_id,
        getattr(request, "group_instance_id", None),
        call.client_id,
        session,
        session if rebalance is None else milliseconds(rebalance),
        request.protocol_type,
        {protocol.name: bytes(protocol.metadata) for protocol in request.protocols},
        call.version >= 4,
    )
    if not request.group_id:
        return _joined(Joined(codes.INVALID_GROUP_ID))
    group = call.broker.groups.need(request.group_id)
    new_id = call.broker.groups.new_member_id(call.client_id)
    answer = group.join(asked, call.now_ms, new_id)
    member = asked.member or _member_of(group, asked.instance) or new_id
    while answer is None:
        yield call.now_ms + _LONG_MS
        answer = group.joined(member)
    return _joined(answer)


def _member_of(group: Group, instance: str | None) -> str:
    same = (one.id for one in group.members.values() if instance is not None and one.instance == instance)
    return next(same, "")


def _joined(answer: Joined) -> Answer:
    members = [
        {"member_id": member, "group_instance_id": instance, "metadata": metadata}
        for member, instance, metadata in answer.members
    ]
    return {
        "error_code": answer.error,
        "generation_id": answer.generation,
        "protocol_type": answer.protocol_type,
        "protocol_name": answer.protocol or "",
        "leader": answer.leader,
        "member_id": answer.member,
        "members": members,
    }


def sync_group(call: Call) -> Waiting:
    """Answers when the leader has said who gets what."""
    request = call.request
    group = call.broker.groups.need(request.group_id)
    assignments = {one.member_id: bytes(one.assignment) for one in request.assignments}
    now = call.now_ms
    while (answer := group.sync(request.member_id, request.generation_id, assignments, now)) is None:
        now = yield now + _LONG_MS
    return {
        "error_code": answer.error,
        "protocol_type": group.protocol_type,
        "protocol_name": group.protocol,
        "assignment": answer.assignment,
    }


def heartbeat(call: Call) -> Answer:
    request = call.request
    group = call.broker.groups.need(request.group_id)
    return {"error_code": group.heartbeat(request.member_id, request.generation_id, call.now_ms)}


def leave_group(call: Call) -> Answer:
    request = call.request
    group = call.broker.groups.need(request.group_id)
    if call.version < 3:
        return {"error_code": group.leave(request.member_id, None, call.now_ms)}
    members = [
        {"member_id": one.member_id, "group_instance_id": one.group_instance_id,
         "error_code": group.leave(one.member_id, one.group_instance_id, call.now_ms)}
        for one in request.members
    ]  # fmt: skip
    return {"error_code": codes.NONE, "members": members}


def commit_offsets(call: Call) -> Answer:
    request = call.request
    if not request.group_id:
        error = codes.INVALID_GROUP_ID
        group = Group("")
    else:
        group = call.broker.groups.need(request.group_id)
        error = group.may_commit(request.member_id, request.generation_id_or_member_epoch, call.now_ms)
    topics = []
    for topic in request.topics:
        answers = []
        for part in topic.partitions:
            place = (topic.name, part.partition_index)
            is_known = call.broker.topics.log(*place) is not None
            code = error or (codes.NONE if is_known else codes.UNKNOWN_TOPIC_OR_PARTITION)
            if not code:
                epoch = getattr(part, "committed_leader_epoch", -1)
                stored = GroupOffset(part.committed_offset, epoch, part.committed_metadata or "")
                group.offsets.store({place: stored})
            answers.append({"partition_index": part.partition_index, "error_code": code})
        topics.append({"name": topic.name, "partitions": answers})
    return {"topics": topics}


def fetch_offsets(call: Call) -> Answer:
    if call.version < 8:
        return _offsets(call, call.request.group_id, call.request.topics)
    return {"groups": [_offsets(call, group.group_id, group.topics) for group in call.request.groups]}


def _offsets(call: Call, id: str, asked: Any) -> dict[str, Any]:
    group = call.broker.groups.get(id) or Group(id)
    if asked is None:
        places: list[Place] = sorted(group.offsets.places())
    else:
        places = [(topic.name, part) for topic in asked for part in topic.partition_indexes]
    stable = getattr(call.request, "require_stable", False)
    topics = []
    for topic, parts in by_topic(dict.fromkeys(places)):
        answers = [_offset(group, (topic, part), stable=stable) for part, _ in parts]
        topics.append({"name": topic, "partitions": answers})
    return {"group_id": id, "topics": topics, "error_code": codes.NONE}


def _offset(group: Group, place: Place, *, stable: bool) -> dict[str, Any]:
    is_unstable = stable and group.offsets.is_unstable(place)
    found = None if is_unstable else group.offsets.get(place)
    found = found or GroupOffset(-1)
    return {
        "partition_index": place[1],
        "committed_offset": found.offset,
        "committed_leader_epoch": found.leader_epoch,
        "metadata": found.metadata,
        "error_code": codes.UNSTABLE_OFFSET_COMMIT if is_unstable else codes.NONE,
    }


def list_groups(call: Call) -> Answer:
    wanted = getattr(call.request, "states_filter", ())
    groups = [
        {"group_id": group.id, "protocol_type": group.protocol_type or "", "group_state": group.state.value,
         "group_type": "classic"}
        for group in call.broker.groups.all()
        if not wanted or group.state.value in wanted
    ]  # fmt: skip
    return {"groups": groups}


def describe_groups(call: Call) -> Answer:
    return {"groups": [_described(call, id) for id in call.request.groups]}


def _described(call: Call, id: str) -> dict[str, Any]:
    group = call.broker.groups.get(id)
    if group is None:
        absent = codes.GROUP_ID_NOT_FOUND if call.version >= 6 else codes.NONE
        return {
            "error_code": absent, "group_id": id, "group_state": "Dead", "protocol_type": "", "protocol_data": "",
            "members": [], "authorized_operations": _UNSAID,
        }  # fmt: skip
    return {
        "error_code": codes.NONE,
        "group_id": id,
        "group_state": group.state.value,
        "protocol_type": group.protocol_type or "",
        "protocol_data": group.protocol or "",
        "members": [_member(member, group.protocol or "") for member in group.members.values()],
        "authorized_operations": _UNSAID,
    }


def _member(member: Member, protocol: str) -> dict[str, Any]:
    return {
        "member_id": member.id,
        "group_instance_id": member.instance,
        "client_id": member.client_id,
        "client_host": "/127.0.0.1",
        "member_metadata": member.protocols.get(protocol, b""),
        "member_assignment": member.assignment,
    }


def delete_groups(call: Call) -> Answer:
    results = [{"group_id": id, "error_code": call.broker.groups.delete(id)} for id in call.request.groups_names]
    return {"results": results}


APIS = (
    Api(8, "OffsetCommit", 2, 8, commit_offsets),
    Api(9, "OffsetFetch", 1, 8, fetch_offsets),
    Api(10, "FindCoordinator", 0, 4, find_coordinator),
    Api(11, "JoinGroup", 0, 9, join_group),
    Api(12, "Heartbeat", 0, 4, heartbeat),
    Api(13, "LeaveGroup", 0, 5, leave_group),
    Api(14, "SyncGroup", 0, 5, sync_group),
    Api(15, "DescribeGroups", 0, 5, describe_groups),
    Api(16, "ListGroups", 0, 4, list_groups),
    Api(42, "DeleteGroups", 0, 2, delete_groups),
)
