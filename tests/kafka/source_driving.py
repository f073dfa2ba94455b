"""Drives a KafkaSource the way the engine does, without the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from confluent_kafka import Producer

from streamlet.connect import Batch, Position, ReaderContext, SystemClock
from streamlet_connectors.kafka.reading.reader import KafkaReader
from streamlet_connectors.kafka.reading.source import KafkaSource

T = TypeVar("T")


async def in_place(function: Callable[..., T], /, *args: Any) -> T:
    """Stands for the engine's threads."""
    return function(*args)


def reader_context(batch_records: int = 250) -> ReaderContext:
    return ReaderContext(
        job="job",
        uid="in",
        subtask=0,
        parallelism=1,
        batch_limit=lambda: batch_records,
        clock=SystemClock(),
        run_blocking=in_place,
    )


@asynccontextmanager
async def reading(
    source: KafkaSource[Any], positions: Mapping[str, Position] | None = None, *, batch_records: int = 250
) -> AsyncIterator[KafkaReader]:
    """A reader from these positions, or from the start of the source; closed at the end."""
    if positions is None:
        positions = await source.discover({})
    reader = source.reader(reader_context(batch_records), positions)
    try:
        yield reader
    finally:
        await reader.close()


async def batches_to_the_end(reader: KafkaReader) -> list[Batch[Any]]:
    """Everything that a bounded source gives."""
    batches: list[Batch[Any]] = []
    async with asyncio.timeout(60):
        while (some := await reader.fetch()) is not None:
            batches += some
    return batches


async def values_until(reader: KafkaReader, count: int) -> list[Any]:
    """The first `count` values of an unbounded source; fails when more come at once, or too few within a minute."""
    values: list[Any] = []
    async with asyncio.timeout(60):
        while len(values) < count:
            for batch in await reader.fetch() or ():
                values += batch.values
    assert len(values) == count
    return values


def read_bounded(
    source: KafkaSource[Any], positions: Mapping[str, Position] | None = None, **options: Any
) -> list[Any]:
    """All values of a bounded source, from these positions or the start."""
    return [value for batch in batches_of(source, positions, **options) for value in batch.values]


def batches_of(
    source: KafkaSource[Any], positions: Mapping[str, Position] | None = None, *, batch_records: int = 250
) -> list[Batch[Any]]:
    """All batches of a bounded source, from these positions or the start."""

    async def run() -> list[Batch[Any]]:
        async with reading(source, positions, batch_records=batch_records) as reader:
            return await batches_to_the_end(reader)

    return asyncio.run(run())


def discovered(source: KafkaSource[Any], known: Mapping[str, Position] | None = None) -> Mapping[str, Position]:
    """What the source finds beside `known`."""
    return asyncio.run(_discovered(source.discover(known or {})))


async def _discovered(found: Awaitable[Mapping[str, Position]]) -> Mapping[str, Position]:
    async with asyncio.timeout(60):
        return await found


def transactional(bootstrap: str, name: str) -> Producer:
    """A producer that is ready to begin a transaction."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 0, "log_level": 0})
    producer.init_transactions(30)
    return producer
