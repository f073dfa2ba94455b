"""Runs a Kafka scenario: real connector, simulated network and broker, process after process until the job is done.

As in `world`, every step, disk call and request is counted, and a process may die at one.  Or it only stands still
there: then another takes over, and the first wakes up behind its back.  The broker is a machine of its own: it lives
on, and restarts on its own account.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import FinalError, StateDirectoryError
from streamlet.ports import Ports
from streamlet.runtime.job.job_state import JobState
from streamlet.runtime.job.restoring import AttemptOptions
from streamlet.runtime.job.supervisor import Outcome, Supervisor
from streamlet.testing.disk import SimulatedDisk
from streamlet.testing.errors import EngineBroke, ProcessDied, SimulationStuck
from streamlet.testing.kafka import BrokerSettings, SimulatedBroker
from streamlet.testing.kafka.simulated import SimulatedKafka
from streamlet.testing.loop import SimulatedLoop, VirtualClock
from streamlet.testing.network import Weather
from streamlet.testing.ports import SimulatedProcesses, SimulatedThreads
from tests.simulation.forks import Forks
from tests.simulation.kafka_leftovers import check_topics, read_offsets
from tests.simulation.kafka_outside import KafkaOutside
from tests.simulation.kafka_process import CountingNetwork, Process
from tests.simulation.kafka_recovery import KafkaRecovery
from tests.simulation.kafka_scenario import KafkaScenario, build
from tests.simulation.oracle import JobFailed, WrongOutput
from tests.simulation.outside import Outside
from tests.simulation.surroundings import surrounded
from tests.simulation.watched import WatchedAttempt

MOST_PROCESSES = 12
MOST_STEPS = 400_000
MOST_SECONDS = 120.0
LOOK_SECONDS = 0.1
CALM = Weather(latency_seconds=0.002)


class KafkaWorld:
    """One run of one scenario."""

    def __init__(self, one: KafkaScenario, root: Path) -> None:
        self.scenario = one
        self.root = root
        self.current: Process | None = None
        self.clock = VirtualClock()
        self.random = random.Random(one.seed ^ 0x5EED)
        self.network = CountingNetwork(self.clock, self.random, one.weather)
        self.network.count = self._count_request
        settings = BrokerSettings(marker_delay_ms=one.marker_delay_ms, sweep_interval_ms=500)
        broker = SimulatedBroker(settings, random.Random(one.seed))
        self.kafka = SimulatedKafka(
            broker, self.network, self.clock, self.random, policy=one.broker_policy, nodes=one.nodes
        )
        self.outside = KafkaOutside(
            one, self.kafka, self.clock, self.random, lambda: read_offsets(self.root, self.disk)
        )
        self.disk = SimulatedDisk(root, self)
        self.ports = Ports(
            self.clock, random.Random(one.seed), self.disk, SimulatedThreads(), SimulatedProcesses(self.disk)
        )
        self.recovery = KafkaRecovery(self)
        self.forks = Forks(Outside(), Counter(), on_mark=self.recovery.marked)
        """What `surrounded` asks for: no start here goes on from an older checkpoint."""
        self.processes: list[Process] = []
        self.outcomes: list[str] = []
        self.said: list[str] = []
        self.engine_errors: list[BaseException] = []
        self.total = {"step": 0, "disk": 0, "request": 0, "marker": 0}
        self.crashes = 0
        self.zombies = 0
        self.restarts = 0
        self.disk_failures = 0
        self.is_calm = False
        self._largest = -1

    # --- counting, dying, standing still ------------------------------------------------------------------------

    @property
    def largest_id(self) -> int:
        """A process that sleeps and wakes may reserve any id: what counts is that it decides nothing."""
        return -1 if self.zombies else self._largest

    @largest_id.setter
    def largest_id(self, value: int) -> None:
        self._largest = value

    def chance(self, name: str) -> bool:
        return False  # messages inside of the job are not repeated here

    def before(self, call: str, path: str) -> None:
        """As the disk's watcher."""
        if call == "read":
            return
        self.count("disk")
        if "marker-" in path or "manifest" in path or "/chk-" in path:
            self.count("marker")
        fails = 0.0 if self.is_calm else self.scenario.disk_fails
        if fails and call not in ("unlink", "rmdir") and self.random.random() < fails:
            self.disk_failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def _count_request(self, loop: SimulatedLoop) -> None:
        if self.current is not None and self.current.loop is loop:
            self.count("request")

    def count(self, kind: str) -> None:
        """Counts something that happens; a process that is dead, or dies here, gets `ProcessDied`."""
        process = self.current
        if process is None:
            return
        if process.is_dead:
            raise ProcessDied
        process.counts[kind] += 1
        self.total[kind] += 1
        if process.dies_at is None or process.dies_at[0] != kind or process.counts[kind] < process.dies_at[1]:
            return
        process.dies_at = None
        if process.sleeps:
            process.wakes_at = float("inf")
        else:
            process.is_dead = True
            raise ProcessDied

    @property
    def taken_over(self) -> int:
        return 0  # inside of a call: here a process falls asleep between two steps only

    def happened(self) -> dict[str, int]:
        """Kind of trouble -> how often it happened."""
        return {
            "crash": self.crashes,
            "zombie": self.zombies,
            "restart": self.restarts,
            "cut connection": self.network.cuts,
            **self.outside.happened,
            "disk failure": self.disk_failures,
            "going back": sum("going back" in text for text in self.said),
            "calm": int(self.recovery.survivor is not None),
        }

    # --- running ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Runs the scenario to its end and checks everything."""
        self.outside.begin()
        self.recovery.plan()
        with surrounded(self):
            try:
                self._run_processes()
                self._let_late_things_happen()
                check_topics(self.scenario, self.kafka, self.outside)
                self._check_finished()
            finally:
                for process in list(self.processes):
                    self._bury(process)
                with self._as(None):
                    self.kafka.loop.bury()
                    self.network.bury(self.kafka.loop)

    def _run_processes(self) -> None:
        one = self.scenario
        for number in range(MOST_PROCESSES):
            dies_at = one.crashes[number] if number < len(one.crashes) else None
            if number >= max(len(one.crashes), one.calms_at is not None):
                self.calm_down()
            process = self._start(number, dies_at, sleeps=number in one.sleepers)
            self._drive(process)
            if process.is_asleep:
                self.zombies += 1
                self.outcomes.append("asleep")
                continue
            if process.is_dead:
                self._crash()
                self.outcomes.append("died")
            else:
                outcome = self._end(process)
                self.outcomes.append(outcome.state.value)
                if self._is_done(outcome):
                    return
            self._pass(one.downtime_seconds)
        raise SimulationStuck(f"not finished after {MOST_PROCESSES} processes: {self.outcomes}")

    def calm_down(self) -> None:
        """From here on nothing goes wrong any more, and the job must come to its end."""
        self.is_calm = True
        self.network.weather = CALM
        self.outside.calm_down()
        if self.scenario.timeout_seconds > 10:
            self.scenario.settings["checkpoint_timeout"] = timedelta(seconds=10)

    def _is_done(self, outcome: Outcome) -> bool:
        if outcome.state is JobState.FAILED:
            final = isinstance(outcome.error, FinalError)
            if final and self.scenario.may_stop:
                return True
            if final and isinstance(outcome.error, StateDirectoryError) and self.disk_failures:
                return False
            # A job that fails while it stops does not try again: what goes wrong late is left to the next start.
            stops_late = self.recovery.survivor is not None and self.outside.is_complete()
            if final or (self.is_calm and not stops_late):
                raise JobFailed(f"the job gave up: {outcome.error!r}") from outcome.error
            return False
        if outcome.state is JobState.FINISHED:
            return True
        return self.outside.is_complete()

    def _start(self, number: int, dies_at: tuple[str, int] | None, *, sleeps: bool) -> Process:
        loop = SimulatedLoop(self.clock, self.random, self.scenario.policy)
        loop.network = self.network
        process = Process(number, loop, dies_at, sleeps=sleeps)
        takes_over = any(other.is_asleep for other in self.processes)
        for other in self.processes:
            if other.is_asleep:
                naps = self.scenario.naps
                other.wakes_at = self.clock.seconds + naps[other.number % len(naps)]
        self.processes.append(process)
        process.main = loop.create_task(self._main(process, takes_over))
        return process

    async def _main(self, process: Process, takes_over: bool) -> Outcome:
        one = self.scenario
        job = build(one, process.number, self.kafka.bootstrap)
        plan = job.plan()
        lock = JobLock(CheckpointStorage(self.root, job.name, self.disk).folder, self.ports)

        def notice(error: BaseException) -> None:
            if not process.is_dead:
                self.engine_errors.append(error)

        def make(is_first: bool) -> WatchedAttempt:
            options = AttemptOptions(self.root, take_over=takes_over and is_first)
            return WatchedAttempt(job.name, plan, options, lock, self.ports, self.said.append, notice=notice)

        supervisor = Supervisor(make, plan.config.restart, self.clock, self.ports.randomness)
        process.supervisors.append(supervisor)
        if not one.is_bounded:
            watch = asyncio.get_running_loop().create_task(self._stop_when_complete(process))
        try:
            return await supervisor.run()
        finally:
            if not one.is_bounded:
                watch.cancel()
                await asyncio.wait([watch])
            lock.release()

    async def _stop_when_complete(self, process: Process) -> None:
        """A job that reads for ever is stopped when everything is there."""
        while not self.outside.is_complete():  # noqa: ASYNC110 - the broker is a machine of its own
            await asyncio.sleep(LOOK_SECONDS)
        process.stop()

    def _drive(self, process: Process) -> None:
        """Runs everything until that process has ended, has died or stands still."""
        deadline = self.clock.seconds + MOST_SECONDS
        self._run_until(lambda: process.main.done() or process.is_dead or process.is_asleep, deadline, process)

    def _run_until(self, is_over: Callable[[], bool], deadline: float, of: Process | None = None) -> None:
        steps = 0
        while not is_over():
            steps += 1
            if steps > MOST_STEPS or self.clock.seconds > deadline:
                if of is None:
                    return
                raise SimulationStuck(f"process {of.number} is not done after {steps} steps: {of.left()[:20]}")
            self.recovery.check(of)
            self._step(deadline)

    def _step(self, limit: float) -> None:
        """One step of one loop, or time moves on, to just behind the limit at most."""
        self.network.happen()
        self.outside.happen()
        awake = [process for process in self.processes if self.is_running(process)]
        turns = self.random.randrange(len(awake) + 1)
        candidates: list[Process | None] = [*awake, None]
        for turn in range(len(candidates)):
            process = candidates[(turns + turn) % len(candidates)]
            if self._step_of(process):
                return
        self._jump(awake, limit)

    def is_running(self, process: Process) -> bool:
        if process.is_asleep and process.wakes_at is not None and process.wakes_at <= self.clock.seconds:
            process.wakes_at = None
        return not (process.is_dead or process.is_asleep or process.main.done())

    def _step_of(self, process: Process | None) -> bool:
        """Steps a process, or the broker."""
        with self._as(process):
            if process is None:
                return self.kafka.loop.step()
            try:
                if process.loop.step():
                    self.count("step")
                    return True
            except ProcessDied:
                return True
            return False

    def _jump(self, awake: list[Process], limit: float) -> None:
        loops = [self.kafka.loop, *(process.loop for process in awake)]
        times = [loop.next_timer() for loop in loops]
        times += [self.network.next_event(), self.outside.next_event()]
        times += [process.wakes_at for process in self.processes if process.is_asleep]
        self.clock.seconds = max(self.clock.seconds, min([limit + 0.001, *(at for at in times if at is not None)]))

    @contextlib.contextmanager
    def _as(self, process: Process | None) -> Iterator[None]:
        before, self.current = self.current, process
        self.disk.owner = process
        try:
            yield
        finally:
            self.current = self.disk.owner = before

    def _pass(self, seconds: float) -> None:
        """Time in which no process of the job runs."""
        self._run_until(lambda: False, self.clock.seconds + seconds)

    # --- the ends of processes ----------------------------------------------------------------------------------

    def _end(self, process: Process) -> Outcome:
        # What was told to end may need a turn for it, but no time.
        until = self.clock.seconds + 0.01
        with self._as(process):
            while self.clock.seconds < until and process.loop.step():
                pass
        if process.left():
            raise WrongOutput(f"tasks are left when the process ends: {process.left()}")
        if process.loop.unhandled:
            raise WrongOutput(f"nobody handled {process.loop.unhandled[0]}")
        if self.engine_errors:
            raise EngineBroke(f"in the engine: {self.engine_errors[0]!r}") from self.engine_errors[0]
        self.restarts += process.supervisors[0].restarts if process.supervisors else 0
        try:
            outcome = process.main.result()
        except asyncio.CancelledError as error:
            raise EngineBroke("the supervisor was cancelled, by nobody") from error
        self._bury(process)
        return outcome

    def _crash(self) -> None:
        """A process died; those that sleep or woke up die with it, and so may the machine."""
        self.crashes += 1
        keeps = self.random.random() >= self.scenario.power
        for process in list(self.processes):
            self._bury(process)
        if not keeps:
            self._largest = -1
        self.disk.crash(self.random, keep_all=keeps)

    def _bury(self, process: Process) -> None:
        process.is_dead = True
        with self._as(process):
            process.loop.bury()
            self.network.bury(process.loop)
        self.processes.remove(process)

    def _let_late_things_happen(self) -> None:
        """Who sleeps wakes up and ends, and what is on its way arrives."""
        self.calm_down()
        everybody = list(self.processes)
        for process in everybody:
            if process.is_asleep:
                process.wakes_at = None
        for process in everybody:
            self._drive(process)
            if not process.is_dead:
                self._end(process)
        # A zombie that wakes before its first transaction may open one under its own id, which nobody fences any more.
        self._pass(self.scenario.timeout_seconds + 5.0)

    # --- checking -----------------------------------------------------------------------------------------------

    def _check_finished(self) -> None:
        """A job that is started once more changes nothing."""
        if not self.scenario.is_bounded:
            return
        before = {topic: self.outside.values(topic) for topic in self.scenario.sinks}
        process = self._start(len(self.scenario.crashes) + MOST_PROCESSES, None, sleeps=False)
        self._drive(process)
        outcome = self._end(process)
        if outcome.state is not JobState.FINISHED:
            raise WrongOutput(f"a finished job that was started again did not just say so: {outcome}")
        if before != {topic: self.outside.values(topic) for topic in self.scenario.sinks}:
            raise WrongOutput("a finished job that was started again wrote something")
