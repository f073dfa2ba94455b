"""The simulated broker as something to await: bytes of a request in, bytes of its answer out.

It needs an event loop and a clock, no socket, so a loop with virtual time can run it too.
"""

from __future__ import annotations

import asyncio
import contextlib

from streamlet.clock import Clock
from streamlet.testing.kafka.errors import ConnectionCutError
from streamlet.testing.kafka.faults import Fault, Faults, Trouble
from streamlet.testing.kafka.model.broker import SimulatedBroker
from streamlet.testing.kafka.model.settings import NODE
from streamlet.testing.kafka.protocol import READING, Exchange, Protocol


class KafkaService:
    """Answers requests of one broker, and does what is due when its time has come. `host` and `port` are what it says
    of itself.  Further nodes of the same cluster are made from the `first`."""

    def __init__(
        self,
        broker: SimulatedBroker,
        clock: Clock,
        *,
        host: str = "127.0.0.1",
        port: int = 9092,
        node: int = NODE,
        first: KafkaService | None = None,
    ) -> None:
        self.broker = broker
        self.node = node
        self.faults: Faults = Faults() if first is None else first.faults
        self._nodes: list[KafkaService] = [] if first is None else first._nodes
        self._nodes.append(self)
        self.protocol = Protocol()
        self.host = host
        self.port = port
        self._clock = clock
        self._now_ms = 0
        self._time: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def answer(self, frame: bytes) -> bytes | None:
        """Gives the answer with its length, None when the client wants none. A connection asks one after the other.

        Raises `ConnectionCutError` when a fault closes the connection, `NotKafkaError` when the bytes do.
        """
        exchange = self.protocol.read(frame)
        fault = self.faults.take(exchange.api.name, exchange.request)
        if fault is not None and not fault.is_applied:
            await _suffer(fault)
        await self._apply(exchange)
        if fault is not None and fault.is_applied:
            await _suffer(fault)
        return exchange.answer

    async def _apply(self, exchange: Exchange) -> None:
        exchange.apply(self.broker, self.node, self._advance())
        if exchange.api.name not in READING:
            self.notify()
        while exchange.wake_at_ms is not None:
            await self._change(exchange.wake_at_ms)
            exchange.go_on(self._advance())

    def notify(self) -> None:
        """Lets everything that waits look again, at any node."""
        for one in self._nodes:
            one._changed.set()
            one._changed = asyncio.Event()

    # -- time

    def start(self) -> None:
        """It is one of the cluster; from now on markers are written and transactions time out without a request."""
        self.broker.join(self.node, (self.host, self.port))
        if self._time is None:
            self._time = asyncio.create_task(self._keep_time())

    async def stop(self) -> None:
        """Nothing happens by itself any more."""
        task, self._time = self._time, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def now_ms(self) -> int:
        """The clock's time, which never goes back."""
        self._now_ms = max(self._now_ms, self._clock.now_ms())
        return self._now_ms

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
            async with asyncio.timeout(left):  # wait_for may swallow a cancellation that comes with the change
                await self._changed.wait()


async def _suffer(fault: Fault) -> None:
    if fault.trouble is Trouble.DELAY:
        await asyncio.sleep(fault.seconds)
    elif fault.trouble is Trouble.SILENCE:
        await asyncio.Event().wait()
    else:
        raise ConnectionCutError(f"a fault closes the connection at {fault.api}")
