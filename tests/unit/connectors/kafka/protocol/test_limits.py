"""What a broker sends is bounded before there is memory for it, and nonsense is an error that says so."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import struct
from collections.abc import Awaitable, Callable

import cramjam
import pytest

from streamlet.connect import Outcome
from streamlet_connectors.kafka.protocol import requests, wire
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import BrokersUnreachableError, CorruptRecordsError
from streamlet_connectors.kafka.protocol.fetch_api import Fetched
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.reading.records import Chunk
from streamlet_connectors.kafka.writing.outcome import judge
from tests.fuzz.seeds import record_batch
from tests.fuzz.targets import resealed

BOMB = bytes(4 << 20)
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)


def snappy_blocks(data: bytes) -> bytes:
    block = bytes(cramjam.snappy.compress_raw(data))
    return XERIAL + (struct.pack(">i", len(block)) + block) * 2


PACKED: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, gzip.compress),
    "snappy": (2, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "snappy blocks": (2, snappy_blocks),
    "lz4": (3, lambda data: bytes(cramjam.lz4.compress(data))),
    "zstd": (4, lambda data: bytes(cramjam.zstd.compress(data))),
}


def batch_of(codec: int, packed: bytes) -> bytes:
    """A record batch with this payload and right checksum."""
    head = bytearray(record_batch(None)[:61])
    struct.pack_into(">i", head, 8, 49 + len(packed))
    struct.pack_into(">h", head, 21, codec)
    return resealed(bytes(head) + packed)


@pytest.mark.parametrize("name", PACKED)
def test_a_batch_that_unpacks_to_more_than_the_limit_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlet_connectors.kafka.protocol.unpacking.MAX_UNPACKED_BYTES", 1 << 20)
    codec, pack = PACKED[name]
    with pytest.raises(CorruptRecordsError, match="unpacks to more than 1048576 bytes"):
        Chunk(batch_of(codec, pack(BOMB)), 0).take(10)


@pytest.mark.parametrize("name", PACKED)
def test_a_payload_that_is_cut_is_refused(name: str) -> None:
    codec, pack = PACKED[name]
    packed = pack(bytes(range(256)) * 40)
    with pytest.raises(CorruptRecordsError):
        Chunk(batch_of(codec, packed[: len(packed) // 2]), 0).take(10)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(CorruptRecordsError, match="compression 7 is not known"):
        Chunk(batch_of(7, b"x"), 0).take(10)


@pytest.mark.parametrize("length", [-(2**31), -12, -1, 0, 48])
def test_a_length_that_lies_ends_no_loop_and_moves_nothing_back(length: int) -> None:
    data = bytearray(record_batch(None))
    struct.pack_into(">i", data, 8, length)
    with pytest.raises(CorruptRecordsError, match="a batch says that it has"):
        Chunk(bytes(data), 0)


def test_damaged_records_never_prove_that_a_transaction_was_committed() -> None:
    data = bytearray(record_batch(None))
    found = judge(Fetched("t", 0, 0, 9, 9, 0, (), bytes(data)), 4711, 3, 0)
    assert found.outcome is Outcome.COMMITTED
    data[-1] ^= 1
    found = judge(Fetched("t", 0, 0, 9, 9, 0, (), bytes(data)), 4711, 3, 0)
    assert found.outcome is Outcome.UNKNOWN and "checksum is wrong" in found.reason


def answering(answer: bytes, then: Callable[[KafkaConnection], Awaitable[object]], **options: int) -> None:
    """Runs `then` against a server that gives the same answer to everything."""

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with contextlib.suppress(OSError):
            while await reader.read(1 << 16):
                writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        kafka = KafkaOptions.of(f"127.0.0.1:{port}", {"connect_timeout_seconds": 0.5, **options}, where="a test")
        connection = KafkaConnection(kafka)
        try:
            await then(connection)
        finally:
            await connection.close()
            server.close()
            if served:
                await asyncio.wait(served, timeout=10)

    asyncio.run(run())


@pytest.mark.parametrize("size", [2**31 - 1, -1, 1001])
def test_an_answer_larger_than_the_limit_is_refused_by_its_first_bytes(size: int) -> None:
    """An HTTP server, for one, begins its answer like a frame of 1.2 GB."""
    with pytest.raises(BrokersUnreachableError, match=f"answer of {size} bytes, and max_answer_bytes is 1000"):
        answering(struct.pack(">i", size), lambda connection: connection.open(), max_answer_bytes=1000)


def test_an_answer_that_says_nothing_readable_is_no_connection() -> None:
    with pytest.raises(BrokersUnreachableError, match="no Kafka broker"):
        answering(struct.pack(">i", 20) + bytes(20), lambda connection: connection.open())


def test_every_declared_answer_is_fuzzed() -> None:
    from tests.fuzz.targets import APIS

    assert len(APIS) == sum(isinstance(one, wire.Api) for one in vars(requests).values()) >= 10
