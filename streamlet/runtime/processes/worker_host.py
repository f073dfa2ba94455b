"""The parent's side: starts the workers of an attempt, speaks to them, and sees to it that none outlives it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from streamlet.checkpoint import manifest as manifests
from streamlet.checkpoint.files import Pins
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.messages import ToSubtask
from streamlet.graph.describe import describe_plan
from streamlet.graph.plan import ExecutionPlan
from streamlet.observe.facts import WorkFacts, total
from streamlet.outages import Outages
from streamlet.ports import HostedProcess, Ports
from streamlet.runtime.job.assembly import Splits
from streamlet.runtime.job.surroundings import Surroundings
from streamlet.runtime.processes.failures import death, error_of
from streamlet.runtime.processes.link import Link, framed
from streamlet.runtime.processes.messages import (
    Away,
    Back,
    Begin,
    Build,
    Built,
    Failed,
    Finish,
    FromWorker,
    Hold,
    JobFile,
    Pin,
    Pinned,
    Pressure,
    Said,
    Tell,
    ToWorker,
    encoded,
    from_worker_of,
)
from streamlet.runtime.task.control import LocalControl, SubtaskId
from streamlet.runtime.task.placement import Placement
from streamlet.task_group import TaskGroup

MODULE = "streamlet.cli.worker"
"""What a worker runs: it loads the job file, which only the cli may."""

_GRACE_SECONDS = 10.0
"""So long may a worker close its connections before it is killed."""
_LAST_SECONDS = 1.0
"""So long may it take to end after its last word."""


class WorkerHost:
    """`Host` in worker processes, new ones for each attempt. The parent itself hosts no subtask."""

    def __init__(
        self, plan: ExecutionPlan, *, target: str, arguments: Sequence[str], ports: Ports, outages: Outages
    ) -> None:
        self.control: LocalControl = _ParentControl(self)
        self._plan = plan
        self._count = plan.config.processes
        self._target = target
        self._arguments = list(arguments)
        self._ports = ports
        self._outages = outages
        self._processes: Sequence[HostedProcess] = ()
        self._workers: list[_RemoteWorker] = []

    def start(self) -> None:
        self._processes = self._ports.processes.hosts(MODULE, self._count)
        text = describe_plan(self._plan)
        for number, process in enumerate(self._processes):
            job = JobFile(self._target, self._arguments, self._plan.config, self._count, number, text)
            process.control.sendall(framed(encoded(job)))  # far less than a socket takes at once

    async def build(self, around: Surroundings, manifest: Manifest | None, positions: Splits) -> None:
        for number, process in enumerate(self._processes):
            link = await Link.over(process.control)
            self._workers.append(_RemoteWorker(number, process, link, around, self))
        build = Build(
            around.instance,
            around.attempt,
            None if manifest is None else manifests.encode(manifest),
            {uid: dict(splits) for uid, splits in positions.items()},
            self._plan.allowed,
        )
        async with TaskGroup() as group:
            for worker in self._workers:
                worker.send(build)
                group.create_task(worker.until_built(), name=f"worker-{worker.number}")

    async def run(self) -> None:
        async with TaskGroup() as group:
            for worker in self._workers:
                worker.send(Begin())
                group.create_task(worker.listen(), name=f"worker-{worker.number}")

    def facts(self) -> WorkFacts:
        return total(worker.figures for worker in self._workers)

    def stopping(self) -> None:
        for worker in self._workers:
            if worker.is_built:  # before, it hears nothing yet
                worker.process.interrupt()

    def tell(self, subtask: SubtaskId, message: ToSubtask) -> None:
        """Sends to one subtask, wherever it lies."""
        task, number = subtask
        self._workers[Placement(self._count).process_of(number)].send(Tell(task, number, message))

    def press(self) -> None:
        """Holds the sources of every worker while the memory of another is full."""
        pressed = [worker for worker in self._workers if worker.is_pressed]
        for worker in self._workers:
            worker.hold(is_on=any(one is not worker for one in pressed))

    def outage(self, message: Away | Back) -> None:
        """Tells of an outage that a worker meets."""
        if isinstance(message, Away):
            self._outages.away(message.what, message.reason)
        elif message.over is not None:
            self._outages.over(message.what, message.over)
        else:
            self._outages.back(message.what)

    async def close(self) -> None:
        async with TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.close(), name=f"worker-{worker.number}-close")
        for process in self._processes[len(self._workers) :]:
            process.kill()
            process.control.close()
        for worker in self._workers:
            for what in worker.away:
                self._outages.back(what)


class _ParentControl(LocalControl):
    """The coordinator's side: what it tells goes to the worker that hosts the subtask."""

    def __init__(self, host: WorkerHost) -> None:
        super().__init__()
        self._host = host

    def tell(self, subtask: SubtaskId, message: ToSubtask) -> None:
        self._host.tell(subtask, message)


class _RemoteWorker:
    """One worker, as the parent knows it."""

    def __init__(self, number: int, process: HostedProcess, link: Link, around: Surroundings, host: WorkerHost) -> None:
        self.number = number
        self.figures = WorkFacts()
        self.away: set[str] = set()
        """What does not answer it."""
        self.is_pressed = False
        self.is_built = False
        self.process = process
        self._is_held = False
        self._link = link
        self._around = around
        self._pins: Pins = around.folder.pins
        self._host = host

    def send(self, message: ToWorker) -> None:
        self._link.send(encoded(message))

    def hold(self, *, is_on: bool) -> None:
        if is_on != self._is_held:
            self._is_held = is_on
            self.send(Hold(is_on))

    async def until_built(self) -> None:
        """Listens until the worker is ready."""
        while not isinstance(message := await self._next(), Built):
            self._heard(message)
        self.is_built = True

    async def listen(self) -> None:
        """Listens for ever; raises what the worker failed by, or that it is gone."""
        while True:
            self._heard(await self._next())

    async def _next(self) -> FromWorker:
        data = await self._link.receive()
        if data is None:
            code = await self._around.workers.run_apart(partial(self.process.wait, _GRACE_SECONDS))
            raise death(self.number, self.process.pid, code)
        return from_worker_of(data)

    def _heard(self, message: FromWorker) -> None:
        if isinstance(message, Failed):
            raise error_of(message)
        if isinstance(message, WorkFacts):
            self.figures = message
        elif isinstance(message, Said):
            logging.getLogger(message.logger).log(message.level, "%s", message.text)
        elif isinstance(message, Pin):
            self._pins.add(message.name, message.owner)
            self.send(Pinned(message.number))
        elif isinstance(message, Pressure):
            self.is_pressed = message.is_on
            self._host.press()
        elif isinstance(message, Away | Back):
            (self.away.add if isinstance(message, Away) else self.away.discard)(message.what)
            self._host.outage(message)
        elif not isinstance(message, Built):
            self._host.control.report(message)

    async def close(self) -> None:
        """Lets the worker end, waits for it, and kills it when it does not."""
        self.send(Finish())
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                while (data := await self._link.receive()) is not None:
                    self._last_words(from_worker_of(data))
        except TimeoutError:
            logging.getLogger("streamlet.runtime").warning("worker %d does not end, so it is killed", self.number)
        finally:
            await self._link.finish()
            await asyncio.shield(self._ended())

    async def _ended(self) -> None:
        """Returns when the process has ended, by itself or killed."""
        await self._around.workers.run_apart(self.process.wait, _LAST_SECONDS)
        self.process.kill()

    def _last_words(self, message: FromWorker) -> None:
        """Of a worker that ends: its log, and its last figures; files are kept no more, but it must not wait."""
        if isinstance(message, Pin):
            self.send(Pinned(message.number))
        elif isinstance(message, Said | WorkFacts):
            self._heard(message)
