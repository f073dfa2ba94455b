"""EmbeddedKafka: a real socket, trouble on purpose, and the command that runs it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streamlet.connect import SystemClock
from streamlet.errors import ConfigError
from streamlet.testing.kafka import BrokerSettings, EmbeddedKafka, KafkaService, SimulatedBroker
from streamlet.testing.kafka.errors import BrokerNotRunningError, ConnectionCutError
from tests.kafka.sink_driving import visible_now
from tests.kafka.wire_driving import Wire, a_wire


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(topics={"t": 2}) as kafka:
        yield kafka


async def visible(kafka: EmbeddedKafka) -> list[bytes]:
    async with a_wire(kafka.bootstrap) as wire:
        return await wire.visible("t")


@pytest.mark.parametrize("is_applied", [True, False])
def test_a_commit_whose_answer_was_lost_can_be_repeated(kafka: EmbeddedKafka, is_applied: bool) -> None:
    async def scenario() -> None:
        async with a_wire(kafka.bootstrap) as wire:
            pid, epoch, _ = await wire.opened("id", "t", b"v")
            lost = kafka.faults.close("EndTxn", is_applied=is_applied)
            with pytest.raises(asyncio.IncompleteReadError):
                await wire.end_once("id", pid, epoch)
            assert lost.hits == 1
        async with a_wire(kafka.bootstrap) as wire:
            state = (await wire.describe("id")).state
            assert (state in ("PrepareCommit", "CompleteCommit")) is is_applied
            assert await wire.end("id", pid, epoch) == 0
            assert await wire.visible("t") == [b"v"]

    asyncio.run(scenario())
    assert kafka.requests("EndTxn") >= 2


def test_a_fault_happens_to_the_requests_that_it_is_for(kafka: EmbeddedKafka) -> None:
    async def scenario() -> None:
        fault = kafka.faults.close(
            "EndTxn", is_applied=True, times=2, only=lambda request: bool(request.transactional_id == "b")
        )
        for id in ("a", "b"):
            async with a_wire(kafka.bootstrap) as wire:
                pid, epoch, _ = await wire.opened(id, "t", id.encode())
                if id == "a":
                    assert await wire.end_once(id, pid, epoch) == 0
                else:
                    with pytest.raises(asyncio.IncompleteReadError):
                        await wire.end_once(id, pid, epoch)
        assert fault.hits == 1
        kafka.faults.clear()
        assert await visible(kafka) == [b"a", b"b"]

    asyncio.run(scenario())


def test_a_silent_broker_has_done_what_was_asked_or_not(kafka: EmbeddedKafka) -> None:
    async def scenario() -> None:
        for is_applied in (True, False):
            async with a_wire(kafka.bootstrap) as wire:
                kafka.faults.silence("Produce", is_applied=is_applied)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(wire.produce("t", [b"%d" % is_applied]), 0.2)
        assert await visible(kafka) == [b"1"]

    asyncio.run(scenario())


def test_a_late_answer_comes_late(kafka: EmbeddedKafka) -> None:
    async def scenario() -> None:
        async with a_wire(kafka.bootstrap) as slow, a_wire(kafka.bootstrap) as fast:
            kafka.faults.delay("Produce", 0.15)
            late = asyncio.create_task(slow.produce("t", [b"v"]))
            while not await fast.visible("t"):  # noqa: ASYNC110 - the broker has it before it answers
                await asyncio.sleep(0)
            assert not late.done()
            assert await late == (0, 0)

    asyncio.run(scenario())


def test_an_outage_forgets_nothing(kafka: EmbeddedKafka) -> None:
    async def begin() -> tuple[int, int]:
        async with a_wire(kafka.bootstrap) as wire:
            pid, epoch, _ = await wire.opened("id", "t", b"v")
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await asyncio.to_thread(kafka.restart)
                await wire.describe("id")
            return pid, epoch

    async def finish(pid: int, epoch: int) -> None:
        async with a_wire(kafka.bootstrap) as wire:
            assert await wire.end("id", pid, epoch) == 0

    bootstrap = kafka.bootstrap
    pid, epoch = asyncio.run(begin())
    with kafka.down(), pytest.raises(OSError, match=r"refused|Connect"):
        asyncio.run(finish(pid, epoch))
    asyncio.run(finish(pid, epoch))
    kafka.stop()
    kafka.start()
    assert kafka.bootstrap == bootstrap
    assert visible_now(kafka.bootstrap, "t") == [b"v"]


def test_markers_can_be_held_back(kafka: EmbeddedKafka) -> None:
    async def scenario() -> None:
        kafka.settings.marker_delay_ms = 3_600_000
        async with a_wire(kafka.bootstrap) as wire:
            pid, epoch, _ = await wire.opened("id", "t", b"v")
            assert [await wire.end_once("id", pid, epoch) for _ in range(3)] == [0, 51, 51]
            assert (await wire.init_once("id"))[0] == 51
            assert await wire.visible("t") == []

    asyncio.run(scenario())


def test_topics_and_records_are_managed_from_any_thread(kafka: EmbeddedKafka) -> None:
    kafka.create_topic("u", 3, max_message_bytes=100)
    kafka.add_partitions("u", 4)
    assert kafka.act(lambda broker: broker.topics.names()) == ["t", "u"]
    with pytest.raises(ConfigError, match="topic 'u' with 1 partitions: 36 TOPIC_ALREADY_EXISTS"):
        kafka.create_topic("u")
    kafka.delete_records("u", {3: 0})
    with pytest.raises(ConfigError, match="1 OFFSET_OUT_OF_RANGE"):
        kafka.delete_records("u", {0: 5})
    kafka.delete_topic("u")
    with pytest.raises(ConfigError, match="deleting topic 'u': 3 UNKNOWN_TOPIC_OR_PARTITION"):
        kafka.delete_topic("u")


def test_a_broker_that_does_not_run_says_so() -> None:
    kafka = EmbeddedKafka()
    with pytest.raises(BrokerNotRunningError, match="does not run"):
        _ = kafka.bootstrap
    kafka.stop()


def test_a_port_that_is_taken_is_named(kafka: EmbeddedKafka) -> None:
    port = int(kafka.bootstrap.partition(":")[2])
    other = EmbeddedKafka(port=port)
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used: .*in use"):
        other.start()
    other.stop()


def test_bytes_that_are_no_request_close_the_connection_and_nothing_else(kafka: EmbeddedKafka) -> None:
    async def scenario() -> None:
        host, _, port = kafka.bootstrap.partition(":")
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x09" + bytes(9), b"\x00\x00\x00\x0a\x03\xe7" + bytes(8)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(junk)
            assert await reader.read() in (b"",)
            writer.close()
        assert await visible(kafka) == []

    asyncio.run(scenario())


def test_a_client_that_is_too_new_is_told_what_is_offered(kafka: EmbeddedKafka) -> None:
    async def scenario(wire: Wire) -> None:
        wire._writer.write(b"\x00\x00\x00\x0a\x00\x12\x00\x63\x00\x00\x00\x07\xff\xff")
        frame = await wire._reader.readexactly(4)
        answer = await wire._reader.readexactly(int.from_bytes(frame))
        assert answer[:6] == b"\x00\x00\x00\x07\x00\x23"
        assert await wire.visible("t") == []

    async def body() -> None:
        async with a_wire(kafka.bootstrap) as wire:
            await scenario(wire)

    asyncio.run(body())


def test_topics_are_created_on_demand_when_that_is_allowed() -> None:
    async def scenario(bootstrap: str) -> None:
        async with a_wire(bootstrap) as wire:
            for allowed, code in ((False, 3), (True, 0)):
                asked = {"topics": [{"name": "new"}], "allow_auto_topic_creation": allowed}
                assert (await wire.ask(3, 5, **asked)).topics[0].error_code == code

    with EmbeddedKafka(settings=BrokerSettings(auto_create_topics=True)) as kafka:
        asyncio.run(scenario(kafka.bootstrap))


def test_it_is_an_asynchronous_context_too() -> None:
    async def scenario() -> None:
        async with EmbeddedKafka(topics={"t": 1}) as kafka:
            assert await visible(kafka) == []

    asyncio.run(scenario())


@pytest.mark.outside
def test_the_command_says_where_it_listens_and_stops_at_ctrl_c() -> None:
    command = [sys.executable, "-m", "streamlet", "dev", "kafka", "--port", "0", "--topic", "payments:4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"a Kafka broker listens on (127\.0\.0\.1:\d+); it keeps data in memory only\n", line)
        assert found, line
        assert process.stdout.readline() == "topic payments, 4 partitions\n"
        assert visible_now(found[1], "payments") == []
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.outside
@pytest.mark.parametrize("topic", ["a:b", ":3", "a:0"])
def test_the_command_refuses_a_wrong_topic(topic: str) -> None:
    command = [sys.executable, "-m", "streamlet", "dev", "kafka", "--port", "0", "--topic", topic]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "topic" in done.stderr
    assert "  -> " in done.stderr


def test_the_broker_can_be_asked_without_a_socket() -> None:
    async def scenario() -> None:
        service = KafkaService(SimulatedBroker(), SystemClock())
        versions = await service.answer(b"\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff")
        assert versions is not None
        assert versions[4:10] == b"\x00\x00\x00\x07\x00\x00"
        service.faults.close("ApiVersions", is_applied=True)
        with pytest.raises(ConnectionCutError):
            await service.answer(b"\x00\x12\x00\x00\x00\x00\x00\x08\xff\xff")

    asyncio.run(scenario())
