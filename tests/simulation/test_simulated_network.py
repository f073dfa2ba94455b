"""The simulated network keeps the order within a connection, and tells both ends when one is gone."""

from __future__ import annotations

import asyncio
import random

import pytest

from streamlet.testing.loop import SimulatedLoop, VirtualClock
from streamlet.testing.network import SimulatedNetwork, Weather

ADDRESS = ("server", 1)


class Machines:
    """A client and a server on loops of their own."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.clock = VirtualClock()
        randomness = random.Random(seed)
        self.network = SimulatedNetwork(self.clock, randomness, weather)
        self.server = SimulatedLoop(self.clock, randomness, "random")
        self.client = SimulatedLoop(self.clock, randomness, "random")
        self.client.network = self.network
        self.received: list[bytes] = []
        self.losses: list[Exception | None] = []

    def listen(self) -> None:
        machines = self

        class Receiver(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                machines.received.append(data)

            def connection_lost(self, exc: Exception | None) -> None:
                machines.losses.append(exc)

        self.network.listen(self.server, ADDRESS, Receiver)

    def run(self, task: asyncio.Task[None], seconds: float = 10.0) -> None:
        """Until nothing is on its way any more."""
        while self.clock.seconds < seconds:
            self.network.happen()
            if not (self.client.step() or self.server.step()):
                times = [self.network.next_event(), self.client.next_timer(), self.server.next_timer(), seconds]
                self.clock.seconds = max(self.clock.seconds, min(at for at in times if at is not None))
        if task.done():
            task.result()


def test_bytes_of_a_connection_come_in_their_order_however_late() -> None:
    machines = Machines(1, Weather(latency_seconds=0.1, slow=0.3, slow_seconds=1.0))
    machines.listen()

    async def send() -> None:
        transport, _ = await machines.client.create_connection(asyncio.Protocol, *ADDRESS)
        for number in range(50):
            transport.write(bytes([number]))
        transport.close()

    machines.run(machines.client.create_task(send()))
    assert b"".join(machines.received) == bytes(range(50))
    assert machines.losses == [None]


def test_what_a_dead_process_has_sent_still_arrives() -> None:
    machines = Machines(2, Weather(latency_seconds=1.0))
    machines.listen()

    async def send() -> None:
        transport, _ = await machines.client.create_connection(asyncio.Protocol, *ADDRESS)
        transport.write(b"late")
        has_sent.append(True)
        await asyncio.Event().wait()

    has_sent: list[bool] = []
    task = machines.client.create_task(send())
    while not has_sent:
        machines.run(task, machines.clock.seconds + 0.001)
    assert machines.received == []
    machines.client.bury()
    machines.network.bury(machines.client)
    machines.run(task)
    assert machines.received == [b"late"]


def test_a_connection_that_is_cut_ends_with_an_error_on_both_sides() -> None:
    machines = Machines(3, Weather(latency_seconds=0.01, lost=1.0))
    machines.listen()
    told: list[Exception | None] = []

    class Sender(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            told.append(exc)

    async def send() -> None:
        transport, _ = await machines.client.create_connection(Sender, *ADDRESS)
        transport.write(b"lost")

    machines.run(machines.client.create_task(send()))
    assert machines.received == []
    assert [type(error) for error in told + machines.losses] == [ConnectionResetError] * 2


def test_where_nobody_listens_a_connection_is_refused() -> None:
    machines = Machines(4, Weather())

    async def send() -> None:
        with pytest.raises(ConnectionRefusedError):
            await machines.client.create_connection(asyncio.Protocol, *ADDRESS)

    machines.client.run(send())
