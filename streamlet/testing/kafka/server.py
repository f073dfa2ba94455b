"""The simulated broker behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct

from streamlet.clock import Clock
from streamlet.testing.kafka.errors import NotKafkaError
from streamlet.testing.kafka.faults import Fault, Faults, Trouble
from streamlet.testing.kafka.model import SimulatedBroker
from streamlet.testing.kafka.protocol import READING, Exchange, Protocol

_log = logging.getLogger("streamlet.testing.kafka")
_MOST_BYTES = 100 << 20


class KafkaServer:
    """Serves one broker on one port. A connection's requests are done one after the other, as Kafka does.

    Everything runs on the event loop that called `listen`.
    """

    def __init__(self, broker: SimulatedBroker, clock: Clock, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.broker = broker
        self.faults = Faults()
        self.protocol = Protocol()
        self.host = host
        self.port = port
        self._clock = clock
        self._now_ms = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._time: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def listen(self) -> None:
        """Returns when clients can connect; the first time it chooses a port if it was given none."""
        self._server = await asyncio.start_server(self._connected, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._time = asyncio.create_task(self._keep_time())

    async def close(self) -> None:
        """Drops every connection and stops listening; what the broker holds stays, and `listen` may follow."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = [*self._connections, *([self._time] if self._time is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    # -- time

    def now_ms(self) -> int:
        """The clock's time, which never goes back."""
        self._now_ms = max(self._now_ms, self._clock.now_ms())
        return self._now_ms

    def notify(self) -> None:
        """Lets everything that waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _advance(self) -> int:
        now = self.now_ms()
        due = self.broker.next_event_ms()
        self.broker.advance(now)
        if due is not None and due <= now:
            self.notify()
        return now

    async def _keep_time(self) -> None:
        while True:
            await self._change(self.broker.next_event_ms())
            self._advance()

    async def _change(self, until_ms: int | None) -> None:
        """Returns when something has changed, or it is time."""
        left = None if until_ms is None else max(0, until_ms - self.now_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), left)

    # -- connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client that goes away, or a server that closes, is nobody's error
        except NotKafkaError as error:
            _log.warning("connection closed: %s", error.message)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            if not 8 <= size <= _MOST_BYTES:
                raise NotKafkaError(f"a request of {size} bytes")
            exchange = self.protocol.read(await reader.readexactly(size))
            if not await self._do(exchange):
                return
            if exchange.answer is not None:
                writer.write(exchange.answer)
                await writer.drain()

    async def _do(self, exchange: Exchange) -> bool:
        """False when a fault closes the connection."""
        fault = self.faults.take(exchange.api.name, exchange.request)
        if fault is not None and not fault.is_applied and not await _survives(fault):
            return False
        await self._apply(exchange)
        return fault is None or not fault.is_applied or await _survives(fault)

    async def _apply(self, exchange: Exchange) -> None:
        exchange.apply(self.broker, self.host, self.port, self._advance())
        if exchange.api.name not in READING:
            self.notify()
        while exchange.wake_at_ms is not None:
            await self._change(exchange.wake_at_ms)
            exchange.go_on(self._advance())


async def _survives(fault: Fault) -> bool:
    """False when the connection is to be closed now."""
    if fault.trouble is Trouble.DELAY:
        await asyncio.sleep(fault.seconds)
    if fault.trouble is Trouble.SILENCE:
        await asyncio.Event().wait()
    return fault.trouble is not Trouble.CLOSE
