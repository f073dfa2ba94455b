"""A machine on which processes of one job run, one after the other: each ends, or is killed at a step or disk call."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import StreamletError
from streamlet.ports import Ports
from streamlet.runtime.job.attempt import Attempt
from streamlet.runtime.job.job_state import JobState
from streamlet.runtime.job.restoring import AttemptOptions
from streamlet.runtime.job.supervisor import Outcome, Supervisor, describe
from streamlet.runtime.run.job_run import RunnableJob
from streamlet.testing.disk import SimulatedDisk
from streamlet.testing.errors import ProcessDied, SimulationStuck
from streamlet.testing.loop import VirtualClock, running
from streamlet.testing.patches import Patches
from streamlet.testing.ports import SimulatedProcesses, SimulatedThreads
from streamlet.testing.process import Process

LONGEST_BLOCKING_SECONDS = 0.002
MOST_SECONDS = 86_400.0


class JobMachine:
    """Its disk and its clock outlive the processes, as what the sinks of the job have taken does."""

    def __init__(self, job: RunnableJob, root: Path) -> None:
        self.clock = VirtualClock()
        self.calls: list[str] = []
        """What the processes asked of the disk."""
        self._job = job
        self._root = root
        self._random = random.Random(1)
        self._disk = SimulatedDisk(root, self)
        processes = SimulatedProcesses(self._disk)
        self._ports = Ports(self.clock, random.Random(1), self._disk, SimulatedThreads(), processes)
        self._current: Process | None = None
        self._number = 0

    def before(self, call: str, path: str) -> None:
        """As the disk's watcher: counts what changes the disk."""
        if call != "read" and self._current is not None:
            self._current.count("disk")
            self.calls.append(f"{call} {Path(path).name}")

    def run(self, dies_at: tuple[str, int] | None = None) -> Process:
        """Runs a process until it has finished, or has died at the how many-th step or disk call; raises
        `StreamletError` when the job fails."""
        process = Process(self._number, self.clock, self._random, "fifo")
        self._number += 1
        process.dies_at = dies_at
        process.loop.longest_blocking_seconds = LONGEST_BLOCKING_SECONDS
        self._current = self._disk.owner = process
        process.main = process.loop.create_task(self._main(process))
        try:
            with _by_its_clock(self.clock), running(process.loop):
                while not process.has_ended:
                    self._step(process)
        finally:
            outcome = process.outcome() if process.has_ended else None
            process.bury()
            self._current = None
        if outcome is None:
            self._disk.crash(self._random, keep_all=True, owner=process)
        elif outcome.state is not JobState.FINISHED:
            raise StreamletError(f"job {self._job.name!r} did not finish: {_why(outcome)}")
        return process

    def _step(self, process: Process) -> None:
        if process.loop.is_due:
            with contextlib.suppress(ProcessDied):
                process.count("step")
                process.loop.step()
            return
        at = process.loop.next_timer()
        if at is None or self.clock.seconds > MOST_SECONDS:
            raise SimulationStuck(f"job {self._job.name!r} waits for what never comes: a simulation has no network")
        self.clock.seconds = max(self.clock.seconds, at)

    async def _main(self, process: Process) -> Outcome:
        plan = self._job.plan()
        storage = CheckpointStorage(self._root, self._job.name, self._disk)
        lock = JobLock(storage.folder, self._ports)

        def make(is_first: bool) -> Attempt:
            options = AttemptOptions(self._root, "latest")
            return Attempt(self._job.name, plan, options, lock, self._ports, lambda text: None)

        process.supervisor = Supervisor(make, plan.config.restart, self.clock, self._ports.randomness)
        try:
            return await process.supervisor.run()
        finally:
            lock.release()


def _why(outcome: Outcome) -> str:
    return outcome.state.value if outcome.error is None else describe(outcome.error)


@contextlib.contextmanager
def _by_its_clock(clock: VirtualClock) -> Iterator[None]:
    """`time.time()` is the machine's clock, and the engine's warnings are about what the simulation does to it."""
    patches = Patches()
    patches.put(time, "time", lambda _: lambda: clock.now_ms() / 1000)
    patches.put(time, "time_ns", lambda _: lambda: clock.now_ms() * 1_000_000)
    logger = logging.getLogger("streamlet")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        patches.undo()
