"""A network between simulated loops: connections that are late, cut or silent, by seed and in virtual time.

A `SimulatedLoop` whose `network` is set opens its connections here, so a client library runs as it is, down to its own
framing; nothing is patched.  A server is a protocol factory on another loop.

```text
client's loop                      SimulatedNetwork                      server's loop
transport.write -------- a little later, in order per connection --------> data_received
data_received <----------------------------------------------------------- transport.write
```

Bytes of one connection never overtake each other, those of two connections do.  What was on its way when a process died
still arrives, as from the buffers of its system; what was on its way to it is gone.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamlet.testing.loop import SimulatedLoop, VirtualClock, running

Address = tuple[str, int]
MakeProtocol = Callable[[], asyncio.BaseProtocol]


@dataclass(slots=True)
class Weather:
    """What may happen to each write, as probabilities, and how long things take. May change at any time."""

    latency_seconds: float = 0.001
    """The longest usual time of travel."""
    slow: float = 0.0
    slow_seconds: float = 1.0
    """The longest time of what is slow."""
    lost: float = 0.0
    """The connection is cut, and this never arrives."""
    cut: float = 0.0
    """This arrives, then the connection is cut: its answer may come or not."""
    silent: float = 0.0
    """From here on nothing comes through, in either direction, and nobody is told."""
    refused: float = 0.0
    """A connection cannot be opened."""


@dataclass(slots=True)
class _Listener:
    loop: SimulatedLoop
    make: MakeProtocol


class VirtualTransport(asyncio.Transport):
    """One end of a connection. What arrives is given to the protocol as a step of its own loop."""

    def __init__(self, network: SimulatedNetwork, loop: SimulatedLoop, peer: Address) -> None:
        super().__init__({"peername": peer})
        self.loop = loop
        self.is_cut = False
        """Nothing that is written comes through any more."""
        self.arrives_at = 0.0
        """When what was written last arrives at the other end."""
        self.other: VirtualTransport
        self.protocol: asyncio.Protocol
        self._network = network
        self._inbox: deque[bytes | OSError | None] = deque()
        self._is_closing = False
        self._is_lost = False
        self._is_paused = False

    # -- what the network does

    def deliver(self, item: bytes | OSError | None) -> None:
        """Bytes, None for the end, an error for a connection that is broken."""
        if not self._is_lost:
            self._inbox.append(item)
            self.loop.call_soon(self._take)

    def lose(self, error: Exception | None) -> None:
        """Ends it here and now."""
        if not self._is_lost:
            self._is_lost = self._is_closing = self.is_cut = True
            self._network.forget(self)
            self.protocol.connection_lost(error)

    def bury(self) -> None:
        """The process is gone. Its protocol is told in a way that starts nothing, so that it can be let go of."""
        reader: Any = getattr(self.protocol, "_stream_reader", None)
        if reader is not None:
            reader._buffer.clear()
        if not self._is_closing:
            self._network.send(self, None)
        self.lose(None)

    def _take(self) -> None:
        while self._inbox and not self._is_paused and not self._is_lost:
            item = self._inbox.popleft()
            if isinstance(item, OSError):
                self.lose(item)
            elif item is not None:
                if not self._is_closing:
                    self.protocol.data_received(item)
            elif not self.protocol.eof_received():
                self.close()

    # -- what asyncio asks of a transport

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self._network.send(self, bytes(data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._network.send(self, None)
            self.loop.call_soon(self.lose, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self.loop.call_soon(self._take)

    def is_reading(self) -> bool:
        return not self._is_paused

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """What is written leaves at once."""


class SimulatedNetwork:
    """Carries bytes between loops. Whoever drives the loops calls `happen` before each step."""

    def __init__(self, clock: VirtualClock, randomness: random.Random, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self.cuts = 0
        """How many connections were broken by the weather."""
        self._clock = clock
        self._random = randomness
        self._listeners: dict[Address, _Listener] = {}
        self._ends: list[VirtualTransport] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0

    # -- for who drives it

    def next_event(self) -> float | None:
        """When something arrives next."""
        return self._events[0][0] if self._events else None

    def happen(self) -> None:
        """Lets everything arrive whose time has come."""
        while self._events and self._events[0][0] <= self._clock.seconds:
            _, _, call, args = heapq.heappop(self._events)
            call(*args)

    def bury(self, loop: SimulatedLoop) -> None:
        """The process of that loop is dead: its connections end behind what it has sent. Call it after `loop.bury`."""
        for end in [end for end in self._ends if end.loop is loop]:
            with running(loop):
                end.bury()

    # -- servers

    def listen(self, loop: SimulatedLoop, address: Address, make: MakeProtocol) -> None:
        """From now on connections to the address can be opened; each gets a protocol on that loop."""
        self._listeners[address] = _Listener(loop, make)

    def shut(self, address: Address) -> None:
        """Nobody listens there any more, and every connection to it is broken."""
        listener = self._listeners.pop(address)
        for end in [end for end in self._ends if end.loop is listener.loop]:
            self.cut(end)

    # -- connections

    async def connect(
        self, loop: SimulatedLoop, make: MakeProtocol, address: Address
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Opens a connection, for `SimulatedLoop.create_connection`. Raises `ConnectionRefusedError`."""
        await asyncio.sleep(self._travel())
        listener = self._listeners.get(address)
        if listener is None or self._chance(self.weather.refused):
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        mine, theirs = VirtualTransport(self, loop, address), VirtualTransport(self, listener.loop, ("client", 0))
        mine.other, theirs.other = theirs, mine
        for end, made in ((mine, make()), (theirs, listener.make())):
            end.set_protocol(made)
            self._ends.append(end)
            end.loop.call_soon(made.connection_made, end)
        return mine, mine.protocol

    def send(self, end: VirtualTransport, item: bytes | None) -> None:
        """Lets bytes, or the end of them, travel to the other end."""
        weather = self.weather
        if end.is_cut:
            return
        if item is not None and self._chance(weather.lost):
            self.cut(end)
            return
        end.arrives_at = max(self._clock.seconds + self._travel(), end.arrives_at)
        self._at(end.arrives_at, end.other.deliver, item)
        if item is not None and self._chance(weather.cut):
            self.cut(end)
        elif item is not None and self._chance(weather.silent):
            end.is_cut = end.other.is_cut = True

    def cut(self, end: VirtualTransport) -> None:
        """Breaks a connection: what is on its way arrives or not, and both ends are told, each at its time."""
        self.cuts += 1
        for one in (end, end.other):
            one.is_cut = True
            later = self._random.random() * 4 * self.weather.latency_seconds
            broken = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._at(max(self._clock.seconds, one.other.arrives_at) + later, one.deliver, broken)

    def forget(self, end: VirtualTransport) -> None:
        """For an end that is closed."""
        if end in self._ends:
            self._ends.remove(end)

    def _travel(self) -> float:
        if self._chance(self.weather.slow):
            return self._random.random() * self.weather.slow_seconds
        return self._random.random() * self.weather.latency_seconds

    def _chance(self, probability: float) -> bool:
        return bool(probability) and self._random.random() < probability

    def _at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (when, self._numbers, call, args))
