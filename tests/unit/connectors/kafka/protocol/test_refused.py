"""A broker that does not let the job in, and a topic that is not there, end the job at once with what to change."""

from __future__ import annotations

import asyncio
import ssl
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamlet import Json
from streamlet.connect import SystemClock
from streamlet.errors import FinalError
from streamlet.testing.kafka import EmbeddedKafka
from streamlet.testing.kafka.model.broker import SimulatedBroker
from streamlet.testing.kafka.service import KafkaService
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import (
    AccessDeniedError,
    BrokersUnreachableError,
    ProtocolMismatchError,
    TopicUnknownError,
)
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from tests.unit.job_kit import make_job, run

SASL: dict[str, Any] = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_plain_username": "me",
    "sasl_plain_password": "pass",
}
PLAIN: dict[str, Any] = {}
API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36


async def answer_sasl(service: KafkaService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A port with SASL: PLAIN for user `me` with password `secret`, and nothing else before that."""
    try:
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            frame = await reader.readexactly(size)
            api, version, number = struct.unpack_from(">hhi", frame)
            if api == API_VERSIONS:
                writer.write(await service.answer(frame) or b"")
            elif api == HANDSHAKE:
                error = 0 if frame.endswith(b"PLAIN") else 33
                body = struct.pack(">ihih", number, error, 1, 5) + b"PLAIN"
                writer.write(struct.pack(">i", len(body)) + body)
            elif api == AUTHENTICATE:
                text = b"Authentication failed: Invalid username or password"
                is_right = frame.endswith(b"\0me\0secret")
                said = struct.pack(">hh", 0, -1) if is_right else struct.pack(">hh", 58, len(text)) + text
                body = struct.pack(">i", number) + said + struct.pack(">i", 0) + (b"" if version == 0 else bytes(8))
                writer.write(struct.pack(">i", len(body)) + body)
            else:
                return
    except EOFError:
        return
    finally:
        writer.transport.abort()


@asynccontextmanager
async def a_port(
    answer: Callable[[KafkaService, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    service = KafkaService(SimulatedBroker(), SystemClock())
    server = await asyncio.start_server(lambda r, w: answer(service, r, w), "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def opened(address: str, **options: Any) -> None:
    connection = KafkaConnection(KafkaOptions.of(address, {"connect_timeout_seconds": 5.0, **options}, where="test"))
    try:
        await connection.open()
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder: Path = tmp_path_factory.mktemp("tls")
    key, signed = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", signed], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    return context


# -- authentication


def test_a_wrong_password_is_final_and_shows_no_password() -> None:
    async def scenario() -> str:
        async with a_port(answer_sasl) as address:
            with pytest.raises(AccessDeniedError) as caught:
                await opened(address, **SASL)
            assert caught.value.final and address in caught.value.message
            return str(caught.value)

    said = asyncio.run(scenario())
    assert "refused: authentication by PLAIN: Authentication failed: Invalid username or password" in said
    assert "sasl_plain_password" in said and "'pass'" not in said


def test_a_mechanism_that_the_broker_does_not_have_is_final() -> None:
    async def scenario() -> None:
        async with a_port(answer_sasl) as address:
            with pytest.raises(AccessDeniedError, match=r"refused: authentication by SCRAM-SHA-256"):
                await opened(address, sasl_mechanism="SCRAM-SHA-256", **SASL)

    asyncio.run(scenario())


def test_a_port_that_wants_sasl_is_told_from_one_that_is_away() -> None:
    async def scenario() -> None:
        async with a_port(answer_sasl) as address:
            with pytest.raises(ProtocolMismatchError, match=r"wants SASL[\s\S]*security_protocol='SASL_PLAINTEXT'"):
                await opened(address)

    asyncio.run(scenario())


@pytest.mark.parametrize("options", [{"security_protocol": "SSL"}, {**SASL, "security_protocol": "SASL_SSL"}])
def test_tls_on_a_plain_port_is_final(options: dict[str, Any]) -> None:
    with (
        EmbeddedKafka() as kafka,
        pytest.raises(ProtocolMismatchError, match=r"refused: authentication.*no TLS") as caught,
    ):
        asyncio.run(opened(kafka.bootstrap, **options))
    assert caught.value.final and "PLAINTEXT" in str(caught.value.remedy)


def test_sasl_on_a_port_without_is_final() -> None:
    with EmbeddedKafka() as kafka, pytest.raises(AccessDeniedError, match="refused: authentication by PLAIN"):
        asyncio.run(opened(kafka.bootstrap, **SASL))


@pytest.mark.outside
@pytest.mark.parametrize("options", [{}, SASL])
def test_plain_text_on_a_port_with_tls_is_final(options: dict[str, Any], certificate: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with a_port(answer_sasl, context=certificate) as address:
            with pytest.raises(ProtocolMismatchError, match=r"speaks TLS[\s\S]*SSL'"):
                await opened(address, **options)

    asyncio.run(scenario())


@pytest.mark.outside
def test_a_certificate_that_nobody_signed_is_final_and_names_the_option(certificate: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with a_port(answer_sasl, context=certificate) as address:
            with pytest.raises(AccessDeniedError, match=r"certificate of broker .* is refused[\s\S]*ssl_cafile"):
                await opened(address, security_protocol="SSL")

    asyncio.run(scenario())


@pytest.mark.parametrize("options", [{}, SASL, {"security_protocol": "SSL"}])
def test_a_port_that_closes_whatever_comes_is_only_away(options: dict[str, Any]) -> None:
    """As a proxy does whose broker is down: nothing is proven, and a job that has run waits."""

    async def close(_: KafkaService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def scenario() -> None:
        async with a_port(close) as address:
            with pytest.raises(BrokersUnreachableError):
                await opened(address, connect_timeout_seconds=0.5, **options)

    asyncio.run(scenario())


def sasl_in_a_thread() -> Iterator[str]:
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        async with a_port(answer_sasl) as address:
            found.append(address)
            ready.set()
            await asyncio.Event().wait()

    task = loop.create_task(serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    loop.close()


sasl_port = pytest.fixture(sasl_in_a_thread)


@pytest.mark.parametrize("end", ["source", "sink"])
def test_a_job_with_a_wrong_password_suspends_at_once(end: str, sasl_port: str, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with EmbeddedKafka(topics={"t": 1}) as kafka:
        reads, writes = (sasl_port, kafka.bootstrap) if end == "source" else (kafka.bootstrap, sasl_port)
        source = KafkaSource(reads, "t", value=Json(), stop="latest", **(SASL if end == "source" else PLAIN))
        job.source(source, uid="in").sink(KafkaSink(writes, "t", **(SASL if end == "sink" else PLAIN)), uid="out")
        done = run(job)
    assert done.code == 1 and "refused: authentication by PLAIN" in done.said, done
    assert "restart" not in done.said


# -- topics


def test_a_missing_topic_of_a_sink_ends_the_job_with_its_name_the_broker_and_the_command(tmp_path: Path) -> None:
    with EmbeddedKafka() as kafka:
        job = make_job(tmp_path)
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "nowhere", topic_timeout_seconds=0.3)
        job.source(Generator(int, count=3), uid="in").sink(sink, uid="out")
        done = run(job)
        assert done.code == 1 and f"there is no topic 'nowhere' at {kafka.bootstrap}" in done.said, done
        assert "kafka-topics.sh --bootstrap-server" in done.said and "mend its name" in done.said


def test_a_missing_topic_of_a_source_is_final_at_the_first_start() -> None:
    with EmbeddedKafka() as kafka:
        source = KafkaSource(kafka.bootstrap, "nowhere", value=Json(), topic_timeout_seconds=0.3)
        with pytest.raises(TopicUnknownError, match=f"there is no topic 'nowhere' at {kafka.bootstrap}") as caught:
            asyncio.run(source.discover({}))
        assert isinstance(caught.value, FinalError)


def test_a_missing_topic_is_known_within_seconds_though_a_leader_may_be_missing_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamlet_connectors.kafka.protocol.client._MISSING_SECONDS", 0.2)
    with EmbeddedKafka() as kafka:
        source = KafkaSource(kafka.bootstrap, "nowhere", value=Json())

        async def scenario() -> None:
            async with asyncio.timeout(20):
                await source.discover({})

        with pytest.raises(TopicUnknownError):
            asyncio.run(scenario())
