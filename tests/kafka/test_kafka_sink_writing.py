"""What the Kafka sink writes, as an independent reader sees it, and how it fails."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streamlet import Bytes, Text
from streamlet.connect import Batch
from streamlet.errors import ConfigError, EncodeError, SinkError
from streamlet_connectors.kafka.protocol.errors import BrokersUnreachableError, TopicUnknownError
from streamlet_connectors.kafka.writing.batching import COMPRESSIONS
from streamlet_connectors.kafka.writing.sink import KafkaSink
from streamlet_connectors.kafka.writing.transaction_pool import POOL_SIZE
from tests.kafka.broker import Kafka, free_ports
from tests.kafka.reading import _consumer, fill_topic, read_committed
from tests.kafka.sink_driving import Slot, a_committer, a_writer, fresh, keyed, prepare, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[str]:
    name = fresh()
    kafka.create_topic(name, 4)
    yield name


async def write_all(kafka: Kafka, topic: str, batches: list[Batch[Any]], **given: Any) -> None:
    """Writes and commits."""
    sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, topic, **given)
    instance = fresh("i")
    async with a_writer(sink, instance, owns_memo=True) as writer, a_committer(sink, instance) as committer:
        for batch in batches:
            await writer.write(batch)
        for committable in await writer.prepare_commit(1):
            await committer.commit(committable)


def test_keys_go_where_other_clients_put_them(kafka: Kafka, topic: str) -> None:
    keys = [f"user-{number}" for number in range(500)]
    other = fresh("other")
    kafka.create_topic(other, 4)
    fill_topic(kafka.bootstrap, other, [(key.encode(), b"v") for key in keys])
    slots = [Slot(key) for key in keys]
    asyncio.run(write_all(kafka, topic, [Batch(list(keys), None, slots)]))
    ours = {(record.partition, record.key) for record in read_committed(kafka.bootstrap, topic)}
    theirs = {(record.partition, record.key) for record in read_committed(kafka.bootstrap, other)}
    assert ours == theirs
    assert len({partition for partition, _ in ours}) == 4


def test_keys_behind_a_text_may_be_of_other_types(kafka: Kafka, topic: str) -> None:
    keys = ["text", "more", 7, b"bytes", "again", None, (1, "x")]
    asyncio.run(write_all(kafka, topic, [Batch(list(range(7)), None, [Slot(key) for key in keys])]))
    records = read_committed(kafka.bootstrap, topic)
    assert {record.value: record.key for record in records} == {
        b"0": b"text",
        b"1": b"more",
        b"2": b"7",
        b"3": b"bytes",
        b"4": b"again",
        b"5": None,
        b"6": b'[1,"x"]',
    }


def test_a_text_that_is_no_unicode_is_refused_as_a_key(kafka: Kafka, topic: str) -> None:
    slots = [Slot("fine"), Slot("\ud800")]
    with pytest.raises(EncodeError, match=r"the key '\\ud800' cannot be written: .*surrogates not allowed"):
        asyncio.run(write_all(kafka, topic, [Batch([1, 2], None, slots)]))
    assert read_committed(kafka.bootstrap, topic) == []


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_large_output_comes_back_in_order_under_every_compression(
    kafka: Kafka, topic: str, compression: str | None
) -> None:
    slots = [Slot(f"k{number}") for number in range(50)]
    count = 30_000
    batches = [
        Batch(
            [{"n": n, "pad": "x" * 100} for n in range(start, start + 500)], None, [slots[n % 50] for n in range(500)]
        )
        for start in range(0, count, 500)
    ]
    asyncio.run(write_all(kafka, topic, batches, compression=compression))
    seen: dict[bytes | None, list[int]] = defaultdict(list)
    for record in read_committed(kafka.bootstrap, topic):
        assert record.value is not None
        seen[record.key].append(int(record.value[5 : record.value.index(b",")]))
    assert seen == {f"k{k}".encode(): list(range(k, count, 50)) for k in range(50)}


def test_headers_timestamps_and_a_chosen_partition_are_written(kafka: Kafka, topic: str) -> None:
    batch = Batch(["a", "b"], [1_700_000_000_001, 1_700_000_000_002], [Slot("k"), Slot("l")])
    asyncio.run(
        write_all(
            kafka,
            topic,
            [batch],
            value=Text(),
            headers=lambda value: {"from": value.encode(), "none": None},
            partition=lambda key, value, count: count - 1,
        )
    )
    assert [tuple(record) for record in read_committed(kafka.bootstrap, topic)] == [
        (3, 0, b"k", b"a", [("from", b"a"), ("none", None)], 1_700_000_000_001),
        (3, 1, b"l", b"b", [("from", b"b"), ("none", None)], 1_700_000_000_002),
    ]


def test_a_record_without_an_event_time_is_stamped_now(kafka: Kafka, topic: str) -> None:
    before = time.time_ns() // 1_000_000
    asyncio.run(write_all(kafka, topic, [keyed([1])]))
    (record,) = read_committed(kafka.bootstrap, topic)
    assert before <= record.timestamp <= time.time_ns() // 1_000_000


def test_timestamps_and_keys_may_come_from_the_value(kafka: Kafka, topic: str) -> None:
    values = [{"at": 1_700_000_000_000, "user": 7}]
    asyncio.run(
        write_all(
            kafka, topic, [Batch(values)], key=lambda v: v["user"], timestamp=lambda v: v["at"], headers={"h": b"x"}
        )
    )
    (record,) = read_committed(kafka.bootstrap, topic)
    assert (record.key, record.timestamp, record.headers) == (b"7", 1_700_000_000_000, [("h", b"x")])


def test_records_without_keys_are_spread_over_the_partitions(kafka: Kafka, topic: str) -> None:
    asyncio.run(write_all(kafka, topic, [Batch([b"v"]) for _ in range(8)], value=Bytes()))
    records = read_committed(kafka.bootstrap, topic)
    assert sorted(record.partition for record in records) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {record.key for record in records} == {None}


def test_a_checkpoint_without_output_prepares_nothing(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        async with a_writer(KafkaSink(kafka.bootstrap, topic), fresh("i")) as writer:
            assert await writer.prepare_commit(1) == []
            await writer.write(Batch([]))
            assert await writer.prepare_commit(2) == []

    asyncio.run(scenario())


def test_an_id_is_used_again_only_after_it_was_released(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, topic)
        instance = fresh("i")
        async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
            prepared = [await prepare(writer, [n], n) for n in range(POOL_SIZE)]
            ids = [committable.payload["transactional_id"] for committable in prepared]
            assert len(set(ids)) == POOL_SIZE
            with pytest.raises(
                SinkError, match=r"of the 8 transactional ids of this sink 8 belong[\s\S]*checkpoints do not complete"
            ):
                await writer.write(keyed([99]))
            for committable in prepared:
                await committer.commit(committable)
            with pytest.raises(SinkError):
                await writer.write(keyed([99]))
            await writer.released(prepared[:1])
            again = await prepare(writer, [POOL_SIZE], 9)
            assert again.payload["transactional_id"] == ids[0]
            assert again.id != prepared[0].id
            await writer.released(prepared[:1])  # told twice: the id belongs to another transaction by now
            with pytest.raises(SinkError):
                await writer.write(keyed([99]))
            await committer.commit(prepared[0])  # a commit repeated late does not touch the one that has the id now
            await committer.commit(again)

    asyncio.run(scenario())
    assert sorted(int(r.value or b"") for r in read_committed(kafka.bootstrap, topic)) == list(range(POOL_SIZE + 1))


def test_a_record_above_the_topics_limit_is_refused_before_anything_is_prepared(kafka: Kafka) -> None:
    topic = fresh()
    kafka.create_topic(topic, 1, max_message_bytes=20_000)

    async def scenario() -> None:
        async with a_writer(KafkaSink(kafka.bootstrap, topic, value=Text()), fresh("i")) as writer:
            await writer.write(keyed(["x" * 9_000] * 10))
            with pytest.raises(
                EncodeError, match=rf"key b'k'.* bytes[\s\S]*topic '{topic}' is 20000[\s\S]*raise max"
            ) as e:
                await writer.write(keyed(["x", "x" * 30_000]))
            assert e.value.final and (e.value.index, e.value.written) == (1, 1)

    asyncio.run(scenario())


def test_a_small_limit_of_the_topic_makes_small_batches(kafka: Kafka) -> None:
    topic = fresh()
    kafka.create_topic(topic, 1, max_message_bytes=20_000)
    asyncio.run(write_all(kafka, topic, [keyed(["x" * 5_000] * 100)], value=Text()))
    assert len(read_committed(kafka.bootstrap, topic)) == 100


def test_the_sinks_own_limit_is_kept(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, topic, max_record_bytes=100)
        async with a_writer(sink, fresh("i")) as writer:
            with pytest.raises(EncodeError, match="max_record_bytes of the sink is 100"):
                await writer.write(keyed(["x" * 200]))

    asyncio.run(scenario())


def test_a_lowered_limit_is_noticed_and_nothing_is_prepared(kafka: Kafka) -> None:
    topic = fresh()
    kafka.create_topic(topic, 1)

    async def scenario() -> None:
        async with a_writer(KafkaSink(kafka.bootstrap, topic, value=Text()), fresh("i")) as writer:
            await asyncio.to_thread(_set_topic, kafka, topic, "max.message.bytes", "1000")
            await writer.write(keyed(["x" * 5_000]))
            with pytest.raises(SinkError, match=r"10 MESSAGE_TOO_LARGE[\s\S]*was it lowered"):
                await writer.prepare_commit(1)
            with pytest.raises(SinkError, match="10 MESSAGE_TOO_LARGE"):
                await writer.write(keyed(["x"]))

    asyncio.run(scenario())


def _set_topic(kafka: Kafka, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = kafka.admin()  # a call fails when its client is released before the answer
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def test_a_missing_topic_is_named_after_its_deadline_and_is_not_created(kafka: Kafka) -> None:
    topic = fresh("missing")

    async def scenario() -> None:
        with pytest.raises(TopicUnknownError, match=rf"no topic '{topic}'[\s\S]*create the topic"):
            async with a_writer(KafkaSink(kafka.bootstrap, topic, topic_timeout_seconds=0.5), fresh("i")):
                pass

    asyncio.run(scenario())
    assert topic not in kafka.admin().list_topics(timeout=10).topics


def test_a_topic_that_appears_late_is_waited_for(kafka: Kafka) -> None:
    topic = fresh("late")

    async def scenario() -> None:
        creating = asyncio.create_task(asyncio.to_thread(kafka.create_topic, topic, 1))
        await write_all(kafka, topic, [keyed([1])])
        await creating

    asyncio.run(scenario())
    assert len(read_committed(kafka.bootstrap, topic)) == 1


def test_an_unreachable_broker_is_named_with_its_address() -> None:
    (port,) = free_ports(1)

    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(f"127.0.0.1:{port}", "out", connect_timeout_seconds=0.3)
        with pytest.raises(BrokersUnreachableError, match=rf"127\.0\.0\.1:{port}[\s\S]*check that the address"):
            async with a_writer(sink, fresh("i")):
                pass

    asyncio.run(scenario())


def test_a_time_out_above_what_the_brokers_allow_is_refused_with_both_numbers(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, topic, transaction_timeout_seconds=100_000)
        with pytest.raises(ConfigError, match=r"100000, but the brokers allow at most 900[\s\S]*transaction\.max"):
            async with a_writer(sink, fresh("i")):
                pass

    asyncio.run(scenario())


def test_a_time_out_below_what_the_job_needs_is_refused(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, topic, transaction_timeout_seconds=30)
        with pytest.raises(ConfigError, match=r"is 30, but prepared output may have to wait 31 s"):
            async with a_writer(sink, fresh("i"), budget_seconds=31):
                pass

    asyncio.run(scenario())


def test_at_least_once_output_becomes_visible_without_a_checkpoint(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, topic, delivery="at_least_once", linger_seconds=0.01)
        assert sink.committer(None) is None  # type: ignore[arg-type]
        async with a_writer(sink, fresh("i")) as writer:
            await writer.write(keyed(range(10)))
            await until(lambda: asyncio.to_thread(_has_records, kafka, topic, 10))
            await writer.write(keyed(range(10, 20)))
            assert await writer.prepare_commit(1) == []
            assert len(read_committed(kafka.bootstrap, topic)) == 20
            await writer.write(keyed(range(20, 30)))
            await writer.prepare_commit(2)

    asyncio.run(scenario())
    assert [int(r.value or b"") for r in read_committed(kafka.bootstrap, topic)] == list(range(30))


def _has_records(kafka: Kafka, topic: str, count: int) -> bool:
    consumer = _consumer(kafka.bootstrap, "read_committed")
    try:
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(4)]
        return sum(ends) == count
    finally:
        consumer.close()


class _Short(Text):
    def encode_batch(self, column: Any) -> list[bytes]:
        return super().encode_batch(column)[1:]


def test_a_format_that_drops_a_value_is_refused_and_nothing_is_prepared(kafka: Kafka, topic: str) -> None:
    async def scenario() -> None:
        async with a_writer(KafkaSink(kafka.bootstrap, topic, value=_Short()), fresh("i")) as writer:
            with pytest.raises(ConfigError, match="the format _Short made 1 of 2 values"):
                await writer.write(keyed(["a", "b"]))
            with pytest.raises(ConfigError):
                await writer.prepare_commit(1)

    asyncio.run(scenario())


def test_a_record_that_is_too_large_even_compressed_is_refused(kafka: Kafka) -> None:
    topic = fresh()
    kafka.create_topic(topic, 1, max_message_bytes=20_000)

    async def scenario() -> None:
        async with a_writer(KafkaSink(kafka.bootstrap, topic, value=Bytes(), compression="zstd"), fresh("i")) as writer:
            await writer.write(keyed([b"x" * 100_000]))
            assert len(await writer.prepare_commit(1)) == 1
            await writer.write(keyed([os.urandom(100_000)]))
            with pytest.raises(EncodeError, match=r"as it is sent, but max\.message\.bytes of the topic is 20000"):
                await writer.prepare_commit(2)

    asyncio.run(scenario())
