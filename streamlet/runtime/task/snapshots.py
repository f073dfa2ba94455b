"""What happens behind a barrier in one subtask: pack, write, acknowledge, fold, and keep memory in its bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.messages import Acknowledge, Busy, Decline, SubtaskReport
from streamlet.clock import Clock
from streamlet.elements import Position
from streamlet.errors import CheckpointError, CheckpointFailedError, DiskFailedError, DiskFullError
from streamlet.outages import is_outage
from streamlet.ports import Processes, Workers
from streamlet.runtime.task.control import LocalControl
from streamlet.runtime.task.pressure import MemoryPressure
from streamlet.runtime.task.stopwatch import PhaseTimes
from streamlet.state.backends import folding
from streamlet.state.store import FoldJob, KeyedStore
from streamlet.task_group import TaskGroup

log = logging.getLogger("streamlet.runtime")

_SLICE_SECONDS = 0.001
"""Longest piece of packing or eviction between two batches."""
_LOOK_BATCHES = 16
"""Memory is estimated anew every so many batches; in between it is counted."""


class SubtaskSnapshots:
    """The stores of one subtask, and their part in checkpoints. One snapshot is written at a time."""

    def __init__(
        self,
        task: str,
        subtask: int,
        source_uid: str | None,
        attempt: int,
        stores: Iterable[KeyedStore],
        control: LocalControl,
        workers: Workers,
        processes: Processes,
        pressure: MemoryPressure,
        clock: Clock,
    ) -> None:
        self.group: TaskGroup
        self.phases = PhaseTimes(clock)
        self.stores = list(stores)
        self._task = task
        self._subtask = subtask
        self._source_uid = source_uid
        self._attempt = attempt
        self._control = control
        self._workers = workers
        self._processes = processes
        self._writing = asyncio.Lock()
        self._fold: asyncio.Task[None] | None = None
        self._pressure = pressure
        self._batches = 0
        self._has_asked = False

    def freeze(self, checkpoint_id: int) -> None:
        """Fixes what the checkpoint sees; takes microseconds, or milliseconds where a state is written anew."""
        for store in self.stores:
            store.freeze(checkpoint_id)

    def busy(self, checkpoint_id: int, doing: str) -> None:
        """Tells what is being done for a checkpoint."""
        self._control.report(Busy(checkpoint_id, self._task, self._subtask, doing))

    def finish(
        self,
        checkpoint_id: int,
        positions: dict[str, Position],
        listed: list[ListedCommittable],
        operators: dict[str, Any],
        *,
        has_ended: bool,
    ) -> None:
        """Writes the frozen state behind the barrier, then acknowledges, or declines if it cannot be written."""
        self.group.create_task(
            self._finish(checkpoint_id, positions, listed, operators, has_ended),
            name=f"{self._task}-{self._subtask}-snapshot",
        )

    async def _finish(
        self,
        checkpoint_id: int,
        positions: dict[str, Position],
        listed: list[ListedCommittable],
        operators: dict[str, Any],
        had_ended: bool,
    ) -> None:
        if self._writing.locked():
            self.busy(checkpoint_id, "still writing the state of an earlier one")
        async with self._writing:
            try:
                for store in self.stores:
                    self.phases.begin(checkpoint_id, "pack")
                    self.busy(checkpoint_id, "packing state")
                    while not store.pack(_SLICE_SECONDS):  # noqa: ASYNC110 - a turn for the batches, not a wait
                        await asyncio.sleep(0)
                    self.phases.begin(checkpoint_id, "write")
                    self.busy(checkpoint_id, "writing state")
                    await self._workers.run_blocking(store.write_log)
                stores = [store.snapshot(checkpoint_id) for store in self.stores]
            except (OSError, CheckpointFailedError, DiskFullError) as error:
                self._decline(checkpoint_id, error)
                return
        self.phases.begin(checkpoint_id, "")
        report = SubtaskReport(
            task=self._task,
            subtask=self._subtask,
            stores=stores,
            positions={self._source_uid: positions} if self._source_uid is not None else {},
            committables=listed,
            operators=operators,
            finished=had_ended,
        )
        self._control.report(Acknowledge(self._attempt, checkpoint_id, report))
        if self._fold is None or self._fold.done():
            self._fold = self.group.create_task(self._fold_due(), name=f"{self._task}-{self._subtask}-fold")

    def _decline(self, checkpoint_id: int, error: Exception) -> None:
        reason = f"state of {self._task}[{self._subtask}] cannot be written: {error}"
        self._control.report(Decline(self._attempt, checkpoint_id, self._task, self._subtask, reason, is_outage(error)))
        self._has_asked = False

    async def _fold_due(self) -> None:
        """Folds for as long as something is due: logs may have been closed while the fold before was at work."""
        for store in self.stores:
            try:
                while (store.fold_due() or store.needs_fold_to_evict()) and await self._fold_one(store):
                    await self._make_room(store)
            except (OSError, CheckpointFailedError, DiskFullError) as error:
                log.warning("state of %s[%d] stays in its logs: %s", self._task, self._subtask, error)
            except CheckpointError as error:
                # What later checkpoints would name cannot be read. A restart reads it all, and falls back where it may.
                raise DiskFailedError(
                    f"state of {self._task}[{self._subtask}] cannot be folded: {error.message}",
                    remedy="check the disk; the attempt ends, and the restart looks at what is there",
                ) from error
        self._has_asked = False
        await self._relieve()

    async def _fold_one(self, store: KeyedStore) -> bool:
        """False when there is nothing to fold."""
        job = store.begin_fold()
        if job is None:
            return False
        try:
            if job.arguments:
                await self._fold_apart(job)
            await self._workers.run_blocking(store.finish_fold, job)
        except BaseException:
            store.abandon_fold(job)
            raise
        store.adopt_fold(job)
        return True

    async def _fold_apart(self, job: FoldJob) -> None:
        """Runs the fold's work in a process of its own: it costs this one nothing but its start."""
        what = f"folding the state of {self._task}[{self._subtask}]"
        child = self._processes.python(folding.MODULE, job.arguments, what)
        try:
            # Folds may take long, and logs must not wait behind them for a thread.
            await self._workers.run_apart(child.run)
        except asyncio.CancelledError:
            child.kill()
            raise

    async def mind_memory(self) -> None:
        """Called after each batch: memory is under its bound when it returns, or sources are held until it is."""
        self._batches += 1
        is_looking = not self._batches % _LOOK_BATCHES
        for store in self.stores:
            if is_looking:
                store.memory_bytes()
            if not store.is_at_rest:
                await self._make_room(store)
                if store.needs_fold_to_evict():
                    self._pressure.press(self)
                    continue
            if is_looking and not self._has_asked and store.wants_checkpoint():
                # Early, so that the fold is done before memory is full.
                self._has_asked = True
                self._pressure.ask()

    async def _make_room(self, store: KeyedStore) -> None:
        while store.can_evict():
            store.evict(_SLICE_SECONDS)
            await asyncio.sleep(0)

    async def _relieve(self) -> None:
        for store in self.stores:
            await self._make_room(store)
        if not any(store.needs_fold_to_evict() for store in self.stores):
            self._pressure.relieve(self)
        elif self._pressure.is_on:
            self._pressure.ask()
