"""Fetch, which says to the broker what the reader knows of the log, so that another log is no silent answer.

Version 13 names topics by their ids: one that was deleted and created again does not answer for the old one.  It and
version 12, which is sent where a broker has no better, name leader epochs, which count how often a partition's leader
has changed: that of the leader that is asked (a leader that was replaced and does not know it yet gives no old end),
and that in which the last record was written: a log that was cut off and has grown again says where the two part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streamlet_connectors.kafka.protocol import wire
from streamlet_connectors.kafka.protocol.requests import READ_COMMITTED
from streamlet_connectors.kafka.protocol.wire import COMPACT, TAGS, CompactArray, Int8, Int16, Int32, Int64

UNKNOWN_EPOCH = -1
_DIVERGING_TAG = 0
_DIVERGING = struct.Struct(">iq")


class Place(NamedTuple):
    """Where to read a partition, and what is known of it."""

    partition: int
    offset: int
    leader_epoch: int = UNKNOWN_EPOCH
    """Of the leader that is asked."""
    last_epoch: int = UNKNOWN_EPOCH
    """In which the record before `offset` was written."""


class Diverging(NamedTuple):
    """The log is not the one that was read: the newest epoch at most ours that it has, and where that ends in it."""

    epoch: int
    end: int


class Fetched(NamedTuple):
    """What a Fetch gave for one partition; `aborted` holds (producer id, first offset)."""

    topic: str
    partition: int
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted: tuple[tuple[int, int], ...]
    records: bytes
    diverging: Diverging | None = None


def _fetched(answer: Any, names: Mapping[bytes, str] | None = None) -> tuple[Fetched, ...]:
    return tuple(
        Fetched(
            topic if names is None else names[topic],
            partition,
            error,
            high,
            stable,
            start,
            tuple((producer, first) for producer, first, _ in aborted or ()),
            records or b"",
            _diverging(tags),
        )
        for topic, partitions, _ in answer.topics
        for partition, error, high, stable, start, aborted, _replica, records, tags in partitions
    )


def _diverging(tags: Mapping[int, bytes]) -> Diverging | None:
    value = tags.get(_DIVERGING_TAG)
    return None if value is None else Diverging(*_DIVERGING.unpack_from(value))


def _version(number: int, topic: tuple[str, Any]) -> wire.Api[tuple[Fetched, ...]]:
    return wire.api(
        "Fetch", 1, number,
        (("replica", Int32), ("max_wait_ms", Int32), ("min_bytes", Int32), ("max_bytes", Int32), ("isolation", Int8),
         ("session_id", Int32), ("session_epoch", Int32),
         ("topics", CompactArray(topic, ("partitions", CompactArray(
             ("partition", Int32), ("leader_epoch", Int32), ("offset", Int64), ("last_epoch", Int32),
             ("log_start", Int64), ("max_bytes", Int32), TAGS)), TAGS)),
         ("forgotten", CompactArray(topic, ("partitions", CompactArray(Int32)), TAGS)), ("rack", COMPACT), TAGS),
        (("throttle_time_ms", Int32), ("error_code", Int16), ("session_id", Int32),
         ("topics", CompactArray(topic, ("partitions", CompactArray(
             ("partition", Int32), ("error_code", Int16), ("high_watermark", Int64), ("last_stable", Int64),
             ("log_start", Int64), ("aborted", CompactArray(("producer_id", Int64), ("first_offset", Int64), TAGS)),
             ("replica", Int32), ("records", wire.CompactBytes), TAGS)), TAGS)), TAGS),
        _fetched, flexible=True,
    )  # fmt: skip


_BY_NAME = _version(12, ("topic", COMPACT))
_BY_ID = _version(13, ("topic_id", wire.Uuid))


def fetch(
    places: Mapping[str, Sequence[tuple[int, int] | Place]],
    ids: Mapping[str, bytes] | None = None,
    *,
    max_wait_ms: int,
    min_bytes: int = 1,
    max_bytes: int,
    partition_max_bytes: int,
    isolation: int = READ_COMMITTED,
) -> wire.Request[tuple[Fetched, ...]]:
    """Reads from `{topic: [(partition, offset)]}`. The first batch comes whole, however large it is.

    `ids` gives the id of each topic; without it any topic of that name answers.
    """
    head = (-1, max_wait_ms, min_bytes, max_bytes, isolation, 0, -1)
    asked = [(topic, list(_partitions(several, partition_max_bytes))) for topic, several in places.items()]
    by_name = _BY_NAME(*head, [(topic, partitions, {}) for topic, partitions in asked], [], "", {})
    if ids is None:
        return by_name
    names = {ids[topic]: topic for topic, _ in asked}
    by_id = _BY_ID(*head, [(ids[topic], partitions, {}) for topic, partitions in asked], [], "", {})
    by_id.read = lambda answer: _fetched(answer, names)
    return by_id.or_older(by_name)


def _partitions(several: Iterable[tuple[int, int] | Place], max_bytes: int) -> Iterable[tuple[Any, ...]]:
    for one in several:
        partition, offset, leader_epoch, last_epoch = Place(*one)
        yield partition, leader_epoch, offset, last_epoch, -1, max_bytes, {}
