"""Positions in partitions: where they stand in a checkpoint, and what the brokers say about offsets."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from streamlet.connect import ConfigError, Position
from streamlet_connectors.kafka.protocol import codes, requests
from streamlet_connectors.kafka.protocol.client import Group, KafkaConnection, Pauses
from streamlet_connectors.kafka.protocol.errors import AccessDeniedError, BrokerAnswerError, TransportError
from streamlet_connectors.kafka.protocol.fetch_api import UNKNOWN_EPOCH

_Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Epoch = Annotated[int, msgspec.Meta(ge=-1, le=(1 << 31) - 1)]
_PARTITION = re.compile("0|[1-9][0-9]{0,8}")
_DENIED_REMEDY = "give this user the ACLs Describe and Read on the topic"


def split_name(topic: str, partition: int) -> str:
    """`topic-partition`, as Kafka itself writes it."""
    return f"{topic}-{partition}"


def split_parts(split: str) -> tuple[str, int]:
    """The topic and the partition of a split; a topic's name may have dashes of its own.  Raises `ConfigError` for what
    is no such split."""
    topic, _, partition = split.rpartition("-")
    if not topic or not _PARTITION.fullmatch(partition):
        raise _strange(split, "is no topic and partition")
    return topic, int(partition)


class PositionParts(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a position says."""

    offset: _Offset
    topic_id: str
    stop: _Offset | None
    """The offset to stop at."""
    epoch: _Epoch = UNKNOWN_EPOCH
    """The leader epoch in which the record before the offset was written."""


def position_at(offset: int, topic_id: str, stop: int | None, epoch: int = UNKNOWN_EPOCH) -> Position:
    """What stands in the checkpoint. The topic's id is in it because a topic that was deleted and created again
    answers the old offsets with new records; the leader epoch, if it is known, because a log that was cut off and has
    grown again does."""
    return [offset, topic_id, stop] if epoch < 0 else [offset, topic_id, stop, epoch]


def position_parts(position: Position, split: str = "") -> PositionParts:
    """Raises `ConfigError` for what is no position of this source."""
    try:
        return msgspec.convert(position, PositionParts)
    except msgspec.ValidationError as error:
        raise _strange(split, f"is at {position!r:.100}, which is no position in a topic ({error})") from error


def _strange(split: str, what: str) -> ConfigError:
    return ConfigError(
        f"the checkpoint holds a split {split!r:.200} of a KafkaSource, which {what}",
        remedy="did its uid belong to a source of another kind? Give the source a uid of its own",
    )


async def find_offsets(
    connection: KafkaConnection, topic: str, timestamps: Mapping[int, int], *, isolation: int
) -> dict[int, int]:
    """Gives the offset per partition for a time (epoch ms), `requests.EARLIEST` or `requests.LATEST`.

    Without a record that young, the end.  The end is the last stable offset under read_committed.  It asks until
    `connect_timeout_seconds`, looking for leaders again where they moved.
    """
    found: dict[int, int] = {}
    wanted = dict(timestamps)
    pauses = Pauses()
    last: Exception | None = None
    try:
        async with asyncio.timeout(connection.options.connect_timeout_seconds):
            while wanted:
                for partitions in await _by_leader(connection, topic, list(wanted)):
                    try:
                        last = await _ask(connection, topic, partitions, wanted, found, isolation) or last
                    except TransportError as error:
                        last = error
                if wanted:
                    connection.forget_leaders(topic)
                    await pauses.pause()
    except TimeoutError:
        if last is not None:
            raise last from last.__cause__  # `from last` would make it the cause of itself
        raise TransportError(f"no broker gave the offsets of topic {topic!r}") from None
    return found


async def _by_leader(connection: KafkaConnection, topic: str, partitions: Sequence[int]) -> list[list[int]]:
    led: dict[int, list[int]] = defaultdict(list)
    for partition in partitions:
        led[await connection.leader(topic, partition)].append(partition)
    return list(led.values())


async def _ask(
    connection: KafkaConnection,
    topic: str,
    partitions: Sequence[int],
    wanted: dict[int, int],
    found: dict[int, int],
    isolation: int,
) -> Exception | None:
    """Moves from `wanted` to `found` what one broker knows; gives the reason for what is left."""
    request = requests.list_offsets(topic, [(p, wanted[p]) for p in partitions], isolation=isolation)
    reason: Exception | None = None
    for answer in await connection.send_to_leader(topic, partitions[0], request, group=Group.OFFSETS):
        what = f"asking for the offsets of topic {topic!r}, partition {answer.partition}"
        if answer.error in codes.ACCESS_DENIED:
            raise AccessDeniedError(f"{what}: {codes.code_name(answer.error)}", remedy=_DENIED_REMEDY)
        if answer.error:
            reason = BrokerAnswerError(what, answer.error)
        elif answer.offset < 0 and wanted[answer.partition] >= 0:
            wanted[answer.partition] = requests.LATEST  # nothing is that young: ask for the end instead
        else:
            found[answer.partition] = answer.offset
            del wanted[answer.partition]
    return reason


async def commit_group_offsets(connection: KafkaConnection, group: str, positions: Mapping[str, Any]) -> None:
    """Stores the positions in a group without members, where lag tools look. Raises when the broker refuses."""
    offsets: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for split, position in positions.items():
        topic, partition = split_parts(split)
        offsets[topic].append((partition, position_parts(position, split).offset))
    request = requests.commit_offsets(group, offsets, "streamlet")
    answers = await connection.send_to_coordinator(requests.GROUP_COORDINATOR, group, request)
    errors = {code for _, _, code in answers if code}
    if errors & codes.ELSEWHERE:
        connection.forget_coordinator(requests.GROUP_COORDINATOR, group)
    if errors:
        raise BrokerAnswerError(
            f"committing the offsets of group {group!r}",
            min(errors),
            remedy="name a group that no consumer subscribes with, and give this user the ACL Read on it",
        )
