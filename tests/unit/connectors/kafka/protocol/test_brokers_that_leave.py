"""A broker that is gone for good is no outage once other brokers lead what it led."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from streamlet.outages import Outages
from streamlet.testing.loop import SimulatedLoop, VirtualClock
from streamlet_connectors.kafka.protocol.errors import TransportError
from streamlet_connectors.kafka.protocol.fetch_api import Fetched
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.reading.fetching import Fetcher
from streamlet_connectors.kafka.reading.partition_fetch import FetchLimits, PartitionFetch


class Cluster:
    """Partition 0 is led by broker 1, partition 1 by broker 2 until it leaves; another leads it after a while."""

    name = "Kafka at here"

    def __init__(self, clock: VirtualClock, moves_at: float) -> None:
        self.outages = Outages(clock)
        self.asked: list[int] = []
        self._clock = clock
        self._moves_at = moves_at

    async def open(self) -> None:
        pass

    async def look(self, topics: Any) -> dict[str, TopicInfo]:
        second = 1 if self._clock.seconds > self._moves_at else 2
        return {topic: TopicInfo(topic, 0, b"", (1, second)) for topic in topics}

    async def send(self, node: int, request: Any, *, group: Any) -> tuple[Fetched, ...]:
        if node == 2 and self._clock.seconds > 1:
            raise TransportError("broker 2 cannot be reached")
        await asyncio.sleep(0.1)
        partitions = {1: (0, 1) if self._clock.seconds > self._moves_at else (0,), 2: (1,)}[node]
        asked = [place[0] for _, places, _ in request.struct.topics for place in places]
        return tuple(Fetched("in", one, 0, 0, 0, 0, (), b"") for one in partitions if one in asked)


def _run(moves_at: float, seconds: float, *, closes: bool = False) -> str:
    clock = VirtualClock()
    loop = SimulatedLoop(clock, random.Random(1))
    cluster = Cluster(clock, moves_at)

    async def read() -> str:
        fetcher = Fetcher(cluster, clock, FetchLimits())  # type: ignore[arg-type]
        fetcher.add([PartitionFetch("in-0", "in", 0, 0, "", None), PartitionFetch("in-1", "in", 1, 0, "", None)])
        fetcher.start()
        await asyncio.sleep(seconds)
        described = cluster.outages.describe()
        await fetcher.close()
        return cluster.outages.describe() if closes else described

    said: str = loop.run(read())
    return said


def test_a_broker_whose_partitions_have_moved_is_not_missed() -> None:
    assert "broker 2 of Kafka at here has not answered" in _run(moves_at=100, seconds=10)
    assert _run(moves_at=5, seconds=10) == ""


def test_a_reader_that_is_closed_misses_no_single_broker() -> None:
    assert _run(moves_at=100, seconds=10, closes=True) == ""
