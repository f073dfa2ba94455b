"""How often a broker is asked: a request brings what has come, and records that come one by one share one."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from streamlet.outages import Outages
from streamlet.testing.loop import SimulatedLoop, VirtualClock
from streamlet_connectors.kafka.protocol.fetch_api import Fetched
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.protocol.wire import DefaultRecordBatchBuilder
from streamlet_connectors.kafka.reading.fetching import Fetcher
from streamlet_connectors.kafka.reading.partition_fetch import FetchLimits, PartitionFetch

ANSWER_SECONDS = 0.0002


class Broker:
    """One partition with as many records as are due by the clock; it answers as soon as there is one."""

    name = "kafka"

    def __init__(self, clock: VirtualClock, every_seconds: float, value: bytes) -> None:
        self.requests = 0
        self.outages = Outages(clock)
        self._clock = clock
        self._every_seconds = every_seconds
        self._value = value
        self._given = 0

    async def open(self) -> None:
        pass

    async def look(self, topics: Any) -> dict[str, TopicInfo]:
        return {topic: TopicInfo(topic, 0, b"", (1,)) for topic in topics}

    async def send(self, node: int, request: Any, *, group: Any) -> tuple[Fetched, ...]:
        self.requests += 1
        await asyncio.sleep(max(ANSWER_SECONDS, self._given * self._every_seconds - self._clock.seconds))
        count = int(self._clock.seconds / self._every_seconds) + 1 - self._given
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, 0, 1 << 20)
        for number in range(count):
            assert builder.append(number, 0, None, self._value, []) is not None
        data = bytearray(builder.build())
        data[:8] = self._given.to_bytes(8, "big")
        self._given += count
        return (Fetched("in", 0, 0, self._given, self._given, 0, (), bytes(data)),)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [(b"little", 300, 500), (bytes(20_000), 950, 1010)],
    ids=["small records share a request", "what is large does not wait"],
)
def test_a_record_every_millisecond(value: bytes, least: int, most: int) -> None:
    clock = VirtualClock()
    loop = SimulatedLoop(clock, random.Random(1))
    broker = Broker(clock, 0.001, value)

    async def read() -> int:
        fetcher = Fetcher(broker, clock, FetchLimits())  # type: ignore[arg-type]
        fetcher.add([PartitionFetch("in-0", "in", 0, 0, "", None)])
        fetcher.start()
        count = 0
        while clock.seconds < 1.0:
            taken = fetcher.take(500)
            if taken is None:
                await fetcher.wait(1.0)
            else:
                count += len(taken[1])
        await fetcher.close()
        return count

    assert loop.run(read()) >= 990
    assert least <= broker.requests <= most
