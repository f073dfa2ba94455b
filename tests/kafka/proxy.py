"""The network between a job and a real broker, in a test's hands: cut, silent, slow, or losing single answers."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.kafka.broker import KafkaBroker

T = TypeVar("T")

PRODUCE, INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN = 0, 22, 24, 26
_CALL_SECONDS = 10.0


class Trouble(enum.Enum):
    CUT_BEFORE = "the connection is cut, the broker never sees the request"
    LOSE_ANSWER = "the broker does what is asked, the connection is cut instead of the answer"
    HOLD = "the request stays in the network until it is released, also when its sender has died"


@dataclass(slots=True)
class Rule:
    """What happens to requests of one api key; `hits` says how often it has."""

    api: int
    trouble: Trouble
    times: int = 1
    only: Callable[[bytes], bool] | None = None
    """Looks at the request's bytes; False leaves it alone."""
    hits: int = 0

    def takes(self, api: int, frame: bytes) -> bool:
        if api != self.api or self.hits >= self.times or (self.only is not None and not self.only(frame)):
            return False
        self.hits += 1
        return True


@dataclass(slots=True, eq=False)
class Held:
    """A request that has left its sender and has not come to the broker."""

    frame: bytes
    _broker: asyncio.StreamWriter

    def release(self) -> None:
        self._broker.write(_with_size(self.frame))


@dataclass(slots=True, eq=False)
class _Connection:
    job: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    loses: set[int] = field(default_factory=set)
    """Correlation ids whose answers are lost."""
    is_held: bool = False

    def cut(self) -> None:
        for writer in (self.job, self.broker):
            writer.transport.abort()


class Proxy:
    """Passes requests and answers between a port of 127.0.0.1 and the broker's; runs in a thread of its own.

    The broker must advertise the proxy's port on the listener that it is led to: see `a_proxied_broker`.
    """

    def __init__(self, port: int, broker_port: int) -> None:
        self.bootstrap = f"127.0.0.1:{port}"
        self.held: list[Held] = []
        self._port, self._broker_port = port, broker_port
        self._rules: list[Rule] = []
        self._connections: set[_Connection] = set()
        self._delay_seconds = 0.0
        self._random = random.Random(port)
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())

    # --- what a test does -------------------------------------------------------------------------------------------

    def plan(self, api: int, trouble: Trouble, *, times: int = 1, only: Callable[[bytes], bool] | None = None) -> Rule:
        """The next requests of this api meet trouble; the first rule that fits is taken."""
        rule = Rule(api, trouble, times, only)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forgets the rules, and passes everything at once."""
        self._rules.clear()
        self._delay_seconds = 0.0
        self._call(self._set_passing(True))

    def cut(self) -> int:
        """Cuts every connection, and gives how many there were; new ones are let in."""
        return self._call(self._cut())

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Nothing comes through either way, and nobody is told; behind it everything comes late."""
        self._call(self._set_passing(False))
        try:
            yield
        finally:
            self._call(self._set_passing(True))

    def slow(self, seconds: float) -> None:
        """Every request and answer is on its way for up to so long."""
        self._delay_seconds = seconds

    def release(self, held: Held) -> None:
        """Lets a held request go to the broker."""
        self._call(self._release(held))

    def close(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    # --- in the proxy's thread --------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> int:
        connections = list(self._connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    async def _set_passing(self, passing: bool) -> None:
        (self._passing.set if passing else self._passing.clear)()

    async def _release(self, held: Held) -> None:
        self.held.remove(held)
        held.release()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._passing.wait()
            with contextlib.suppress(OSError):
                answers, broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
                await self._carry(_Connection(writer, broker), reader, answers)
        except asyncio.CancelledError:
            pass  # the proxy closes
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(
        self, connection: _Connection, requests: asyncio.StreamReader, answers: asyncio.StreamReader
    ) -> None:
        self._connections.add(connection)
        ways = [
            asyncio.ensure_future(self._carry_requests(connection, requests)),
            asyncio.ensure_future(self._carry_answers(connection, answers)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if connection.is_held:
                await asyncio.wait(ways)  # its sender is gone, its request is still on the way
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            connection.cut()
            self._connections.discard(connection)

    async def _carry_requests(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        async for frame in self._frames(reader):
            api, _, correlation = struct.unpack_from(">hhi", frame)
            rule = next((rule for rule in self._rules if rule.takes(api, frame)), None)
            if rule is not None and rule.trouble is Trouble.CUT_BEFORE:
                connection.cut()
                return
            if rule is not None and rule.trouble is Trouble.HOLD:
                connection.is_held = True
                self.held.append(Held(frame, connection.broker))
                continue
            if rule is not None:
                connection.loses.add(correlation)
            connection.broker.write(_with_size(frame))
            await connection.broker.drain()

    async def _carry_answers(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        async for frame in self._frames(reader):
            (correlation,) = struct.unpack_from(">i", frame)
            if correlation in connection.loses:
                connection.cut()
                return
            connection.job.write(_with_size(frame))
            if not connection.is_held:
                await connection.job.drain()

    async def _frames(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Whole frames as they come, held up by silence and slowness; ends with the connection."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = await reader.readexactly(size)
                if self._delay_seconds:
                    await asyncio.sleep(self._random.uniform(0, self._delay_seconds))
                await self._passing.wait()
                yield frame


def _with_size(frame: bytes) -> bytes:
    return struct.pack(">i", len(frame)) + frame


@contextlib.contextmanager
def a_proxy(broker: KafkaBroker) -> Iterator[Proxy]:
    """A network in front of a broker that was made with `is_proxied`."""
    assert broker.proxy_ports is not None, "the broker has no listener for a proxy"
    proxy = Proxy(*broker.proxy_ports)
    try:
        yield proxy
    finally:
        proxy.close()
