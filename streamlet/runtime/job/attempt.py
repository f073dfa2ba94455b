"""One attempt: from taking the job to its end or its failure.

```text
lock -> new attempt (shuts older ones out) -> choose a checkpoint, verify it -> fence, settle, marker
     -> fence the rest -> start checkpoint where needed -> open state -> run -> close everything
```
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from streamlet.checkpoint.coordinator import CheckpointCoordinator
from streamlet.checkpoint.facts import AttemptFacts, CheckpointFigures, CoordinatorSettings
from streamlet.checkpoint.lock import JobInstance, JobLock
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.crash_points import fault_point
from streamlet.errors import AttemptSupersededError
from streamlet.graph.plan import ExecutionPlan
from streamlet.observe.facts import WorkFacts
from streamlet.operators.user_code.place import connector_at
from streamlet.outages import Outages
from streamlet.ports import Ports, Workers
from streamlet.runtime.job.assembly import Splits, specs_of
from streamlet.runtime.job.discovery import discover_on, new_input
from streamlet.runtime.job.foreseen import findings_of, lines_of
from streamlet.runtime.job.hosting import HostMaker, LocalHost
from streamlet.runtime.job.renaming import former_sinks, under_present_names
from streamlet.runtime.job.restored import check_fits, number_states
from streamlet.runtime.job.restoring import AttemptOptions, Restorer, wanted_checkpoint
from streamlet.runtime.job.savepoints import SavepointDesk
from streamlet.runtime.job.surroundings import Surroundings
from streamlet.sink import Committer
from streamlet.task_group import TaskGroup

log = logging.getLogger("streamlet.runtime")

_LOCK_CHECK_SECONDS = 1.0


class Ending(enum.Enum):
    """How an attempt ended when it did not fail."""

    FINISHED = "finished"
    STOPPED = "stopped"


class Attempt:
    """Runs the job once. A new one is made for each restart; the lock is passed on from one to the next."""

    def __init__(
        self,
        name: str,
        plan: ExecutionPlan,
        options: AttemptOptions,
        lock: JobLock,
        ports: Ports,
        say: Callable[[str], None],
        outages: Outages | None = None,
        make_host: HostMaker = LocalHost,
        savepoints: SavepointDesk | None = None,
        on_locked: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._plan = plan
        self._config = plan.config
        self._options = options
        self._lock = lock
        self._ports = ports
        self._clock = ports.clock
        self._say = say
        self._outages = outages or Outages(ports.clock)
        self._storage = CheckpointStorage(options.state_dir, name, ports.disk)
        self._coordinator: CheckpointCoordinator | None = None
        self._host = make_host(plan)
        self._savepoints = savepoints
        self._on_locked = on_locked
        self._committers: dict[str, Committer] = {}
        self._former: dict[str, Committer] = {}
        self._is_stopping = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._running_since: float | None = None
        self._restored: int | None = None

    # --- what others ask ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Asks for a last checkpoint and the end. May be asked again."""
        self._host.stopping()
        if self._coordinator is not None:
            self._coordinator.stop()
        elif self._task is not None and not self._is_stopping:
            # Nothing runs yet; restoring may be cut off anywhere, as by a crash.
            self._cancelled_before = self._task.cancelling()
            self._task.cancel()
        self._is_stopping = True

    def healthy_seconds(self) -> float:
        """How long it ran with checkpoints completing; 0 when none ever did."""
        figures = self.figures()
        if self._running_since is None or figures is None or figures.last_completed_at is None:
            return 0.0
        return figures.last_completed_at - self._running_since

    def has_opened(self) -> bool:
        """True once everything outside has answered: positions were found, output was settled, every writer is open."""
        figures = self.figures()
        return figures is not None and figures.is_open

    def figures(self) -> CheckpointFigures | None:
        """Facts about the checkpoints of this attempt."""
        return self._coordinator.figures if self._coordinator is not None else None

    def work(self) -> WorkFacts:
        """Facts about the subtasks of this attempt."""
        return self._host.facts()

    @property
    def restored(self) -> int | None:
        """The checkpoint that it went on from."""
        return self._restored

    def last_checkpoint(self) -> int | None:
        """The newest complete checkpoint that is there."""
        figures = self.figures()
        if figures is not None and figures.last_id is not None:
            return figures.last_id
        if self._restored is not None:
            return self._restored
        return max((info.id for info in self._storage.checkpoints()), default=None)  # a start that was refused

    # --- the attempt --------------------------------------------------------------------------------------------

    async def run(self, on_running: Callable[[], None]) -> Ending:
        """Runs to the end of the input or a stop; raises what made it fail. Nothing is left running after it."""
        workers = self._ports.threads.workers()
        task = self._task = asyncio.current_task()
        assert task is not None, "an attempt runs in a task"
        # Not always 0, and `stop` looks anew: a task group of a connector's own that has failed, while this attempt
        # restores or in an earlier one, may have left one behind (see `streamlet.task_group`).
        self._cancelled_before = task.cancelling()
        try:
            if self._is_stopping:
                return Ending.STOPPED
            return await self._run(workers, on_running)
        except asyncio.CancelledError:
            if self._is_stopping and task.uncancel() <= self._cancelled_before:
                return Ending.STOPPED
            raise
        finally:
            # From here on a stop must not cut off whoever goes on in this task after the attempt.
            self._task = None
            await self._close()
            if self._savepoints is not None:
                await self._savepoints.closed()
            await workers.close()

    async def _run(self, workers: Workers, on_running: Callable[[], None]) -> Ending:
        if self._lock.is_lost:
            raise self._superseded()
        if not self._lock.still_mine():
            await workers.run_blocking(self._foresee)
            self._lock.acquire(take_over=self._options.take_over)
        self._on_locked()
        self._host.start()
        number = await workers.run_blocking(self._storage.begin_attempt, self._lock.still_mine)
        instance = JobInstance(self._storage.folder, self._ports.disk, self._ports.randomness, self._storage.running())
        around = Surroundings(
            self._name,
            instance.instance,
            number,
            self._storage.attempt,
            self._host.control,
            self._ports,
            workers,
            self._outages,
            unfenced=instance.unfenced(number),
        )
        for uid, (task, node) in self._plan.sinks.items():
            with connector_at(node.place):
                committer = node.made.committer(around.sink_context(self._plan, uid, -1, task.parallelism, False))  # type: ignore[union-attr]
            if committer is not None:
                self._committers[uid] = committer
        former = self._former_committers(around)
        restorer = Restorer(self._plan, self._options, around, self._storage, {**former, **self._committers}, self._say)
        restored = await restorer.recover(instance)
        if restored is not None and restored.manifest is not None:
            names = under_present_names(self._plan, restored.manifest)
            restored = msgspec.structs.replace(restored, manifest=names)
        self._restored = restored.id if restored is not None else None
        if restored is not None and restored.manifest is not None and restored.manifest.kind == "final":
            self._say(f"{self._name}: finished before, in checkpoint {restored.id}; nothing to do")
            for text in await new_input(self._plan, restored.manifest.positions):
                self._say(f"{self._name}: warning: {text}")
            return Ending.FINISHED
        return await self._from(restored, restorer, around, on_running)

    def _former_committers(self, around: Surroundings) -> dict[str, Committer]:
        """What settles the output that renamed sinks prepared under their former names."""
        found: dict[str, Committer] = {}
        for uid, node in former_sinks(self._plan).items():
            context = around.sink_context(self._plan, uid, -1, self._plan.parallelisms[node.uid], False)
            committer = node.made.committer(context)  # type: ignore[union-attr]
            if committer is not None:
                found[uid] = self._former[uid] = committer
        return found

    def _foresee(self) -> None:
        """Refuses a checkpoint that does not fit the job before anything is written, and says what goes on otherwise
        than it was."""
        info = wanted_checkpoint(self._storage, self._options.from_checkpoint)
        if info is None or info.manifest is None:
            return
        check_fits(self._plan, under_present_names(self._plan, info.manifest))
        changed = [one for one in findings_of(self._plan, info.manifest, is_settled=True) if one.verdict != "kept"]
        for line in lines_of(changed):
            self._say(f"{self._name}: {line}")

    async def _from(
        self,
        restored: CheckpointInfo | None,
        restorer: Restorer,
        around: Surroundings,
        on_running: Callable[[], None],
    ) -> Ending:
        manifest = restored.manifest if restored is not None else None
        states = number_states(self._plan, manifest)
        if manifest is not None:
            check_fits(self._plan, manifest)
        positions, parent = await restorer.begin(restored, specs_of(states))
        self._restored = parent if parent is not None else self._restored
        await self._host.build(around, manifest, positions)
        fault_point("during_restore")
        self._say_where_from(restored)
        self._coordinator = self._make_coordinator(around, specs_of(states), parent, restored)
        if self._savepoints is not None:
            self._savepoints.opened(self._coordinator, around.workers)
        on_running()
        self._running_since = self._clock.monotonic()
        return await self._together(positions, around, self._coordinator)

    async def _together(self, positions: Splits, around: Surroundings, coordinator: CheckpointCoordinator) -> Ending:
        """Runs all tasks in one group: whichever fails ends them all."""
        async with TaskGroup() as group:
            tasks = [
                group.create_task(self._host.run(), name="subtasks"),
                group.create_task(self._watch_lock(), name="lock"),
            ]
            tasks.extend(
                group.create_task(work, name="discovery") for work in discover_on(self._plan, positions, around.control)
            )
            kind = await group.create_task(coordinator.run(), name="coordinator")
            for task in tasks:
                task.cancel()
        return Ending.FINISHED if kind == "final" else Ending.STOPPED

    async def _watch_lock(self) -> None:
        while True:
            await asyncio.sleep(_LOCK_CHECK_SECONDS)
            if not self._lock.still_mine():
                raise self._superseded()

    def _superseded(self) -> AttemptSupersededError:
        return AttemptSupersededError(
            f"job {self._name} was taken over by another process; this one has made nothing visible since",
            remedy="nothing to do here: the other process goes on from the last checkpoint",
        )

    async def _close(self) -> None:
        for committer in (*self._committers.values(), *self._former.values()):
            with contextlib.suppress(Exception):
                await committer.close()
        await self._host.close()

    def _make_coordinator(
        self,
        around: Surroundings,
        states: list[Any],
        parent: int | None,
        restored: CheckpointInfo | None,
    ) -> CheckpointCoordinator:
        config = self._config
        facts = AttemptFacts(
            job=self._name,
            attempt=around.attempt,
            key_groups=config.key_groups,
            parallelism=self._plan.parallelisms,
            states=states,
            subtasks=[(task.name, one) for task in self._plan.tasks for one in range(task.parallelism)],
            sources=[(task.name, one) for task, _ in self._plan.sources.values() for one in range(task.parallelism)],
            restored_from="nothing" if restored is None else f"checkpoint {restored.id}",
            instance=around.instance,
        )
        settings = CoordinatorSettings(
            config.checkpoint_interval.total_seconds(),
            config.checkpoint_timeout.total_seconds(),
            config.stalled_intervals,
            config.retain,
        )
        return CheckpointCoordinator(
            facts,
            settings,
            self._storage,
            self._committers,
            around.control,
            self._clock,
            around.workers.run_blocking,
            next_id=self._storage.next_checkpoint_id(),
            parent=parent,
            savepoints=self._savepoints,
        )

    def _say_where_from(self, restored: CheckpointInfo | None) -> None:
        if restored is None or restored.manifest is None:
            self._say(f"{self._name}: a new start; checkpoints go to {self._storage.folder}")
            return
        age = max(0, self._clock.now_ms() - restored.manifest.created_ms) / 1000
        splits = sum(len(one) for one in restored.manifest.positions.values())
        size = restored.files_bytes / (1 << 20)
        self._say(
            f"{self._name}: restored checkpoint {restored.id} of {age:.1f} s ago"
            f" ({splits} splits, {size:.1f} MB of state) from {restored.path}"
        )


AttemptMaker = Callable[[bool], Attempt]
"""Makes the next attempt; True as long as none has begun to run, for what was asked for the start of this process
only."""
