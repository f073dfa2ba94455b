"""What lies between processes and the outside: requests and answers travel, are late, or get lost."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from streamlet.errors import SinkError, StreamletError
from streamlet.testing.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

ANSWER_TIMEOUT = 1.0


class Network:
    """Events of the world, in the order of virtual time; a request is one, and so is its answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._arrivals: dict[str, float] = {}

    def at(self, delay: float, event: Callable[[], None]) -> None:
        """Lets something happen in the world, whatever process is alive then."""
        self._numbers += 1
        heapq.heappush(self._events, (self._world.clock.seconds + delay, self._numbers, event))

    def next(self) -> float | None:
        """When the next event is due."""
        return self._events[0][0] if self._events else None

    def last(self) -> float:
        """When everything that is on its way has come."""
        return max((at for at, *_ in self._events), default=0.0)

    def happen(self) -> None:
        """Everything that is due."""
        while self._events and self._events[0][0] <= self._world.clock.seconds:
            heapq.heappop(self._events)[2]()

    def drain(self) -> None:
        """Lets everything arrive that is still on its way."""
        while self._events:
            self._world.clock.seconds = max(self._world.clock.seconds, self._events[0][0])
            self.happen()

    def ask(self, process: Process, action: Callable[[], Any], connection: str, *, times: float) -> Awaitable[Any]:
        """Sends a request: it arrives later, also when the process has died meanwhile, and so does the answer."""
        world, loop = self._world, process.loop
        future: asyncio.Future[Any] = loop.create_future()
        if world.chance("request_lost"):
            loop.call_later(ANSWER_TIMEOUT, _fail, future)
            return future
        is_lost = world.chance("answer_lost")
        if is_lost:
            loop.call_later(ANSWER_TIMEOUT, _fail, future)

        def arrive() -> None:
            answer, error = None, None
            try:
                answer = action()
            except StreamletError as failed:
                error = failed
            if not is_lost:
                self.at(self._travel(), lambda: _answer(future, answer, error))

        at = world.clock.seconds + self._travel() * times
        if connection:
            connection = f"{process.number} {connection}"
            at = self._arrivals[connection] = max(at, self._arrivals.get(connection, 0.0))
        self.at(at - world.clock.seconds, arrive)
        return future

    def _travel(self) -> float:
        world = self._world
        slow = 10 if world.chance("slow") else 1
        return world.random.random() * world.scenario.answer_seconds * slow


def _fail(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(SinkError("no answer came"))


def _answer(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
