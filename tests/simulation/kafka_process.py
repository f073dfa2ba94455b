"""One simulated process of a Kafka job, and what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamlet.runtime.job.supervisor import Outcome, Supervisor
from streamlet.testing.loop import SimulatedLoop
from streamlet.testing.network import SimulatedNetwork, VirtualTransport


class Process:
    """One process of the job."""

    def __init__(self, number: int, loop: SimulatedLoop, dies_at: tuple[str, int] | None, *, sleeps: bool) -> None:
        self.number = number
        self.loop = loop
        self.counts = {"step": 0, "disk": 0, "request": 0, "marker": 0}
        self.is_dead = False
        self.wakes_at: float | None = None
        """While it stands still: when it goes on, at the earliest."""
        self.main: asyncio.Task[Outcome]
        self.supervisors: list[Supervisor] = []
        self.dies_at = dies_at
        self.sleeps = sleeps

    @property
    def is_asleep(self) -> bool:
        return self.wakes_at is not None

    def left(self) -> list[str]:
        """What runs beside its main task."""
        tasks = [task for task in self.loop.tasks if task is not self.main and not task.done()]
        return [f"{task.get_name()} of {getattr(task.get_coro(), '__qualname__', '')}" for task in tasks]

    def stop(self) -> None:
        for supervisor in self.supervisors:
            supervisor.stop()


class CountingNetwork(SimulatedNetwork):
    """Counts what the job sends."""

    count: Callable[[SimulatedLoop], None]

    def send(self, end: VirtualTransport, item: bytes | None) -> None:
        super().send(end, item)
        if item is not None:
            self.count(end.loop)
