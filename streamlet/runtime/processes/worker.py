"""A worker: the part of a job that one process hosts, and its side of the link to the parent."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from streamlet.checkpoint import manifest
from streamlet.checkpoint.files import AttemptFolder, Pins
from streamlet.checkpoint.messages import ToCoordinator
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import WorkerDiedError
from streamlet.graph.plan import ExecutionPlan
from streamlet.outages import Outages
from streamlet.ports import Ports, Workers
from streamlet.runtime.job.assembly import Assembly
from streamlet.runtime.job.restored import number_states
from streamlet.runtime.job.surroundings import Surroundings
from streamlet.runtime.processes.failures import failure_of
from streamlet.runtime.processes.link import Link
from streamlet.runtime.processes.messages import (
    Away,
    Back,
    Begin,
    Build,
    Built,
    Finish,
    FromWorker,
    Hold,
    Pin,
    Pinned,
    Pressure,
    Said,
    Tell,
    encoded,
    to_worker_of,
)
from streamlet.runtime.processes.socket_channel import SocketExchange
from streamlet.runtime.task.control import LocalControl
from streamlet.runtime.task.placement import Placement
from streamlet.task_group import TaskGroup

_FIGURES_SECONDS = 0.5


class Worker:
    """Hosts its subtasks for one attempt; a process is used for no other."""

    def __init__(
        self,
        name: str,
        plan: ExecutionPlan,
        placement: Placement,
        parent: Link,
        peers: Mapping[int, Link],
        ports: Ports,
        lateness_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`lateness_seconds`: how late its event loop is."""
        self._lateness_seconds = lateness_seconds
        self._name = name
        self._plan = plan
        self._parent = parent
        self._ports = ports
        self._exchange = SocketExchange(placement, peers)
        self._control = _WorkerControl(parent)
        self._outages = _ToldOutages(parent, ports)
        self._pins = _AskedPins(parent)
        self._assembly: Assembly | None = None

    async def run(self) -> bool:
        """Runs until the parent says that it is enough, or until something fails, which it tells the parent; False
        then.  Nothing that it started is left running."""
        workers = self._ports.threads.workers()
        try:
            await self._run(workers)
        except (Exception, BaseExceptionGroup) as group:
            logging.getLogger("streamlet.runtime").debug("the worker failed", exc_info=group)
            _send(self._parent, failure_of(group))
            return False
        finally:
            self._pins.end()
            if self._assembly is not None:
                self._tell_figures(self._assembly)
                await self._assembly.close()
            await workers.close()
            await self._exchange.close()
            await self._parent.finish()
        return True

    async def _run(self, workers: Workers) -> None:
        build = await self._next()
        if isinstance(build, Finish):
            return
        if not isinstance(build, Build):
            raise WorkerDiedError(f"the parent has sent {build!r:.80} to a worker that is not built")
        async with TaskGroup() as group:
            begin = asyncio.Event()
            obeying = group.create_task(self._obey(begin), name="obey")
            running = group.create_task(self._host(build, workers, begin), name="host")
            await obeying
            running.cancel()

    async def _host(self, build: Build, workers: Workers, begin: asyncio.Event) -> None:
        around = Surroundings(
            self._name,
            build.instance,
            build.attempt,
            AttemptFolder(self._ports.disk, self._folder(), build.attempt, self._pins),
            self._control,
            self._ports,
            workers,
            self._outages,
        )
        restored = None if build.manifest is None else manifest.decode(build.manifest, "the parent's manifest")
        self._plan.allowed = build.allowed
        states = number_states(self._plan, restored)
        assembly = Assembly(self._plan, around, states, restored, build.positions, self._exchange)
        assembly.pressure.on_own = lambda is_on: _send(self._parent, Pressure(is_on))
        self._assembly = assembly
        await assembly.build()
        _send(self._parent, Built())
        await begin.wait()
        async with TaskGroup() as group:
            group.create_task(self._exchange.run(), name="exchange")
            group.create_task(assembly.run(), name="subtasks")
            group.create_task(self._tell_figures_often(assembly), name="figures")

    def _folder(self) -> Path:
        return CheckpointStorage(Path(self._plan.config.state_dir), self._name, self._ports.disk).folder

    async def _next(self) -> Any:
        data = await self._parent.receive()
        return Finish() if data is None else to_worker_of(data)

    def keys_in_memory(self) -> int:
        """How many keys have their state in this process."""
        return 0 if self._assembly is None else self._assembly.facts().keys

    async def _obey(self, begin: asyncio.Event) -> None:
        while True:
            message = await self._next()
            if isinstance(message, Tell):
                self._control.inbox((message.task, message.subtask)).put_nowait(message.message)
            elif isinstance(message, Pinned):
                self._pins.answered(message.number)
            elif isinstance(message, Hold) and self._assembly is not None:
                self._assembly.pressure.hold(is_on=message.is_on)
            elif isinstance(message, Begin):
                begin.set()
            elif isinstance(message, Finish):
                return

    async def _tell_figures_often(self, assembly: Assembly) -> None:
        while True:
            self._tell_figures(assembly)
            await asyncio.sleep(_FIGURES_SECONDS)

    def _tell_figures(self, assembly: Assembly) -> None:
        late = {f"worker {self._exchange.placement.here}": self._lateness_seconds()}
        _send(self._parent, msgspec.structs.replace(assembly.facts(), lateness_seconds=late))


class ToldLog(logging.Handler):
    """Sends the engine's log lines to the parent, which shows them.

    Those of other threads go to `elsewhere`: the event loop may be what stands still, and only it can send.
    """

    def __init__(self, parent: Link, elsewhere: logging.Handler) -> None:
        super().__init__(logging.INFO)
        self._parent = parent
        self._elsewhere = elsewhere

    def emit(self, record: logging.LogRecord) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # in another thread
            self._elsewhere.handle(record)
        else:
            _send(self._parent, Said(record.name, record.levelno, record.getMessage()))


class _WorkerControl(LocalControl):
    """The subtasks' side: what they report goes to the parent."""

    def __init__(self, parent: Link) -> None:
        super().__init__()
        self._parent = parent

    def report(self, message: ToCoordinator) -> None:
        _send(self._parent, message)


class _ToldOutages(Outages):
    """Tells the parent, where an outage that several workers meet is one."""

    def __init__(self, parent: Link, ports: Ports) -> None:
        super().__init__(ports.clock)
        self._parent = parent
        self._away: set[str] = set()

    def away(self, what: str, reason: str) -> None:
        self._away.add(what)
        _send(self._parent, Away(what, reason))

    def back(self, what: str) -> None:
        if what in self._away:
            self._away.discard(what)
            _send(self._parent, Back(what))

    def over(self, what: str, why: str = "") -> None:
        if what in self._away:
            self._away.discard(what)
            _send(self._parent, Back(what, over=why))


class _AskedPins(Pins):
    """Pins in the parent, where files are released: a file is pinned there before it is made here.

    `add` blocks a thread, never the event loop.
    """

    def __init__(self, parent: Link) -> None:
        super().__init__()
        self._parent = parent
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, threading.Lock] = {}
        self._last = 0
        self._has_ended = False
        self._numbers = threading.Lock()

    def add(self, name: str, owner: str) -> None:
        done = threading.Lock()
        done.acquire()
        with self._numbers:
            self._last += 1
            number = self._last
            self._asked[number] = done
        self._loop.call_soon_threadsafe(self._ask, Pin(number, name, owner))
        with done:  # held until the answer is here
            pass
        if self._has_ended:
            raise WorkerDiedError(f"the worker ends before the file {name} is kept")

    def _ask(self, pin: Pin) -> None:
        if self._has_ended:
            self.answered(pin.number)
        else:
            _send(self._parent, pin)

    def answered(self, number: int) -> None:
        """Lets the thread go on that asked."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            asked.release()

    def end(self) -> None:
        """Lets every thread go, for no answer will come."""
        self._has_ended = True
        for number in list(self._asked):
            self.answered(number)


def _send(parent: Link, message: FromWorker) -> None:
    parent.send(encoded(message))
