"""What EndTxn answers, held by Apache Kafka and by the embedded broker alike."""

from __future__ import annotations

import asyncio

import pytest

from tests.kafka.broker import Kafka
from tests.kafka.sink_driving import fresh
from tests.kafka.wire_driving import BUSY, Play, Wire, a_wire, each_broker, each_play

__all__ = ["each_broker", "each_play"]

VERSIONS = [0, 1, 2, 4]
every_version = pytest.mark.parametrize("version", VERSIONS)


def fenced(version: int) -> int:
    """The code for an epoch that is not the current one."""
    return 47 if version < 2 else 90


@every_version
def test_a_commit_can_be_repeated_and_keeps_the_epoch(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"a")
        assert await wire.visible(topic) == []
        assert await wire.end_once(id, pid, epoch, version=version) == 0
        assert await wire.end_once(id, pid, epoch, version=version) in (0, 51)
        for _ in range(3):
            assert await wire.end(id, pid, epoch, version=version) == 0
        assert (await wire.describe(id))[:4] == (0, "CompleteCommit", pid, epoch)
        assert await wire.visible(topic) == [b"a"]

    play(scenario)


@every_version
def test_what_is_committed_cannot_be_aborted(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"a")
        assert await wire.end(id, pid, epoch) == 0
        assert await wire.end_once(id, pid, epoch, commit=False, version=version) == 48
        assert await wire.visible(topic) == [b"a"]

    play(scenario)


@every_version
def test_an_abort_can_be_repeated_and_excludes_a_commit(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"a")
        assert await wire.end_once(id, pid, epoch, commit=False, version=version) == 0
        assert await wire.end_once(id, pid, epoch, version=version) in (51, 48)
        assert await wire.end(id, pid, epoch, version=version) == 48
        assert await wire.end(id, pid, epoch, commit=False, version=version) == 0
        assert (await wire.describe(id))[:4] == (0, "CompleteAbort", pid, epoch)
        assert await wire.visible(topic) == []

    play(scenario)


@every_version
def test_an_id_without_a_transaction_can_be_neither_committed_nor_aborted(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id)
        assert (await wire.describe(id))[:4] == (0, "Empty", pid, epoch)
        assert await wire.end_once(id, pid, epoch, version=version) == 48
        assert await wire.end_once(id, pid, epoch, commit=False, version=version) == 48

    play(scenario)


@every_version
def test_a_stranger_cannot_end_a_transaction(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic)
        assert await wire.end_once(id, pid + 999, epoch, version=version) == 49
        assert await wire.end_once(id, pid, epoch + 1, version=version) == fenced(version)
        assert await wire.end_once(fresh("never"), pid, epoch, version=version) == 49
        assert (await wire.describe(fresh("never"))).error == 105
        assert (await wire.describe(id)) == (0, "Ongoing", pid, epoch, [(topic, 0)])

    play(scenario)


@every_version
def test_taking_an_id_aborts_what_is_open_and_fences_its_producer(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"lost")
        assert (await wire.init_once(id))[0] == 51
        assert await wire.init(id) == (pid, epoch + 2)
        assert (await wire.describe(id))[:4] == (0, "Empty", pid, epoch + 2)
        assert await wire.end_once(id, pid, epoch, version=version) == fenced(version)
        assert await wire.end_once(id, pid, epoch + 2, version=version) == 48
        assert await wire.visible(topic) == []

    play(scenario)


@every_version
def test_a_commit_is_refused_after_its_id_was_taken_again(play: Play, version: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"kept")
        assert await wire.end(id, pid, epoch) == 0
        assert await wire.init(id) == (pid, epoch + 1)
        assert await wire.end_once(id, pid, epoch, version=version) == fenced(version)
        assert await wire.visible(topic) == [b"kept"]

    play(scenario)


def test_a_transaction_that_timed_out_is_aborted_with_the_next_epoch(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"late", timeout_ms=600)
        assert await wire.settled(id) == (0, "CompleteAbort", pid, epoch + 1, [])
        for version in VERSIONS:
            assert await wire.end_once(id, pid, epoch, version=version) == fenced(version)
            assert await wire.end_once(id, pid, epoch + 1, version=version) == 48
        assert await wire.visible(topic) == []
        assert (await wire.produce(topic, [b"z"], id=id, pid=pid, epoch=epoch, sequence=1))[0] == 47
        assert await wire.add(id, pid, epoch, topic) == 47
        assert await wire.init(id) == (pid, epoch + 2)

    play(scenario)


def test_nothing_but_the_first_partition_starts_the_clock_and_nothing_extends_it(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id, 1_000)
        await asyncio.sleep(1.5)
        assert await wire.add(id, pid, epoch, topic) == 0
        sequence = 0
        async with asyncio.timeout(15):
            while await wire.add(id, pid, epoch, topic, [sequence % 2]) == 0:
                sequence += 1
                await asyncio.sleep(0.05)
        assert sequence > 5
        assert (await wire.settled(id)).epoch == epoch + 1

    play(scenario)


def test_a_replayed_commit_commits_the_next_transaction_of_the_same_epoch(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"first")
        assert await wire.end(id, pid, epoch) == 0
        assert await wire.add(id, pid, epoch, topic) == 0
        assert (await wire.produce(topic, [b"second"], id=id, pid=pid, epoch=epoch, sequence=1))[0] == 0
        assert await wire.end(id, pid, epoch) == 0
        assert await wire.visible(topic) == [b"first", b"second"]

    play(scenario)


def test_two_clients_that_commit_at_once_both_succeed(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        async with a_wire(broker.bootstrap) as other:
            for _ in range(5):
                pid, epoch, _ = await wire.opened(id, topic)
                first = await asyncio.gather(wire.end_once(id, pid, epoch), other.end_once(id, pid, epoch))
                assert 0 in first
                assert set(first) <= {0, *BUSY}
                assert set(await asyncio.gather(wire.end(id, pid, epoch), other.end(id, pid, epoch))) == {0}

    play(scenario)


def test_a_commit_succeeds_though_its_topic_was_deleted(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic)
        await asyncio.to_thread(broker.delete_topic, topic)
        assert await wire.end(id, pid, epoch) == 0
        assert (await wire.describe(id)).state == "CompleteCommit"

    play(scenario)


def test_naming_the_current_identity_aborts_what_is_open_too_and_can_be_repeated(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        for version, stranger in ((3, 47), (4, 90), (5, 90)):
            one = f"{id}-{version}"
            pid, epoch, _ = await wire.opened(one, topic, b"lost")
            now = {"producer_id": pid, "producer_epoch": epoch}
            assert (await wire.init_once(one, version=version, **now))[0] == 51
            assert await wire.init(one, version=version, **now) == (pid, epoch + 1)
            assert await wire.init(one, version=version, **now) == (pid, epoch + 1)
            wrong = {"producer_id": pid + 777, "producer_epoch": epoch}
            assert (await wire.init_once(one, version=version, **wrong))[0] == stranger
        assert await wire.visible(topic) == []

    play(scenario)


def test_an_idle_id_gets_the_next_epoch_each_time(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id)
        assert [await wire.init(id) for _ in range(3)] == [(pid, epoch + step) for step in (1, 2, 3)]

    play(scenario)


@pytest.mark.parametrize(("timeout_ms", "code"), [(900_000, 0), (900_001, 50), (2**31 - 1, 50), (0, 50), (-1, 50)])
def test_the_time_out_has_limits(play: Play, timeout_ms: int, code: int) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        assert (await wire.init_once(id, timeout_ms))[0] == code

    play(scenario)
