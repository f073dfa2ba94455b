"""Prepared transactions are committed, aborted and told apart from outside the process that wrote them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from streamlet.connect import Outcome
from streamlet.errors import FinalError, OutputLostError, SinkError
from streamlet_connectors.kafka.protocol import requests
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.writing.sink import KafkaSink
from streamlet_connectors.kafka.writing.transaction import Prepared
from tests.kafka.broker import Kafka
from tests.kafka.reading import read_committed
from tests.kafka.sink_driving import a_committer, a_writer, fresh, in_a_child, keyed, prepare, until, visible_now

pytestmark = pytest.mark.kafka

TEN = [str(number).encode() for number in range(10)]


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    name = fresh()
    kafka.create_topic(name, 2)
    yield name


def values(kafka: Kafka, topic: str) -> list[bytes | None]:
    return [record.value for record in read_committed(kafka.bootstrap, topic)]


def sink(kafka: Kafka, topic: str, **given: Any) -> KafkaSink[Any]:
    return KafkaSink(kafka.bootstrap, topic, **given)


async def end(connection: KafkaConnection, prepared: Prepared, *, commit: bool, **changed: Any) -> int:
    """EndTxn until the coordinator is not busy with the one before."""
    one = msgspec.structs.replace(prepared, **changed)
    while True:
        request = requests.end_transaction(one.transactional_id, one.producer_id, one.epoch, commit=commit)
        code = (await connection.send_to_coordinator(1, one.transactional_id, request)).error
        if code not in (14, 15, 16, 51):
            return code
        await asyncio.sleep(0.01)


def test_nothing_is_visible_before_the_commit_and_everything_after(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            assert visible_now(kafka.bootstrap, topic) == []
            assert await committer.outcomes([committable]) == [Outcome.OPEN]
            await committer.commit(committable)
            assert await committer.outcomes([committable]) == [Outcome.COMMITTED]

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_a_commit_can_be_repeated_from_other_processes_after_the_writer_is_gone(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer:
            committable = await prepare(writer, range(10))
        for _ in range(3):
            async with a_committer(sink(kafka, topic), instance) as committer:
                await committer.commit(committable)

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_closing_the_writer_leaves_what_is_prepared_and_aborts_what_is_not(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_committer(one, instance) as committer:
            async with a_writer(one, instance) as writer:
                committable = await prepare(writer, range(10))
                await writer.write(keyed(range(10, 20)))
                await writer.prepare_commit(2)
                await writer.write(keyed(range(20, 30)))
                writer._ship_filled()
                await writer._delivery.flushed()
            await writer.close()
            assert await committer.outcomes([committable]) == [Outcome.OPEN]
            await committer.commit(committable)
            await committer.fence(1, [])  # ends the second one, which nobody remembers

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_an_abort_can_be_repeated_and_excludes_a_commit(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            for _ in range(3):
                await committer.abort(committable)
            assert await committer.outcomes([committable]) == [Outcome.ABORTED]
            with pytest.raises(OutputLostError, match=rf"10 records of topic {topic}, partitions \d .*aborted"):
                await committer.commit(committable)

    asyncio.run(scenario())
    assert values(kafka, topic) == []


def test_what_is_committed_cannot_be_aborted(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            await committer.commit(committable)
            with pytest.raises(OutputLostError, match="cannot be aborted: it is committed"):
                await committer.abort(committable)

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_fencing_ends_open_transactions_shuts_zombies_out_and_spares_what_is_named(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with (
            a_writer(one, instance) as zombie,
            a_writer(one, instance, subtask=1) as other,
            a_committer(one, instance) as committer,
        ):
            spared = await prepare(zombie, range(10))
            fenced = await prepare(other, range(10, 20))
            await zombie.write(keyed(range(20, 30)))
            zombie._ship_filled()
            await zombie._delivery.flushed()
            await committer.fence(2, [spared])
            assert await committer.outcomes([spared, fenced]) == [Outcome.OPEN, Outcome.ABORTED]
            with pytest.raises(SinkError, match=r"47 INVALID_PRODUCER_EPOCH[\s\S]*took its id over"):
                await prepare(zombie, range(30, 40))
            await committer.commit(spared)

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_the_outcome_is_still_known_after_the_id_was_taken_again(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committed = await prepare(writer, range(10))
            aborted = await prepare(writer, range(10, 20), 2)
            await committer.commit(committed)
            await committer.abort(aborted)
            await committer.fence(1, [])
            assert await committer.outcomes([committed, aborted]) == [Outcome.COMMITTED, Outcome.ABORTED]
            await committer.commit(committed)
            await committer.abort(aborted)
            with pytest.raises(OutputLostError, match="the log says that it was aborted"):
                await committer.commit(aborted)

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_a_transaction_that_timed_out_is_lost_loudly(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic, transaction_timeout_seconds=1), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            assert committable.deadline_ms == committable.payload["first_add_ms"] + 1000

            async def is_aborted() -> bool:
                return await committer.outcomes([committable]) == [Outcome.ABORTED]

            await until(is_aborted)
            with pytest.raises(OutputLostError, match=r"10 records[\s\S]*transaction_timeout_seconds"):
                await committer.commit(committable)
            await committer.abort(committable)

    asyncio.run(scenario())
    assert values(kafka, topic) == []


def test_output_in_a_topic_that_was_created_again_is_lost_loudly(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            await asyncio.to_thread(kafka.delete_topic, topic)
            await asyncio.to_thread(kafka.create_topic, topic, 2)
            assert await committer.outcomes([committable]) == [Outcome.LOST]
            with pytest.raises(OutputLostError, match=f"topic '{topic}' was deleted and created again"):
                await committer.commit(committable)
            await committer.fence(1, [])
            assert await committer.outcomes([committable]) == [Outcome.UNKNOWN]

    asyncio.run(scenario())


def test_output_in_a_topic_that_was_deleted_is_lost_loudly(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            await asyncio.to_thread(kafka.delete_topic, topic)
            assert await committer.outcomes([committable]) == [Outcome.UNKNOWN]
            with pytest.raises(OutputLostError, match=f"topic '{topic}' was deleted after"):
                await committer.commit(committable)
            await committer.fence(1, [])

    asyncio.run(scenario())


def test_output_of_another_cluster_is_not_touched(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            committable = await prepare(writer, range(10))
            moved = msgspec.structs.replace(committable, payload={**committable.payload, "cluster": "elsewhere"})
            with pytest.raises(FinalError, match="was written to Kafka cluster elsewhere"):
                await committer.commit(moved)
            await committer.commit(committable)

    asyncio.run(scenario())


def test_end_txn_at_version_0_answers_as_the_committer_relies_on(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        one, instance = sink(kafka, topic), fresh("i")
        connection = KafkaConnection(one._spec.options)
        await connection.open()
        async with a_writer(one, instance) as writer:
            first, second, third = [Prepared.of(await prepare(writer, [n], n)) for n in (1, 2, 3)]
            # committed: commit is 0 as often as asked, abort is 48
            assert [await end(connection, first, commit=c) for c in (True, True, False, True)] == [0, 0, 48, 0]
            # aborted: abort is 0 as often as asked, commit is 48
            assert [await end(connection, second, commit=c) for c in (False, True, False)] == [0, 48, 0]
            # another epoch is 47, another producer id or an unknown id is 49
            assert await end(connection, third, commit=True, epoch=third.epoch + 1) == 47
            assert await end(connection, third, commit=True, producer_id=third.producer_id + 1000) == 49
            assert await end(connection, third, commit=True, transactional_id=fresh("nobody")) == 49
            assert await end(connection, third, commit=True) == 0
            # taken again after commit: 47, and nothing changes
            async with a_committer(one, instance) as committer:
                await committer.fence(1, [])
            assert await end(connection, first, commit=True) == 47
            assert await end(connection, second, commit=True) == 47
        await connection.close()

    asyncio.run(scenario())
    assert sorted(values(kafka, topic), key=str) == [b"1", b"3"]


@pytest.mark.parametrize("fault", ["end_txn_sent", "end_txn_answered"])
def test_a_process_killed_while_it_commits_has_its_output_committed_once(kafka: Kafka, topic: str, fault: str) -> None:
    instance = fresh("i")
    code, (committable,) = in_a_child(fault, kafka.bootstrap, topic, instance, "10")
    assert code == -signal.SIGKILL

    async def scenario() -> None:
        async with a_committer(sink(kafka, topic), instance) as committer:
            assert await committer.outcomes([committable]) != [Outcome.ABORTED]
            await committer.commit(committable)
            await committer.fence(1, [])

    asyncio.run(scenario())
    assert values(kafka, topic) == TEN


def test_a_process_killed_before_it_prepared_leaves_nothing_behind_once_it_is_fenced(kafka: Kafka, topic: str) -> None:
    instance = fresh("i")
    code, prepared = in_a_child("produce_sent", kafka.bootstrap, topic, instance, "10")
    assert (code, prepared) == (-signal.SIGKILL, [])

    async def scenario() -> None:
        async with a_committer(sink(kafka, topic), instance) as committer:
            await committer.fence(1, [])

    asyncio.run(scenario())
    assert values(kafka, topic) == []
