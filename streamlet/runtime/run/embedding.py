"""A job inside of a program that has an event loop of its own: a web server, a notebook, a test."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from streamlet.clock import SystemClock
from streamlet.errors import StreamletError
from streamlet.machine.local import local_ports
from streamlet.observe.progress import Progress
from streamlet.runtime.job.job_state import JobState
from streamlet.runtime.job.supervisor import Outcome, Supervisor
from streamlet.runtime.run.job_run import RunnableJob, prepare, supervised
from streamlet.runtime.run.reading import Reading, status_of

log = logging.getLogger("streamlet.run")


class Running:
    """A job that runs in the running loop; `async with job.running() as run` gives one."""

    def __init__(self, task: asyncio.Task[tuple[Outcome, Supervisor]], reading: Reading) -> None:
        self._task = task
        self._reading = reading

    async def finished(self) -> str:
        """Waits until the job has ended: gives `finished`, or `suspended` when it was stopped.  Raises the error with
        which it failed.  Waiting may be cancelled; the job goes on."""
        outcome, _ = await asyncio.shield(self._task)
        if outcome.state is JobState.FAILED:
            assert outcome.error is not None, "a job fails by an error"
            raise outcome.error
        return str(outcome.state.value)

    def stop(self) -> None:
        """Asks for a last checkpoint and the end; `finished` waits for it."""
        self._reading.supervisor.stop()

    def status(self) -> dict[str, Any]:
        """What `streamlet status --json` shows."""
        return status_of(self._reading.facts(), local_ports().processes.pid)


@asynccontextmanager
async def running(job: RunnableJob, options: dict[str, Any]) -> AsyncIterator[Running]:
    """Runs a job beside the body, and stops it with a last checkpoint when the body is left in any way."""
    prepared = prepare(job, options)
    ready: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def around(_: Reading) -> AsyncIterator[None]:
        yield  # signals, garbage collection and logging are the program's own

    async def run() -> tuple[Outcome, Supervisor]:
        with Progress(prepared.name, lambda: None, _LogLines(), SystemClock()) as progress:
            return await supervised(
                prepared, local_ports(), progress, lambda reading, _: ready.set_result(reading), around
            )

    task = asyncio.create_task(run(), name=f"job-{prepared.name}")
    both: list[asyncio.Future[Any]] = [task, ready]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        await task
        raise StreamletError(f"job {prepared.name!r} has ended before it began")
    run_ = Running(task, ready.result())
    try:
        yield run_
    except BaseException:
        run_.stop()
        await _ended(task)
        raise
    is_over = task.done()
    run_.stop()
    await _ended(task)
    if not is_over or task.result()[0].state is JobState.FAILED:
        await run_.finished()


async def _ended(task: asyncio.Task[Any]) -> None:
    """Waits for the job's end, also when the waiting is cancelled again: nothing of it is left running."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


class _LogLines(io.StringIO):
    """Takes what a run says to the log of the program."""

    def write(self, text: str) -> int:
        for line in filter(None, text.split("\n")):
            log.info("%s", line)
        return len(text)
