"""The Kafka sink when the broker goes away and comes back: nothing is lost, doubled or reordered, and nothing hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamlet.errors import SinkError
from streamlet_connectors.kafka.protocol.errors import BrokersUnreachableError
from streamlet_connectors.kafka.writing.sink import KafkaSink
from tests.kafka.broker import KafkaBroker
from tests.kafka.reading import read_committed
from tests.kafka.sink_driving import a_committer, a_writer, fresh, keyed, prepare

pytestmark = pytest.mark.kafka

BrokerFactory = Callable[..., KafkaBroker]


def sink(broker: KafkaBroker, **given: Any) -> KafkaSink[Any]:
    return KafkaSink(broker.bootstrap, "out", request_timeout_seconds=5, **given)


@pytest.fixture
def broker(kafka_broker_factory: BrokerFactory) -> KafkaBroker:
    one = kafka_broker_factory()
    one.create_topic("out", 2)
    return one


def test_a_broker_that_is_killed_and_comes_back_costs_neither_records_nor_order(broker: KafkaBroker) -> None:
    async def scenario() -> None:
        one, instance = sink(broker), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance) as committer:
            prepared = await prepare(writer, range(5_000))
            await writer.write(keyed(range(5_000, 10_000)))
            writer._ship_filled()
            broker.kill()
            killed.set()
            committing = asyncio.create_task(committer.commit(prepared))
            await writer.write(keyed(range(10_000, 15_000)))
            (second,) = await writer.prepare_commit(2)
            await committing
            await committer.commit(second)

    killed = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: asyncio.run(scenario()))
        assert killed.wait(60)
        broker.start()  # here, because it dies with the thread that starts it
        running.result(60)
    assert [int(r.value or b"") for r in read_committed(broker.bootstrap, "out")] == list(range(15_000))


def test_without_a_broker_everything_ends_in_time_with_an_error_that_names_it(broker: KafkaBroker) -> None:
    async def scenario() -> None:
        one, instance = sink(broker, delivery_timeout_seconds=0.5, connect_timeout_seconds=0.5), fresh("i")
        async with a_writer(one, instance) as writer, a_committer(one, instance, seconds=0.5) as committer:
            prepared = await prepare(writer, range(10))
            await committer.outcomes([prepared])
            await writer.write(keyed(range(10)))
            writer._ship_filled()
            await writer._delivery.flushed()
            broker.kill()
            async with asyncio.timeout(20):
                await writer.write(keyed(range(10)))
                with pytest.raises((SinkError, BrokersUnreachableError), match=broker.bootstrap):
                    await writer.prepare_commit(2)
                with pytest.raises((SinkError, BrokersUnreachableError), match=broker.bootstrap):
                    await committer.commit(prepared)
                await writer.close()
                await committer.close()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    asyncio.run(scenario())


def test_closing_tells_who_waits_for_a_broker_that_is_away(broker: KafkaBroker) -> None:
    async def scenario() -> None:
        async with a_writer(sink(broker), fresh("i")) as writer:
            broker.kill()
            await writer.write(keyed(range(10)))
            preparing = asyncio.create_task(writer.prepare_commit(1))
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await writer.close()
                with pytest.raises(SinkError, match="was closed"):
                    await preparing

    asyncio.run(scenario())


def test_what_is_on_its_way_is_bounded_while_the_broker_is_away(broker: KafkaBroker) -> None:
    async def scenario() -> None:
        async with a_writer(sink(broker), fresh("i")) as writer:
            broker.kill()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    for _ in range(100):
                        await writer.write(keyed(["x" * 1_000] * 500))
            assert writer._delivery.in_flight < 10 << 20

    asyncio.run(scenario())
