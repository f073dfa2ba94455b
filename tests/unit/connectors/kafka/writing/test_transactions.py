"""Transactional ids, committables and what the log says about them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from streamlet.connect import Committable, Outcome
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.fetch_api import Fetched
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.writing.batching import new_builder, seal
from streamlet_connectors.kafka.writing.outcome import judge, probe
from streamlet_connectors.kafka.writing.transaction import Prepared
from streamlet_connectors.kafka.writing.transaction_pool import POOL_SIZE, transactional_ids

PRODUCER, EPOCH, OFFSET = 4711, 3, 0


def test_ids_name_job_instance_sink_subtask_and_number() -> None:
    assert transactional_ids("job", "uuid", "out", 7, 2) == [f"job.uuid.out.7.2.{k}" for k in range(POOL_SIZE)]


def test_dots_in_names_cannot_make_two_sinks_share_an_id() -> None:
    ids = [
        *transactional_ids("a.b", "i", "c", 1, 0),
        *transactional_ids("a", "i", "b.c", 1, 0),
        *transactional_ids("a", "b.i", "c", 1, 0),
        *transactional_ids("a%2Eb", "i", "c", 1, 0),
        *transactional_ids("a", "i", "c", 1, 0),
        *transactional_ids("a", "i", "c", 1, 10),
        *transactional_ids("a", "i", "c", 11, 0),
    ]
    assert len(set(ids)) == len(ids)


def test_a_committable_survives_msgpack() -> None:
    prepared = Prepared(1, "id", PRODUCER, EPOCH, [("t", "ab", 0, 7), ("t", "ab", 1, 9)], "h:1", "c", 5)
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(prepared.payload()))
    assert Prepared.of(Committable("x", packed, 2, "")) == prepared


@pytest.mark.parametrize(
    ("partitions", "text"),
    [([0], "0"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7], "0, 2-3, 7")],
)
def test_partitions_are_named_in_ranges(partitions: list[int], text: str) -> None:
    prepared = Prepared(1, "id", 1, 1, [("t", "ab", p, 0) for p in partitions], "", "", 0)
    assert prepared.where == f"topic t, partitions {text}"


def fetched(
    *,
    error: int = 0,
    stable: int = 10,
    aborted: tuple[tuple[int, int], ...] = (),
    producer: int = PRODUCER,
    epoch: int = EPOCH,
    is_empty: bool = False,
) -> Fetched:
    builder = new_builder(1000, is_transactional=True)
    builder.append(0, 0, None, b"v", [])
    data = b"" if is_empty else bytes(seal(builder, producer, epoch, 0, None, is_transactional=True))
    return Fetched("t", 0, error, 20, stable, 0, aborted, data)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (fetched(), Outcome.COMMITTED),
        (fetched(stable=0), Outcome.OPEN),
        (fetched(aborted=((PRODUCER, OFFSET),)), Outcome.ABORTED),
        (fetched(aborted=((PRODUCER, OFFSET + 1), (PRODUCER + 1, OFFSET))), Outcome.COMMITTED),
        (fetched(error=1), Outcome.UNKNOWN),
        (fetched(error=3), Outcome.UNKNOWN),
        (fetched(is_empty=True), Outcome.UNKNOWN),
        (fetched(producer=PRODUCER + 1), Outcome.UNKNOWN),
        (fetched(epoch=EPOCH + 1), Outcome.UNKNOWN),
    ],
)
def test_the_log_proves_commit_and_abort_or_says_unknown(answer: Fetched, outcome: Outcome) -> None:
    assert judge(answer, PRODUCER, EPOCH, OFFSET).outcome is outcome


def test_another_first_record_of_the_same_producer_proves_nothing() -> None:
    assert judge(fetched(), PRODUCER, EPOCH, OFFSET + 1).outcome is Outcome.UNKNOWN


class Log:
    """In the place of a connection: a log whose every fetch gives the same."""

    def __init__(self, answer: Fetched) -> None:
        self._answer = answer

    async def look(self, topics: Any) -> dict[str, TopicInfo]:
        return {topic: TopicInfo(topic, 0, b"\xab", (1,)) for topic in topics}

    async def send_to_leader(self, topic: str, partition: int, request: Any) -> list[Fetched]:
        return [self._answer]


def test_records_that_are_damaged_on_the_way_to_the_marker_leave_the_outcome_unknown() -> None:
    behind_another = fetched(stable=0)
    damaged = bytearray(behind_another.records)
    damaged[-3] ^= 1
    prepared = Prepared(1, "id", PRODUCER, EPOCH, [("t", "ab", 0, OFFSET)], "h:1", "c", 5)
    for records, outcome in ((behind_another.records, Outcome.OPEN), (bytes(damaged), Outcome.UNKNOWN)):
        log = cast(KafkaConnection, Log(behind_another._replace(records=records)))
        assert asyncio.run(probe(log, prepared)).outcome is outcome
