"""Transactional ids of a KafkaSink: few are taken into use, and one that the broker has forgotten is taken anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streamlet.errors import SinkError
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.kafka import KafkaSink
from streamlet_connectors.kafka.writing.transaction_pool import POOL_SIZE
from tests.kafka.sink_driving import a_committer, a_writer, fresh, keyed, prepare, until

ATTEMPTS, SUBTASKS, CHECKPOINTS = 6, 2, 6


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"out": 2}) as kafka:
        yield kafka


def forget_ids(kafka: EmbeddedKafka) -> None:
    """Lets `transactional.id.expiration.ms` pass for everything that is not in a transaction."""
    settings = kafka.broker.settings
    usual, settings.transactional_id_expiration_ms = settings.transactional_id_expiration_ms, 0
    later = int(time.time() * 1000) + 10 * settings.sweep_interval_ms
    kafka.act(lambda broker: broker.transactions.sweep(later))
    settings.transactional_id_expiration_ms = usual


async def come(kafka: EmbeddedKafka, count: int) -> None:
    """Waits until so many records are visible: markers come a little behind the answer to a commit."""

    async def are_there() -> bool:
        return len(values(kafka)) == count

    await until(are_there)


def values(kafka: EmbeddedKafka) -> list[bytes | None]:
    logs = [kafka.broker.topics.log("out", partition) for partition in range(2)]
    return sorted((record.value for log in logs if log is not None for record in log.committed_records()), key=str)


@pytest.mark.parametrize("already", [0, 1, 3])
def test_a_writer_that_was_idle_until_the_broker_forgot_its_ids_goes_on(already: int, kafka: EmbeddedKafka) -> None:
    """Before the first transaction, behind one, and when ids come back into the pool."""

    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out")
        instance = fresh("i")
        async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
            for number in range(already + 3):
                if number >= already:
                    await writer.write(keyed([]))  # takes the transaction that was made ready
                    forget_ids(kafka)
                committable = await prepare(writer, [number], number)
                await committer.commit(committable)
                await writer.released([committable])
        await come(kafka, already + 3)

    asyncio.run(scenario())
    assert values(kafka) == [b"%d" % number for number in range(already + 3)]


def test_an_idle_writer_that_was_shut_out_does_not_come_back(kafka: EmbeddedKafka) -> None:
    """The broker's other answers to an empty transaction mean that somebody else has taken its id."""

    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out")
        instance = fresh("i")
        async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
            await committer.fence(1, [])
            with pytest.raises(SinkError, match=r"47 INVALID_PRODUCER_EPOCH[\s\S]*took its id over"):
                await prepare(writer, [1])

    asyncio.run(scenario())
    assert values(kafka) == []


def test_many_attempts_leave_few_ids_at_the_broker(kafka: EmbeddedKafka) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out")
        instance = fresh("i")
        for attempt in range(1, ATTEMPTS + 1):
            async with a_committer(sink, instance, attempt=attempt, unfenced=(attempt - 1,)) as committer:
                await committer.fence(SUBTASKS, [])
                for subtask in range(SUBTASKS):
                    async with a_writer(sink, instance, attempt=attempt, subtask=subtask) as writer:
                        for number in range(CHECKPOINTS):
                            committable = await prepare(writer, [number], number)
                            await committer.commit(committable)
                            await writer.released([committable])
                        await writer.write(keyed([CHECKPOINTS]))  # and fails here
        await come(kafka, ATTEMPTS * SUBTASKS * CHECKPOINTS)

    asyncio.run(scenario())
    ids = [one.id for one in kafka.broker.transactions.all()]
    most = ATTEMPTS * SUBTASKS * 3
    assert len(ids) <= most < ATTEMPTS * SUBTASKS * POOL_SIZE


def test_ids_that_were_never_used_are_not_made_by_the_fence_and_used_ones_are_shut_out(kafka: EmbeddedKafka) -> None:
    async def two_are_known() -> bool:
        return len(list(kafka.broker.transactions.all())) == 2  # one that writes, and one that is ready

    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out")
        instance = fresh("i")
        async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
            await writer.write(keyed([1]))
            await until(two_are_known)
            before = {one.id: (one.producer_id, one.epoch) for one in kafka.broker.transactions.all()}
            await committer.fence(4, [])
            after = {one.id: (one.producer_id, one.epoch) for one in kafka.broker.transactions.all()}
            assert before.keys() == after.keys()
            assert all(after[id] > before[id] for id in before)

    asyncio.run(scenario())
