"""Runs a scenario: process after process on one disk and one outside, until the job has finished.

Every step of the loop, every call that changes the disk and every request to the outside is counted, and at one of
them a process may die.  From that instant nothing of it has any effect: its loop is not stepped any more, and whatever
its coroutines do when they are closed at last meets `ProcessDied`.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import SinkError, StreamletError
from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.runtime.job_state import JobState
from streamlet.runtime.restoring import AttemptOptions
from streamlet.runtime.supervisor import Outcome, Supervisor
from streamlet.testing.disk import SimulatedDisk
from streamlet.testing.errors import ProcessDied, SimulationStuck
from streamlet.testing.loop import SimulatedLoop, VirtualClock, running
from tests.simulation.connectors import SimulatedSink, SimulatedSource
from tests.simulation.oracle import EngineBroke, JobFailed, WrongOutput, check_output
from tests.simulation.outside import Outside
from tests.simulation.scenario import NO_FAULTS, Scenario, build
from tests.simulation.surroundings import surrounded
from tests.simulation.watched import WatchedAttempt

MOST_PROCESSES = 40
MOST_STEPS = 200_000
MOST_SECONDS = 600.0
ANSWER_TIMEOUT = 3.0


class World:
    """One run of one scenario."""

    def __init__(self, one: Scenario, root: Path) -> None:
        self.scenario = one
        self.clock = VirtualClock()
        self.outside = Outside()
        self.outside.now = self.clock.monotonic
        for sink in one.sinks:
            self.outside.kinds[sink.uid] = sink.kind
            self.outside.deadline_seconds[sink.uid] = sink.deadline_seconds
        self.random = random.Random(one.seed ^ 0x5EED)
        self.outside.chance = self.random.random
        self.faults = one.faults
        self.root = root
        self.disk = SimulatedDisk(root, self)
        self.is_dead = False
        self.loop: SimulatedLoop | None = None
        self.processes = 0
        self.crashes = 0
        self.calls: list[str] = []
        """What was asked of the disk, in order."""
        self.happened: Counter[str] = Counter()
        """Kind of fault -> how often it came."""
        self.restarts = 0
        """Attempts that failed inside processes which lived on."""
        self.broken: BaseException | None = None
        """An error of the engine that no fault explains."""
        self.outcomes: list[str] = []
        self.counts = {"step": 0, "disk": 0, "outside": 0, "marker": 0}
        self.total = {"step": 0, "disk": 0, "outside": 0, "marker": 0}
        self.said: list[str] = []
        self.pinned: dict[str, int] = {}
        self.largest_id = -1
        self._dies_at: tuple[str, int] | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._arrivals: dict[str, float] = {}

    # --- counting, dying, failing -------------------------------------------------------------------------------

    def count(self, kind: str) -> None:
        """Counts something that happens; a process that is dead, or dies here, gets `ProcessDied`."""
        if self.is_dead:
            raise ProcessDied
        self.counts[kind] += 1
        self.total[kind] += 1
        if self._dies_at is not None and self._dies_at[0] == kind and self.counts[kind] >= self._dies_at[1]:
            self.is_dead = True
            raise ProcessDied

    def before(self, call: str, path: str) -> None:
        """As the disk's watcher."""
        self.count("disk")
        self.calls.append(call)
        if "marker-" in path or "manifest" in path or "/chk-" in path:
            self.count("marker")
        fails = self.faults.disk_fails
        if (
            fails
            and self.faults.disk_fails_at in path
            and call != "unlink"
            and call != "rmdir"
            and self.random.random() < fails
        ):
            self.happened["disk_fails"] += 1
            number = self.random.choice((errno.EIO, errno.ENOSPC))
            raise OSError(number, os.strerror(number), path)

    def chance(self, name: str) -> bool:
        """True when a fault of this name happens."""
        probability: float = getattr(self.faults, name)
        if not probability or self.random.random() >= probability:
            return False
        self.happened[name] += 1
        return True

    def now(self) -> float:
        return self.clock.seconds

    def number(self, most: int) -> int:
        return self.random.randint(0, most)

    # --- the outside --------------------------------------------------------------------------------------------

    def ask(
        self, action: Callable[[], Any], connection: str = "", *, arrives_late: bool = True, times: float = 1
    ) -> Awaitable[Any]:
        """Sends a request: it arrives later, also when the process has died meanwhile, and so does the answer."""
        self.count("outside")
        loop = self.loop
        assert loop is not None
        future: asyncio.Future[Any] = loop.create_future()
        if self.chance("request_lost"):
            loop.call_later(ANSWER_TIMEOUT, _fail, future)
            return future
        is_lost = self.chance("answer_lost")
        if is_lost:
            loop.call_later(ANSWER_TIMEOUT, _fail, future)

        def arrive() -> None:
            answer, error = None, None
            if not arrives_late and (future.done() or self.loop is not loop):
                return
            try:
                answer = action()
            except StreamletError as failed:
                error = failed
            if not is_lost:
                self.at(self._travel(), lambda: _answer(future, answer, error))

        at = self.clock.seconds + self._travel() * (times if self.faults is not NO_FAULTS else 1)
        if connection:
            at = self._arrivals[connection] = max(at, self._arrivals.get(connection, 0.0))
        self.at(at - self.clock.seconds, arrive)
        return future

    def _travel(self) -> float:
        slow = 20 if self.chance("slow") else 1
        return self.random.random() * self.scenario.answer_seconds * slow

    def at(self, delay: float, event: Callable[[], None]) -> None:
        """Lets something happen in the world, whatever process is alive then."""
        self._numbers += 1
        heapq.heappush(self._events, (self.clock.seconds + delay, self._numbers, event))

    def _happen(self) -> None:
        while self._events and self._events[0][0] <= self.clock.seconds:
            heapq.heappop(self._events)[2]()

    # --- processes ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Runs the scenario to its end and checks everything."""
        with self.disk.mounted(), surrounded(self):
            try:
                self._run_processes()
                self.faults = NO_FAULTS
                check_output(self.scenario, self.outside.log, self.pinned)
                self._check_finished()
                self._check_orphans()
            finally:
                self._bury()

    def _run_processes(self) -> None:
        faults = self.faults
        for process in range(MOST_PROCESSES):
            self._dies_at = faults.crashes[process] if process < len(faults.crashes) else None
            if process >= max(len(faults.crashes), len(faults.stops)):
                # From here on nothing goes wrong any more, and the job must come to its end.
                self.faults = NO_FAULTS
            outcome = self._run_process(process)
            self.outcomes.append("died" if outcome is None else outcome.state.value)
            if outcome is not None and outcome.state is JobState.FINISHED:
                return
            if outcome is not None and outcome.state is JobState.FAILED and self.faults is NO_FAULTS:
                raise JobFailed(f"nothing goes wrong, but the job failed: {outcome.error!r}") from outcome.error
            self.clock.seconds += faults.downtime_seconds
        raise SimulationStuck(f"not finished after {MOST_PROCESSES} processes: {self.outcomes}")

    def _run_process(self, process: int) -> Outcome | None:
        """One process from its start to its end; None when it died."""
        self.processes += 1
        self.counts = dict.fromkeys(self.counts, 0)
        self.is_dead = False
        loop = self.loop = SimulatedLoop(self.clock, self.random, self.scenario.policy)
        loop.longest_blocking_seconds = self.scenario.blocking_seconds
        if self.faults is not NO_FAULTS:
            loop.slow_calls = self.scenario.slow_calls
        supervisors: list[Supervisor] = []
        main = loop.create_task(self._main(process, supervisors))
        stops = self.faults.stops
        if process < len(stops) and stops[process]:
            loop.call_later(stops[process], self._stop, supervisors)
        with running(loop):
            self._drive(loop, main)
        if self.is_dead:
            self.crashes += 1
            self._bury()
            cuts = self.scenario.faults.power_cuts
            keeps = self.random.random() >= self.faults.power
            if self.crashes <= len(cuts):
                keeps = not cuts[self.crashes - 1]
            if not keeps:
                # A reserved number is kept over a kill, not over a power cut: then nothing else with it is there.
                self.largest_id = -1
            self.happened["kill" if keeps else "power cut"] += 1
            self.disk.crash(self.random, keep_all=keeps)
            return None
        self._require_tidy(loop, main)
        outcome: Outcome = main.result()
        self.restarts += supervisors[0].restarts
        if isinstance(self.broken, WrongOutput):
            raise self.broken
        if self.broken is not None:
            raise EngineBroke(f"an attempt failed with {self.broken!r}") from self.broken
        if loop.unhandled:
            raise EngineBroke(f"nobody took an error: {loop.unhandled[0]}")
        self._bury()
        return outcome

    def _stop(self, supervisors: list[Supervisor]) -> None:
        if supervisors:
            self.happened["stop"] += 1
            supervisors[0].stop()

    def _bury(self) -> None:
        """Closes what is left of a process, with the world dead to it."""
        if self.loop is not None:
            self.is_dead = True
            self.loop.bury()
            self.loop = None

    def _drive(self, loop: SimulatedLoop, main: asyncio.Task[Any]) -> None:
        deadline = self.clock.seconds + MOST_SECONDS
        while not main.done():
            self._happen()
            try:
                self.count("step")
            except ProcessDied:
                return
            if not loop.step():
                self._jump(loop)
            if self.is_dead:
                return
            if loop.steps > MOST_STEPS or self.clock.seconds > deadline:
                raise SimulationStuck(
                    f"process {self.processes - 1} is not done after {loop.steps} steps and "
                    f"{self.clock.seconds - deadline + MOST_SECONDS:.0f} s"
                )

    def _jump(self, loop: SimulatedLoop) -> None:
        times = [one for one in (loop.next_timer(), self._events[0][0] if self._events else None) if one is not None]
        if not times:
            waiting = [task.get_name() for task in loop.tasks if not task.done()]
            raise SimulationStuck(f"every task waits, and nothing can wake one: {waiting}")
        self.clock.seconds = max(self.clock.seconds, min(times))

    def _notice(self, error: BaseException) -> None:
        if self.broken is None and not self.is_dead:
            self.broken = error

    async def _main(self, process: int, supervisors: list[Supervisor]) -> Outcome:
        one = self.scenario
        if self.faults is NO_FAULTS:
            one.settings["checkpoint_timeout"] = timedelta(seconds=20)
        job = build(one, process, lambda spec: SimulatedSource(spec, self), lambda spec: SimulatedSink(spec, self))
        plan = job.plan()
        lock = JobLock(CheckpointStorage(self.root, job.name).folder, self.clock)

        def make(_: bool) -> WatchedAttempt:
            options = AttemptOptions(self.root)
            return WatchedAttempt(job.name, plan, options, lock, self.clock, self.said.append, notice=self._notice)

        supervisor = Supervisor(make, plan.config.restart, self.clock, random.Random(one.seed))
        supervisors.append(supervisor)
        try:
            return await supervisor.run()
        finally:
            lock.release()

    # --- checking -----------------------------------------------------------------------------------------------

    def _require_tidy(self, loop: SimulatedLoop, main: asyncio.Task[Any]) -> None:
        """A process that has ended by itself left nothing running."""
        left = [task.get_name() for task in loop.tasks if task is not main and not task.done()]
        if left:
            raise WrongOutput(f"tasks are left when the process ends: {left}")

    def _check_finished(self) -> None:
        """A finished job that is started again says so and changes nothing."""
        self.faults, self._dies_at = NO_FAULTS, None
        before = {uid: list(values) for uid, values in self.outside.log.items()}
        outcome = self._run_process(self.processes)
        if outcome is None or outcome.state is not JobState.FINISHED or self.outside.log != before:
            raise WrongOutput(f"a finished job that was started again did not just say so: {outcome}")

    def _check_orphans(self) -> None:
        open_units = self.outside.open_units()
        if open_units:
            raise WrongOutput(f"units are left open for ever: {open_units}")
        storage = CheckpointStorage(self.root, "simulated")
        infos = storage.checkpoints()
        named = {name for info in infos if info.manifest is not None for name in info.manifest.file_names()}
        there = {path.name for path in storage.files.iterdir()}
        if named != there:
            raise WrongOutput(f"files that no checkpoint names: {there - named}; missing: {named - there}")
        for info in infos:
            if info.manifest is None:
                raise WrongOutput(f"checkpoint {info.id} cannot be read: {info.problem}")
            storage.verify(info.manifest, full=True)
        known = {"files", "began", "instance", "instance.new", "lock"} | {info.path.name for info in infos}
        others = {path.name for path in storage.folder.iterdir()} - known
        if {name for name in others if not name.startswith("attempt-") and name != "work"}:
            raise WrongOutput(f"left over in the state directory: {others}")


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


def simulate(one: Scenario) -> World:
    """Runs a scenario; raises `AssertionError` for what it finds."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    root = Path(tempfile.mkdtemp(prefix="streamlet-simulated-", dir=base))
    try:
        world = World(one, root / "state")
        world.run()
        return world
    finally:
        shutil.rmtree(root, ignore_errors=True)
