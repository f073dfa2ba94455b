"""Drives a Kafka sink by hand, as the engine would; also as a child process that can be killed at named points."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from confluent_kafka import Consumer, TopicPartition

from streamlet.connect import Batch, Committable, SinkContext, SystemClock
from streamlet_connectors.kafka.writing.committer import KafkaCommitter
from streamlet_connectors.kafka.writing.sink import KafkaSink
from streamlet_connectors.kafka.writing.writer import KafkaWriter

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[2]


class Slot:
    """A key as a keyed batch carries it."""

    def __init__(self, key: Any) -> None:
        self.key = key
        self.memo: Any = None


async def run_blocking(function: Callable[..., T], /, *args: Any) -> T:
    return await asyncio.to_thread(function, *args)


def fresh(prefix: str = "out") -> str:
    """A name that no test used before."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def a_context(instance: str, *, subtask: int = 0, **given: Any) -> SinkContext:
    """Of attempt 1 for a writer; of the next one for a committer, which fences the first."""
    settings = {"job": "job", "uid": "out", "parallelism": 1, "clock": SystemClock(), "run_blocking": run_blocking}
    settings |= {"attempt": 2, "unfenced": (1,)} if subtask == -1 else {"attempt": 1}
    return SinkContext(instance=instance, subtask=subtask, **{**settings, **given})


def keyed(values: Iterable[Any], key: Any = "k") -> Batch[Any]:
    column = list(values)
    slot = Slot(key)
    return Batch(column, None, [slot] * len(column))


@contextlib.asynccontextmanager
async def a_writer(sink: KafkaSink[Any], instance: str, **given: Any) -> AsyncIterator[KafkaWriter]:
    writer = KafkaWriter(sink._spec, a_context(instance, **given))
    try:
        await writer.open()
        yield writer
    finally:
        await writer.close()


@contextlib.asynccontextmanager
async def a_committer(
    sink: KafkaSink[Any], instance: str, seconds: float = 30, **given: Any
) -> AsyncIterator[KafkaCommitter]:
    committer = KafkaCommitter(sink._spec, a_context(instance, subtask=-1, **given), seconds=seconds)
    try:
        yield committer
    finally:
        await committer.close()


async def prepare(writer: KafkaWriter, values: Iterable[Any], checkpoint_id: int = 1, key: Any = "k") -> Committable:
    """Writes and prepares; a committable as it comes back from a checkpoint."""
    await writer.write(keyed(values, key))
    (committable,) = await writer.prepare_commit(checkpoint_id)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(committable), type=Committable)


async def until(condition: Callable[[], Any], *, seconds: float = 30) -> None:
    """Asks an awaitable condition until it is true."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - a broker tells nobody
            await asyncio.sleep(0.02)


def visible_now(bootstrap: str, topic: str) -> list[bytes | None]:
    """What a read_committed reader can see at this moment, behind open transactions or not."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "streamlet-tests-visible",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    try:
        partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        ended: set[int] = set()
        values: list[bytes | None] = []
        deadline = time.monotonic() + 30
        while len(ended) < len(partitions):
            assert time.monotonic() < deadline, f"{topic}: no end of partitions {set(partitions) - ended}"
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                ended.add(message.partition() or 0)
            else:
                values.append(message.value())
        return values
    finally:
        consumer.close()


def in_a_child(fault: str, *arguments: str) -> tuple[int, list[Committable]]:
    """Runs `main` below in a process that is killed at a fault point; gives its exit code and what it had prepared."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.kafka.sink_driving", *arguments],
        cwd=PROJECT,
        env={**os.environ, "STREAMLET_FAULT": fault, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'connectors'}"},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    lines = child.stdout.splitlines()
    return child.returncode, [msgspec.json.decode(line, type=Committable) for line in lines]


async def write_and_commit(bootstrap: str, topic: str, instance: str, values: Sequence[int]) -> None:
    """Prepares, says so on stdout, and commits."""
    sink: KafkaSink[Any] = KafkaSink(bootstrap, topic)
    async with a_writer(sink, instance) as writer, a_committer(sink, instance) as committer:
        committable = await prepare(writer, values)
        sys.stdout.buffer.write(msgspec.json.encode(committable) + b"\n")
        sys.stdout.flush()
        await committer.commit(committable)


if __name__ == "__main__":
    asyncio.run(write_and_commit(sys.argv[1], sys.argv[2], sys.argv[3], range(int(sys.argv[4]))))
