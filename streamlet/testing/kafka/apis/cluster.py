"""Metadata, DescribeCluster, CreateTopics, DeleteTopics, CreatePartitions, DescribeConfigs, IncrementalAlterConfigs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlet.testing.kafka.apis.call import Api, Call
from streamlet.testing.kafka.apis.wire import Answer
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.topics import TOPIC_SETTINGS, Topic

_UNSAID = -(1 << 31)
"""Stands where the operations that a client may do were not asked for."""
_TOPIC, _BROKER = 2, 4
_SET, _DELETE = 0, 1
_FROM_TOPIC, _FROM_BROKER, _BY_DEFAULT = 1, 4, 5


def metadata(call: Call) -> Answer:
    return {
        "brokers": [
            {"node_id": node, "host": host, "port": port, "rack": None}
            for node, (host, port) in call.broker.addresses.items()
        ],
        "cluster_id": call.broker.cluster_id,
        "controller_id": call.broker.coordinator,
        "topics": list(_topics(call)),
        "cluster_authorized_operations": _UNSAID,
    }


def _topics(call: Call) -> list[dict[str, Any]]:
    topics, asked = call.broker.topics, call.request.topics
    if asked is None or (not asked and call.version == 0):
        return [_described(topic) for name in topics.names() if (topic := topics.get(name)) is not None]
    answers = []
    for one in asked:
        if one.name is None:
            found, absent = topics.by_id(one.topic_id), codes.UNKNOWN_TOPIC_ID
        else:
            found, absent = topics.get(one.name), _create_if_allowed(call, one.name)
            found = found or topics.get(one.name)
        if found is None:
            answers.append(_absent(one.name, getattr(one, "topic_id", None), absent))
        else:
            answers.append(_described(found))
    return answers


def _create_if_allowed(call: Call, name: str) -> int:
    settings = call.broker.settings
    if settings.auto_create_topics and getattr(call.request, "allow_auto_topic_creation", True):
        error = call.broker.topics.create(name, settings.num_partitions, {})
    else:
        error = call.broker.topics.create(name, 1, {}, only_check=True)
    return codes.INVALID_TOPIC if error == codes.INVALID_TOPIC else codes.UNKNOWN_TOPIC_OR_PARTITION


def _described(topic: Topic) -> dict[str, Any]:
    partitions = [
        {"error_code": 0, "partition_index": index, "leader_id": log.leader,
         "leader_epoch": log.epochs.current, "replica_nodes": [log.leader], "isr_nodes": [log.leader],
         "offline_replicas": []}
        for index, log in enumerate(topic.partitions)
    ]  # fmt: skip
    return {
        "error_code": codes.NONE,
        "name": topic.name,
        "topic_id": topic.id,
        "is_internal": False,
        "partitions": partitions,
        "topic_authorized_operations": _UNSAID,
    }


def _absent(name: str | None, id: Any, error: int) -> dict[str, Any]:
    return {"error_code": error, "name": name, "topic_id": id, "topic_authorized_operations": _UNSAID}


def describe_cluster(call: Call) -> Answer:
    return {
        "cluster_id": call.broker.cluster_id,
        "controller_id": call.broker.coordinator,
        "brokers": [
            {"broker_id": node, "host": host, "port": port, "rack": None, "is_fenced": False}
            for node, (host, port) in call.broker.addresses.items()
        ],
        "cluster_authorized_operations": _UNSAID,
    }


def create_topics(call: Call) -> Answer:
    return {"topics": [_created(call, topic) for topic in call.request.topics]}


def _created(call: Call, asked: Any) -> dict[str, Any]:
    broker = call.broker
    settings = {config.name: config.value for config in asked.configs if config.value is not None}
    count = broker.settings.num_partitions if asked.num_partitions == -1 else asked.num_partitions
    count = len(asked.assignments) or count
    message: str | None
    if asked.replication_factor not in (-1, 1):
        error, message = codes.INVALID_REPLICATION_FACTOR, "there is one broker, so the replication factor is 1"
    else:
        error = broker.topics.create(asked.name, count, settings, only_check=call.request.validate_only)
        message = _WHY.get(error, "").format(asked.name) or None
    found = broker.topics.get(asked.name)
    return {
        "name": asked.name,
        "topic_id": found.id if found is not None and not error else None,
        "error_code": error,
        "error_message": message,
        "num_partitions": count if not error else -1,
        "replication_factor": 1 if not error else -1,
        "configs": [] if not error else None,
    }


_WHY = {
    codes.TOPIC_ALREADY_EXISTS: "topic {!r} already exists",
    codes.INVALID_TOPIC: "{!r} is not a valid topic name",
    codes.INVALID_PARTITIONS: "topic {!r} needs more partitions than that",
}


def delete_topics(call: Call) -> Answer:
    if call.version < 6:
        asked = [(name, None) for name in call.request.topic_names]
    else:
        asked = [(one.name, one.topic_id) for one in call.request.topics]
    answers = []
    for name, id in asked:
        error = codes.UNKNOWN_TOPIC_ID
        found = call.broker.topics.by_id(id) if name is None else None
        name = found.name if found is not None else name
        if name is not None:
            topic = call.broker.topics.get(name)
            id = topic.id if topic is not None else id
            error = call.broker.delete_topic(name)
        answers.append({"name": name, "topic_id": id, "error_code": error, "error_message": None})
    return {"responses": answers}


def create_partitions(call: Call) -> Answer:
    results = []
    for topic in call.request.topics:
        error = call.broker.topics.grow(topic.name, topic.count, only_check=call.request.validate_only)
        message = _WHY.get(error, "").format(topic.name) or None
        results.append({"name": topic.name, "error_code": error, "error_message": message})
    return {"results": results}


def describe_configs(call: Call) -> Answer:
    results = []
    for resource in call.request.resources:
        error, known, own, source = _configs(call, resource.resource_type, resource.resource_name)
        keys = resource.configuration_keys
        entries: list[dict[str, Any]] = [
            {"name": name, "value": own.get(name, value), "read_only": False, "is_sensitive": False, "synonyms": [],
             "config_source": source if name in own else _BY_DEFAULT, "config_type": 2, "documentation": None}
            for name, value in {**known, **own}.items()
            if keys is None or name in keys
        ]  # fmt: skip
        results.append(
            {"error_code": error, "error_message": None, "resource_type": resource.resource_type,
             "resource_name": resource.resource_name, "configs": entries}
        )  # fmt: skip
    return {"results": results}


def _configs(call: Call, kind: int, name: str) -> tuple[int, Mapping[str, str], Mapping[str, str], int]:
    if kind == _BROKER:
        return codes.NONE, {}, call.broker.settings.shown(), _FROM_BROKER
    topic = call.broker.topics.get(name) if kind == _TOPIC else None
    if topic is None:
        return (codes.UNKNOWN_TOPIC_OR_PARTITION if kind == _TOPIC else codes.INVALID_REQUEST), {}, {}, 0
    return codes.NONE, TOPIC_SETTINGS, topic.settings, _FROM_TOPIC


def incremental_alter_configs(call: Call) -> Answer:
    responses = []
    for resource in call.request.resources:
        topic = call.broker.topics.get(resource.resource_name) if resource.resource_type == _TOPIC else None
        error = codes.UNKNOWN_TOPIC_OR_PARTITION if resource.resource_type == _TOPIC else codes.INVALID_REQUEST
        if topic is not None:
            error = codes.NONE
            for config in resource.configs:
                if config.config_operation == _SET and config.value is not None:
                    topic.settings[config.name] = config.value
                elif config.config_operation == _DELETE:
                    topic.settings.pop(config.name, None)
                else:
                    error = codes.INVALID_REQUEST
        responses.append(
            {"error_code": error, "error_message": None, "resource_type": resource.resource_type,
             "resource_name": resource.resource_name}
        )  # fmt: skip
    return {"responses": responses}


APIS = (
    Api(3, "Metadata", 0, 12, metadata),
    Api(19, "CreateTopics", 2, 7, create_topics),
    Api(20, "DeleteTopics", 1, 6, delete_topics),
    Api(32, "DescribeConfigs", 1, 4, describe_configs),
    Api(37, "CreatePartitions", 0, 3, create_partitions),
    Api(44, "IncrementalAlterConfigs", 0, 1, incremental_alter_configs),
    Api(60, "DescribeCluster", 0, 1, describe_cluster),
)
