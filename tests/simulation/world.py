"""Runs a scenario: process after process on one disk and one outside, until the job has finished.

Every step of the loop, every call that changes the disk and every request to the outside is counted, and at one of
them a process may die.  From that instant nothing of it has any effect: its loop is not stepped any more, and whatever
its coroutines do when they are closed at last meets `ProcessDied`.

A process may also be paused there, between two calls of the system even: then the next one takes the job over and runs
for a while before the first goes on, as a zombie, beside it.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import AttemptSupersededError, OutputLostError
from streamlet.ports import Ports
from streamlet.runtime.job.job_state import JobState
from streamlet.runtime.job.restoring import AttemptOptions
from streamlet.runtime.job.supervisor import Outcome, Supervisor
from streamlet.testing.disk import SimulatedDisk
from streamlet.testing.errors import EngineBroke, ProcessDied, SimulationStuck
from streamlet.testing.loop import VirtualClock, running
from streamlet.testing.ports import SimulatedProcesses, SimulatedThreads
from streamlet.testing.process import KINDS, Process
from tests.simulation.building import build
from tests.simulation.connectors import SimulatedSink, SimulatedSource
from tests.simulation.decay import Decay, fail_now_and_then
from tests.simulation.forks import Forks
from tests.simulation.leftovers import check_folder, check_outside
from tests.simulation.line import WorldLine
from tests.simulation.network import Network
from tests.simulation.oracle import JobFailed, WrongOutput, check_nothing_doubled, check_output
from tests.simulation.outside import Outside
from tests.simulation.reading import Reading
from tests.simulation.recovery import LONGEST_SECONDS, Recovery
from tests.simulation.scenario import NO_FAULTS, Scenario
from tests.simulation.surroundings import surrounded
from tests.simulation.watched import WatchedAttempt

MOST_PROCESSES = 40
MOST_STEPS = 200_000
MOST_SECONDS = 600.0
CALM_TIMEOUT = timedelta(seconds=20)
"""For a checkpoint of a process to which nothing goes wrong; that of the scenario may be too short for its disk."""
LATE_SECONDS = 30.0
"""So long after the end a process that still runs a job without end is stopped: it runs it rightly."""


class World:
    """One run of one scenario."""

    def __init__(self, one: Scenario, root: Path) -> None:
        self.scenario = one
        self.clock = VirtualClock(steps=one.clock_steps)
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
        self.ports = Ports(
            self.clock, random.Random(one.seed), self.disk, SimulatedThreads(), SimulatedProcesses(self.disk)
        )
        self.network = Network(self)
        self.line = WorldLine(self)
        self.recovery = Recovery(self)
        self.happened: Counter[str] = Counter()
        """Kind of fault -> how often it came."""
        self.decay = Decay(self.disk, self.happened)
        self.reading = Reading(one, root)
        self.forks = Forks(self.outside, self.happened, self.reading.begins, self.recovery.marked)
        self._current: Process | None = None
        self.processes: list[Process] = []
        self.zombies: list[Process] = []
        """Those that were paused and taken over, and have not ended yet."""
        self.accepts_losses = False
        """The job has stopped because output was lost, and is told to go on without it."""
        self.crashes = 0
        self.calls: list[str] = []
        """What was asked of the disk, in order."""
        self.restarts = 0
        """Attempts that failed inside processes which lived on."""
        self.outcomes: list[str] = []
        self.total = dict.fromkeys(KINDS, 0)
        self.said: list[str] = []
        self.largest_id = -1

    @property
    def current(self) -> Process | None:
        """The process that runs now."""
        return self._current

    @current.setter
    def current(self, process: Process | None) -> None:
        self._current = self.disk.owner = process

    # --- counting, dying, failing -------------------------------------------------------------------------------

    def count(self, kind: str) -> None:
        """Counts something that the running process does; if it is dead, or dies here, it gets `ProcessDied`."""
        process = self.current
        if process is None:
            return
        self.total[kind] += 1
        if process.count(kind):
            self._take_over(process)

    def before(self, call: str, path: str) -> None:
        """As the disk's watcher."""
        if call != "read":
            self.count("disk")
            self.calls.append(call)
            if "marker-" in path or "manifest" in path or "/chk-" in path:
                self.count("marker")
        fail_now_and_then(call, path, self.faults, self.random, self.happened)

    def chance(self, name: str) -> bool:
        """True when a fault of this name happens."""
        probability: float = getattr(self.faults, name)
        if not probability or self.random.random() >= probability:
            return False
        self.happened[name] += 1
        return True

    @property
    def taken_over(self) -> int:
        return self.happened["take-over"]

    # --- processes ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Runs the scenario to its end and checks everything."""
        with surrounded(self):
            try:
                self.recovery.plan()
                self._run_processes()
                self.faults = NO_FAULTS
                self._end_zombies()
                self.network.drain()
                check = check_nothing_doubled if self.accepts_losses else check_output
                check(self.scenario, self.forks.wanted(), self.line.pinned)
                if self.scenario.is_bounded:
                    self._check_finished()
                self.network.drain()
                check_outside(self.outside)
                storage = CheckpointStorage(self.root, "simulated", self.disk)
                check_folder(storage, is_cleaned=self.scenario.is_bounded)
            finally:
                for process in self.processes:
                    self._bury(process)

    def _run_processes(self) -> None:
        faults = self.scenario.faults
        last = max(len(faults.crashes), len(faults.stops), len(faults.starts), self.scenario.calms_at is not None)
        for number in range(MOST_PROCESSES):
            if number >= last:
                # From here on nothing goes wrong any more, and the job must come to its end.
                self.faults = NO_FAULTS
            if self.chance("flips") and 0 < number == len(self.processes):  # else this one has begun already
                self.decay.flip(self.random)
            outcome, process = self._run_process(number), self.processes[number]
            if not process.is_superseded:
                self.decay.mend(outcome)  # else the next process has begun, and may have read what is damaged
            ended = "taken over" if process.is_superseded else "died"
            self.outcomes.append(ended if outcome is None else outcome.state.value)
            if outcome is not None and outcome.state is JobState.FINISHED:
                self.forks.finished(number)
                return
            if outcome is not None and outcome.state is JobState.SUSPENDED and process.is_asked_to_end:
                return
            if outcome is not None and outcome.state is JobState.FAILED and process.is_spared:
                if isinstance(outcome.error, AttemptSupersededError) and self.disk.locked_by is not process:
                    continue  # by one that slept before it had the lock; now that one is taken over
                if self.scenario.may_lose and isinstance(outcome.error, OutputLostError) and not self.accepts_losses:
                    self.accepts_losses = True
                    self.happened["loss accepted"] += 1
                    continue
                if self.recovery.may_fail(process):
                    continue
                raise JobFailed(f"nothing goes wrong, but the job failed: {outcome.error!r}") from outcome.error
            self.clock.seconds += faults.downtime_seconds
        raise SimulationStuck(f"not finished after {MOST_PROCESSES} processes: {self.outcomes}")

    def _run_process(self, number: int) -> Outcome | None:
        """One process from its start to its end; None when it died, or was taken over."""
        # One that takes over has begun already.
        process = (
            self.processes[number]
            if number < len(self.processes)
            else self._start(number, takes_over=bool(self.zombies))
        )
        self._drive(process)
        if process.is_superseded:
            return None
        if process.is_dead:
            self._crash(process)
            return None
        return self._ended(process)

    def _start(self, number: int, *, takes_over: bool = False) -> Process:
        one, faults = self.scenario, self.scenario.faults
        process = Process(number, self.clock, self.random, one.policy)
        if self.faults is NO_FAULTS:
            process.is_spared, process.ends_by = True, self.clock.seconds + LONGEST_SECONDS
        process.loop.longest_blocking_seconds = one.blocking_seconds
        if not process.is_spared:
            process.loop.slow_calls = one.slow_calls
            if number < len(faults.crashes):
                if number < len(faults.pauses) and faults.pauses[number]:
                    process.pauses_at = faults.crashes[number]
                else:
                    process.dies_at = faults.crashes[number]
            if number < len(faults.stops) and faults.stops[number]:
                process.loop.call_later(faults.stops[number], self._stop, process)
        self.processes.append(process)
        process.main = process.loop.create_task(self._main(process, takes_over))
        return process

    def _take_over(self, paused: Process) -> None:
        """Runs the next process for a while, inside of the call at which the paused one stands."""
        if paused.is_superseded or paused.number + 1 >= MOST_PROCESSES:
            return
        self.happened["take-over"] += 1
        paused.is_superseded = True
        self.zombies.append(paused)
        process = self._start(paused.number + 1, takes_over=True)
        # Its loop asks which process runs; the paused one goes on when this returns.
        until = process.loop.steps + int(2000 * self.random.random() ** 2)
        while not process.has_ended and process.loop.steps < until:
            self._turn([process])
        self.current = paused

    def _crash(self, process: Process) -> None:
        self.crashes += 1
        self._bury(process)
        cuts = self.scenario.faults.power_cuts
        keeps = self.random.random() >= self.faults.power
        if self.crashes <= len(cuts):
            keeps = not cuts[self.crashes - 1]
        if not keeps:
            # A reserved number is kept over a kill, not over a power cut: then nothing else with it is there.
            self.largest_id = -1
            for zombie in self.zombies:
                self._bury(zombie)
            self.zombies.clear()
        self.happened["kill" if keeps else "power cut"] += 1
        self.disk.crash(self.random, keep_all=keeps, owner=process)

    def _ended(self, process: Process) -> Outcome | None:
        """A process that has ended by itself left nothing running and had no error of its own."""
        left = [task.get_name() for task in process.loop.tasks if task is not process.main and not task.done()]
        if left:
            raise WrongOutput(f"tasks are left when the process ends: {left}")
        assert process.supervisor is not None
        self.restarts += process.supervisor.restarts
        if isinstance(process.broken, WrongOutput):
            raise process.broken
        if process.broken is not None and not process.is_superseded:
            raise EngineBroke(f"an attempt failed with {process.broken!r}") from process.broken
        if process.loop.unhandled:
            raise EngineBroke(f"nobody took an error: {process.loop.unhandled[0]}")
        outcome = process.outcome()
        self._bury(process)
        return outcome

    def _stop(self, process: Process) -> None:
        if process.supervisor is not None and not process.is_spared:
            self.happened["stop"] += 1
            process.stop()

    def _bury(self, process: Process) -> None:
        before, self.current = self.current, process
        process.bury()
        self.current = before if before is not process else None

    # --- driving ------------------------------------------------------------------------------------------------

    def _drive(self, process: Process) -> None:
        """Until it has ended or was taken over; zombies go on beside it."""
        deadline = self.clock.seconds + MOST_SECONDS
        with running(process.loop):
            while not process.has_ended and not process.is_superseded:
                self._turn([process, *self.zombies] if self.zombies else [process])
                self.recovery.check(process)
                if process.loop.steps > MOST_STEPS or self.clock.seconds > deadline:
                    raise SimulationStuck(
                        f"process {process.number} is not done after {process.loop.steps} steps and "
                        f"{self.clock.seconds - deadline + MOST_SECONDS:.0f} s"
                    )
        self.current = None

    def _turn(self, alive: list[Process]) -> None:
        """One step of one of them."""
        self.network.happen()
        start = self.random.randrange(len(alive)) if len(alive) > 1 else 0
        for process in (*alive[start:], *alive[:start]):
            self.current = process
            try:
                if process.loop.is_due:
                    self.count("step")
                    process.loop.step()
                    break
            except ProcessDied:
                break
        else:
            self._jump(alive)
        for zombie in [one for one in alive if one in self.zombies and one.has_ended]:
            self.zombies.remove(zombie)
            self._zombie_ended(zombie)

    def _zombie_ended(self, zombie: Process) -> None:
        if zombie.is_dead:
            self._bury(zombie)
            self.disk.crash(self.random, keep_all=True, owner=zombie)
            return
        outcome = self._ended(zombie)
        if outcome is not None:
            self.happened[f"zombie {outcome.state.value}"] += 1

    def _end_zombies(self) -> None:
        late = self.clock.seconds + LATE_SECONDS
        while self.zombies:
            self._turn(list(self.zombies))
            for zombie in self.zombies:
                # Not taken over after all: it slept before it had the lock, and has got it now.
                if not self.scenario.is_bounded and self.clock.seconds > late and zombie.supervisor is not None:
                    zombie.supervisor.stop()
            if any(zombie.loop.steps > MOST_STEPS for zombie in self.zombies):
                raise SimulationStuck("a process that was taken over does not end")
        self.current = None

    def _jump(self, alive: list[Process]) -> None:
        times = [one for one in (*(one.loop.next_timer() for one in alive), self.network.next()) if one is not None]
        if not times:
            waiting = [task.get_name() for one in alive for task in one.loop.tasks if not task.done()]
            raise SimulationStuck(f"every task waits, and nothing can wake one: {waiting}")
        self.clock.seconds = max(self.clock.seconds, min(times))

    async def _main(self, process: Process, takes_over: bool) -> Outcome:
        one = self.scenario
        if self.faults is NO_FAULTS:
            one.settings |= {"checkpoint_timeout": CALM_TIMEOUT}
        number = process.number
        job = build(
            one, number, lambda spec: SimulatedSource(spec, self.line), lambda spec: SimulatedSink(spec, self.line)
        )
        plan = job.plan()
        storage = CheckpointStorage(self.root, job.name, self.disk)
        lock = JobLock(storage.folder, self.ports)
        starts = self.faults.starts
        begins = starts[number] if number < len(starts) else "latest"

        def make(is_first: bool) -> WatchedAttempt:
            wanted = self.forks.choose(storage, begins if is_first else "latest", self.random, number)
            options = AttemptOptions(
                self.root, wanted, take_over=takes_over and is_first, accept_lost_output=self.accepts_losses
            )
            return WatchedAttempt(job.name, plan, options, lock, self.ports, self.said.append, notice=process.notice)

        process.supervisor = Supervisor(make, plan.config.restart, self.clock, self.ports.randomness)
        try:
            return await process.supervisor.run()
        finally:
            lock.release()

    # --- checking -----------------------------------------------------------------------------------------------

    def _check_finished(self) -> None:
        """A finished job that is started again says so and changes nothing."""
        if self.happened["take-over"]:
            # One that slept before it had the lock may have begun the end anew from an older checkpoint.
            self._run_process(len(self.processes))
        before = {uid: list(values) for uid, values in self.outside.log.items()}
        outcome = self._run_process(len(self.processes))
        if outcome is None or outcome.state is not JobState.FINISHED or self.outside.log != before:
            raise WrongOutput(f"a finished job that was started again did not just say so: {outcome}")


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
