"""What Produce, Fetch, ListOffsets and Metadata answer, held by Apache Kafka and by the embedded broker alike."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest

from tests.kafka.broker import Kafka
from tests.kafka.sink_driving import fresh
from tests.kafka.wire_driving import Play, Wire, a_batch, a_wire, batches_in, each_broker, each_play

__all__ = ["each_broker", "each_play"]

LATEST, EARLIEST = -1, -2


def test_a_transactional_batch_needs_its_partition_in_the_transaction(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id)
        who: dict[str, Any] = {"id": id, "pid": pid, "epoch": epoch}
        assert (await wire.produce(topic, [b"a"], **who))[0] == 48
        assert await wire.add(id, pid, epoch, topic) == 0
        assert await wire.add(id, pid, epoch, topic) == 0
        assert await wire.produce(topic, [b"a"], **who) == (0, 0)
        assert (await wire.produce(topic, [b"a"], partition=1, **who))[0] == 48
        assert await wire.end(id, pid, epoch) == 0
        assert (await wire.produce(topic, [b"late"], sequence=1, **who))[0] == 48
        assert await wire.visible(topic) == [b"a"]

    play(scenario)


def test_partitions_are_added_all_or_none(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id)
        missing = fresh("missing")
        assert await wire.add_once(id, pid, epoch, {missing: [0], topic: [0, 1]}) == {
            (missing, 0): 3,
            (topic, 0): 55,
            (topic, 1): 55,
        }
        assert await wire.add_once(id, pid, epoch, {topic: [9, 0]}) == {(topic, 9): 3, (topic, 0): 55}
        assert (await wire.describe(id)).state == "Empty"
        assert await wire.add_once(id, pid + 1, epoch, {topic: [0]}) == {(topic, 0): 49}
        assert await wire.add_once(id, pid, epoch + 1, {topic: [0]}) == {(topic, 0): 47}

    play(scenario)


def test_one_of_the_last_five_batches_again_gets_its_first_offset_and_an_older_one_is_refused(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"0")
        who: dict[str, Any] = {"id": id, "pid": pid, "epoch": epoch}
        for sequence in range(1, 6):
            assert await wire.produce(topic, [b"%d" % sequence], sequence=sequence, **who) == (0, sequence)
        for sequence in (5, 1, 3):
            assert await wire.produce(topic, [b"%d" % sequence], sequence=sequence, **who) == (0, sequence)
        assert (await wire.produce(topic, [b"0"], sequence=0, **who))[0] == 45
        assert await wire.end(id, pid, epoch) == 0
        assert await wire.visible(topic) == [b"0", b"1", b"2", b"3", b"4", b"5"]

    play(scenario)


def test_a_gap_in_the_sequence_is_refused(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"0")
        assert (await wire.produce(topic, [b"5"], sequence=5, id=id, pid=pid, epoch=epoch))[0] == 45
        assert (await wire.produce(topic, [b"1"], sequence=1, id=id, pid=pid, epoch=epoch)) == (0, 1)

    play(scenario)


def test_a_producer_that_the_partition_does_not_know_may_start_with_any_sequence(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id)
        assert await wire.add(id, pid, epoch, topic) == 0
        assert (await wire.produce(topic, [b"7"], sequence=7, id=id, pid=pid, epoch=epoch))[0] == 0
        assert (await wire.produce(topic, [b"3"], sequence=3, id=id, pid=pid, epoch=epoch))[0] == 45
        assert await wire.end(id, pid, epoch, commit=False) == 0
        pid, epoch = await wire.init(id)
        assert await wire.add(id, pid, epoch, topic) == 0
        assert (await wire.produce(topic, [b"7"], sequence=7, id=id, pid=pid, epoch=epoch))[0] == 45
        assert (await wire.produce(topic, [b"0"], sequence=0, id=id, pid=pid, epoch=epoch))[0] == 0

    play(scenario)


def test_a_batch_without_the_flag_is_visible_at_once_whoever_sends_it(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic, b"open")
        assert (await wire.produce(topic, [b"now"], partition=1, pid=pid, epoch=epoch))[0] == 0
        assert await wire.visible(topic, partition=1) == [b"now"]

    play(scenario)


def test_a_transaction_can_be_committed_though_one_of_its_batches_was_refused(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        small = fresh("small")
        await asyncio.to_thread(broker.create_topic, small, 1, max_message_bytes=2000)
        await wire.led(small, 1)
        pid, epoch, _ = await wire.opened(id, topic, b"kept")
        assert await wire.add(id, pid, epoch, small) == 0
        assert (await wire.produce(small, [b"x" * 3000], id=id, pid=pid, epoch=epoch))[0] == 10
        assert await wire.end(id, pid, epoch) == 0
        assert await wire.visible(topic) == [b"kept"]

    play(scenario)


def test_damaged_bytes_are_refused(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        batch = bytearray(a_batch([b"value"]))
        batch[-2] ^= 1
        assert (await wire.produce_bytes(topic, bytes(batch)))[0] == 2
        two = a_batch([b"a"]) + a_batch([b"b"])
        assert (await wire.produce_bytes(topic, two))[0] == 87
        assert (await wire.fetch(topic, 0)).high_watermark == 0

    play(scenario)


def test_a_compacted_topic_takes_no_record_without_a_key(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        compacted = fresh("compacted")
        await asyncio.to_thread(broker.create_topic, compacted, 1, cleanup_policy="compact")
        await wire.led(compacted, 1)
        assert (await wire.produce(compacted, [b"v"]))[0] == 87
        assert (await wire.produce(compacted, [b"v"], key=b"k"))[0] == 0

    play(scenario)


def test_one_produce_holds_several_partitions(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch = await wire.init(id)
        assert await wire.add(id, pid, epoch, topic, [0, 1]) == 0
        batch = a_batch([b"v"], id=id, pid=pid, epoch=epoch)
        data = [{"index": part, "records": batch} for part in (0, 1)]
        topics = [{"name": topic, "partition_data": data}]
        answer = await wire.ask(0, 7, transactional_id=id, acks=-1, timeout=5000, topic_data=topics)
        parts = [(part.index, part.error_code, part.base_offset) for part in answer.responses[0].partition_responses]
        assert sorted(parts) == [(0, 0, 0), (1, 0, 0)]

    play(scenario)


def test_a_reader_of_committed_records_stops_at_the_first_open_transaction(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        await wire.produce(topic, [b"plain"])
        pid, epoch, first = await wire.opened(id, topic, b"open", b"too")
        await wire.produce(topic, [b"behind"])
        fetched = await wire.fetch(topic, 0)
        assert (first, fetched.high_watermark, fetched.last_stable_offset) == (1, 4, 1)
        assert await wire.visible(topic) == [b"plain"]
        assert (await wire.fetch(topic, 1)).records == b""
        assert len((await wire.fetch(topic, 1, committed=False)).records) > 0
        assert (await wire.offset(topic, LATEST, committed=True))[2] == 1
        assert (await wire.offset(topic, LATEST))[2] == 4
        assert await wire.end(id, pid, epoch) == 0
        fetched = await wire.fetch(topic, 0)
        assert (fetched.high_watermark, fetched.last_stable_offset) == (5, 5)
        assert await wire.visible(topic) == [b"plain", b"open", b"too", b"behind"]

    play(scenario)


def test_aborted_transactions_are_named_where_they_are_read(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        one = await wire.opened(id, topic, b"a0", b"a1")
        two = await wire.opened(f"{id}-2", topic, b"b2")
        assert await wire.end(id, *one[:2], commit=False) == 0  # its marker: 3
        assert await wire.end(f"{id}-2", *two[:2]) == 0  # its marker: 4
        three = await wire.opened(id, topic, b"c5")
        assert await wire.end(id, *three[:2], commit=False) == 0
        assert (await wire.fetch(topic, 0)).aborted == [(one[0], 0), (three[0], 5)]
        assert (await wire.fetch(topic, 1)).aborted == [(one[0], 0), (three[0], 5)]
        assert (await wire.fetch(topic, 4)).aborted == [(three[0], 5)]
        assert (await wire.fetch(topic, 0, committed=False)).aborted == []
        assert await wire.visible(topic) == [b"b2"]
        assert await wire.visible(topic, 1) == [b"b2"]
        kinds = [batch.is_control_batch for batch in batches_in((await wire.fetch(topic, 0)).records)]
        assert kinds == [False, False, True, True, False, True]

    play(scenario)


def test_interleaved_transactions_are_seen_right_from_every_offset(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        ids = [f"{id}-{index}" for index in range(3)]
        expected: list[tuple[int, bytes]] = []
        for step in range(12):
            opened = [(one, *await wire.init(one)) for one in ids]
            written: dict[str, list[tuple[int, bytes]]] = {one: [] for one in ids}
            for sequence in range(2):
                for one, pid, epoch in opened:
                    assert await wire.add(one, pid, epoch, topic) == 0
                    value = f"{one}.{step}.{sequence}".encode()
                    code, at = await wire.produce(topic, [value], id=one, pid=pid, epoch=epoch, sequence=sequence)
                    assert code == 0
                    written[one].append((at, value))
            for index, (one, pid, epoch) in enumerate(opened):
                commit = (step + index) % 3 != 0
                assert await wire.end(one, pid, epoch, commit=commit) == 0
                expected += written[one] if commit else []
        expected.sort()
        end = (await wire.fetch(topic, 0)).high_watermark
        assert end == 12 * 9
        for offset in range(0, end, 7):
            assert await wire.visible(topic, offset) == [value for at, value in expected if at >= offset]

    play(scenario)


def test_offsets_are_found_by_timestamp(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        for codec in (0, 1, 3):
            times = [1_000 + codec * 100 + step * 10 for step in range(3)]
            await wire.produce(topic, [b"a", b"b", b"c"], timestamps=times, codec=codec)
        assert await wire.offset(topic, EARLIEST) == (0, -1, 0)
        assert await wire.offset(topic, LATEST) == (0, -1, 9)
        assert await wire.offset(topic, 0) == (0, 1_000, 0)
        assert await wire.offset(topic, 1_015) == (0, 1_020, 2)
        assert await wire.offset(topic, 1_105) == (0, 1_110, 4)
        assert await wire.offset(topic, 1_320) == (0, 1_320, 8)
        assert await wire.offset(topic, 1_321) == (0, -1, -1)
        assert (await wire.offset(topic, LATEST, partition=9))[0] == 3

    play(scenario)


def test_reading_outside_the_log_is_an_error_without_any_offset(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        for _ in range(4):
            await wire.produce(topic, [b"v"])
        await asyncio.to_thread(broker.delete_records, topic, {0: 2})
        assert (await wire.fetch(topic, 4))[:4] == (0, 4, 4, 2)
        for outside in (1, 5):
            assert (await wire.fetch(topic, outside))[:4] == (1, -1, -1, -1)
        assert (await wire.offset(topic, EARLIEST))[2] == 2
        assert len(await wire.visible(topic, 2)) == 2

    play(scenario)


def test_a_fetch_waits_for_records_and_gives_the_first_batch_whole(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        waiting = asyncio.create_task(wire.fetch(topic, 0, wait_ms=20_000, max_bytes=1))
        async with a_wire(broker.bootstrap) as other:
            await other.produce(topic, [b"x" * 5000])
            await other.produce(topic, [b"y"])
        (batch,) = batches_in((await waiting).records)
        assert [record.value for record in batch] == [b"x" * 5000]
        fetched = await wire.fetch(topic, 0)
        assert [len(list(batch)) for batch in batches_in(fetched.records)] == [1, 1]

    play(scenario)


def test_a_topic_that_is_created_again_has_another_id_and_gives_old_positions_its_own_bytes(
    play: Play, broker: Kafka
) -> None:
    async def identity(wire: Wire, topic: str) -> tuple[int, object]:
        asked = [{"topic_id": None, "name": topic}]
        answer = await wire.ask(
            3, 12, topics=asked, allow_auto_topic_creation=False, include_topic_authorized_operations=False
        )
        return int(answer.topics[0].error_code), answer.topics[0].topic_id

    async def scenario(wire: Wire, topic: str, id: str) -> None:
        await wire.produce(topic, [b"old", b"old"])
        before = await identity(wire, topic)
        await asyncio.to_thread(broker.delete_topic, topic)
        assert (await identity(wire, topic))[0] == 3
        assert (await wire.fetch(topic, 1)).error == 3
        assert (await wire.offset(topic, LATEST))[0] == 3
        await asyncio.to_thread(broker.create_topic, topic)
        await wire.led(topic, 1)
        await wire.produce(topic, [b"new", b"new", b"new"])
        after = await identity(wire, topic)
        assert before[0] == after[0] == 0
        assert before[1] != after[1]
        by_id = {"allow_auto_topic_creation": False, "include_topic_authorized_operations": False}
        answer = await wire.ask(3, 12, topics=[{"topic_id": before[1], "name": None}], **by_id)
        assert answer.topics[0].error_code == 100
        assert (await wire.visible(topic, 2)) == [b"new"]

    play(scenario)


def test_a_fetch_by_topic_id_and_leader_epoch_says_when_either_is_another(play: Play, broker: Kafka) -> None:
    async def fetch(wire: Wire, topic_id: uuid.UUID, offset: int, **known: int) -> Any:
        part = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20, **known}
        answer = await wire.ask(
            1, 13, max_wait=0, min_bytes=1, max_bytes=1 << 20, isolation_level=1,
            topics=[{"topic_id": topic_id, "partitions": [part]}], forgotten_topics_data=[],
        )  # fmt: skip
        (one,) = answer.responses[0].partitions
        return one

    async def scenario(wire: Wire, topic: str, id: str) -> None:
        await wire.produce(topic, [b"a", b"b"])
        answer = await wire.ask(
            3, 12, topics=[{"topic_id": None, "name": topic}], allow_auto_topic_creation=False,
            include_topic_authorized_operations=False,
        )  # fmt: skip
        described = answer.topics[0]
        assert {part.leader_epoch for part in described.partitions} == {0}
        fetched = await fetch(wire, described.topic_id, 0, current_leader_epoch=0)
        (batch,) = batches_in(fetched.records)
        assert (int(fetched.error_code), [record.value for record in batch]) == (0, [b"a", b"b"])
        assert fetched.records[12:16] == bytes(4), "the epoch in which it was written"
        assert (await fetch(wire, described.topic_id, 0, current_leader_epoch=1)).error_code == 75
        assert (await fetch(wire, described.topic_id, 2, last_fetched_epoch=0)).error_code == 0
        assert (await fetch(wire, described.topic_id, 2, last_fetched_epoch=1)).error_code == 1
        assert (await fetch(wire, uuid.uuid4(), 0)).error_code == 100

    play(scenario)


def test_partitions_can_be_added_while_clients_work(play: Play, broker: Kafka) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        pid, epoch, _ = await wire.opened(id, topic)
        await asyncio.to_thread(broker.add_partitions, topic, 4)
        await wire.led(topic, 4)
        assert await wire.add(id, pid, epoch, topic, [3]) == 0
        assert (await wire.produce(topic, [b"v"], partition=3, id=id, pid=pid, epoch=epoch)) == (0, 0)

    play(scenario)


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_a_groups_offset_in_a_transaction_counts_when_it_commits(play: Play, ending: str) -> None:
    async def stored(wire: Wire, group: str, topic: str) -> tuple[int, str | None]:
        asked = [{"name": topic, "partition_indexes": [0]}]
        (found,) = (await wire.ask(9, 3, group_id=group, topics=asked)).topics[0].partitions
        assert found.error_code == 0
        return found.committed_offset, found.metadata

    async def scenario(wire: Wire, topic: str, id: str) -> None:
        group = fresh("group")
        pid, epoch, _ = await wire.opened(id, topic)
        who = {"transactional_id": id, "producer_id": pid, "producer_epoch": epoch, "group_id": group}
        assert (await wire.ask(25, 0, **who)).error_code == 0
        part = {"partition_index": 0, "committed_offset": 7777, "committed_metadata": "note"}
        topics = [{"name": topic, "partitions": [part]}]
        assert (await wire.ask(28, 0, **who, topics=topics)).topics[0].partitions[0].error_code == 0
        assert await stored(wire, group, topic) == (-1, "")
        assert await wire.end(id, pid, epoch, commit=ending == "commit") == 0
        async with asyncio.timeout(10):
            while ending == "commit" and (await stored(wire, group, topic))[0] == -1:  # noqa: ASYNC110 - a broker tells nobody
                await asyncio.sleep(0.01)
        assert await stored(wire, group, topic) == ((7777, "note") if ending == "commit" else (-1, ""))

    play(scenario)


def test_anyone_may_store_offsets_of_a_group_without_members(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        group = fresh("group")
        parts = [{"partition_index": 0, "committed_offset": 5, "committed_metadata": "m"},
                 {"partition_index": 9, "committed_offset": 5, "committed_metadata": ""}]  # fmt: skip
        who = {"group_id": group, "generation_id_or_member_epoch": -1, "member_id": "", "retention_time": -1}
        answer = await wire.ask(8, 3, **who, topics=[{"name": topic, "partitions": parts}])
        assert {part.partition_index: part.error_code for part in answer.topics[0].partitions} == {0: 0, 9: 3}
        found = await wire.ask(9, 3, group_id=group, topics=None)
        (part,) = found.topics[0].partitions
        assert (part.partition_index, part.committed_offset, part.metadata) == (0, 5, "m")

    play(scenario)


def test_a_time_further_ahead_than_the_topic_allows_is_refused_and_no_time_or_an_old_one_is_not(play: Play) -> None:
    async def scenario(wire: Wire, topic: str, id: str) -> None:
        now = time.time_ns() // 1_000_000
        assert (await wire.produce(topic, [b"a", b"b"], timestamps=[now, now + 2 * 3_600_000]))[0] == 32
        assert await wire.produce(topic, [b"a", b"b", b"c"], timestamps=[-1, 0, now + 1_800_000]) == (0, 0)

    play(scenario)
