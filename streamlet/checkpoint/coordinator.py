"""The coordinator: decides when a checkpoint begins, when it is complete, and commits it. One per attempt.

```text
triggers:  reserve id -> Trigger to every source -> acknowledgements -> manifest durable (decided) --+
             ^        \\-> declined or timed out: abandoned, nothing is aborted                        |
             +-- interval, memory pressure, end of input, stop                                        v
commits:                                            commit all it lists -> marker -> Marked to all -> release
```

One checkpoint is pending at a time.  Commits run behind the decisions, in order, and may lag by two; then triggering
waits.  Completing and abandoning happen in one place, `_one_checkpoint`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from streamlet.checkpoint.facts import AttemptFacts, CheckpointFigures, CoordinatorSettings
from streamlet.checkpoint.manifest import Manifest, ManifestKind
from streamlet.checkpoint.messages import (
    Acknowledge,
    Busy,
    Decline,
    Ended,
    Marked,
    Opened,
    Pressed,
    Started,
    ToCoordinator,
    ToSubtask,
    Trigger,
)
from streamlet.checkpoint.patience import is_set_within, until_barriers_are_late
from streamlet.checkpoint.pending import CheckpointState, PendingCheckpoint, Verdict
from streamlet.checkpoint.settling import commit_ordered
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.clock import Clock
from streamlet.errors import CheckpointFailedError, OutputLostError, SinkError
from streamlet.outages import is_outage
from streamlet.ports import RunBlocking
from streamlet.sink import Committer
from streamlet.task_group import TaskGroup

log = logging.getLogger("streamlet.checkpoint")

_COMMITS_BEHIND = 2
_COMMIT_SECONDS = 1.0
_HELD_UP = "see what holds it: a slow function, or a sink that does not answer; checkpoint_timeout= gives more time"
_TELL_AGAIN_SECONDS = 30.0
"""A job whose checkpoints are always slow says so now and then, not at each of them."""


class Control(Protocol):
    """How the coordinator reaches the subtasks, and they it."""

    reports: asyncio.Queue[ToCoordinator]

    def tell(self, subtask: tuple[str, int], message: ToSubtask) -> None: ...


class Savepoints(Protocol):
    """Who wants some checkpoints kept elsewhere: asked between a marker and the release of what is older."""

    def marked(self, checkpoint_id: int) -> None:
        """Hears of a marked checkpoint, at once and without waiting."""
        ...

    def may_go(self, checkpoint_id: int) -> bool:
        """False while a checkpoint must stay."""
        ...


class CheckpointCoordinator:
    """Runs the checkpoints of one attempt until the job has finished or was stopped."""

    def __init__(
        self,
        facts: AttemptFacts,
        settings: CoordinatorSettings,
        storage: CheckpointStorage,
        committers: Mapping[str, Committer],
        control: Control,
        clock: Clock,
        run_blocking: RunBlocking,
        *,
        next_id: int,
        parent: int | None,
        savepoints: Savepoints | None = None,
    ) -> None:
        self.figures = CheckpointFigures()
        self._facts = facts
        self._settings = settings
        self._storage = storage
        self._committers = committers
        self._control = control
        self._clock = clock
        self._run_blocking = run_blocking
        self._next_id, self._parent = next_id, parent
        self._savepoints = savepoints
        self._pending: PendingCheckpoint | None = None
        self._answered = asyncio.Event()
        self._due = asyncio.Event()
        self._started = asyncio.Event()
        self._running = set(facts.subtasks)
        self._opening = set(facts.subtasks)
        self._is_pressed = self._is_stopping = False
        self._asked = asyncio.Event()
        self._decided: asyncio.Queue[tuple[PendingCheckpoint, Manifest]] = asyncio.Queue()
        self._committed_ids: set[str] = set()
        self._behind = self._failed_in_a_row = 0
        self._caught_up = asyncio.Event()
        self._disk = asyncio.Lock()
        self._last: asyncio.Event = asyncio.Event()
        self._last_good = self._tell_from = clock.monotonic()
        self._ending: ManifestKind = "stop"

    def stop(self) -> None:
        """Asks for a last checkpoint, after which `run` returns."""
        self._is_stopping = True
        self._asked.set()
        self._due.set()
        self._started.set()

    def ask_checkpoint(self) -> int:
        """Asks for one more checkpoint, soon; gives the least id that it can have."""
        self._is_pressed = True
        self._due.set()
        self._started.set()
        return self._next_id

    async def run(self) -> ManifestKind:
        """Runs until the last checkpoint is committed and marked, or does not come about in time; gives `final` or
        `stop`."""
        async with TaskGroup() as group:
            workers = [
                group.create_task(work(), name=f"coordinator-{work.__name__.strip('_')}")
                for work in (self._listen, self._trigger, self._commit, self._give_up)
            ]
            await self._last.wait()
            for worker in workers:
                worker.cancel()
        return self._ending

    async def _give_up(self) -> None:
        """Ends a stop whose barriers do not come through: nothing is lost, it goes on from the last complete one."""
        await self._asked.wait()
        late = await until_barriers_are_late(lambda: self._pending, self._clock)
        log.warning("the stop waits no longer, so it has no checkpoint of its own: %s", late.describe_missing())
        while self._behind:
            self._caught_up.clear()
            if not await is_set_within(_COMMIT_SECONDS, self._caught_up):
                break
        self._last.set()

    # --- listening ----------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            message = await self._control.reports.get()
            pending = self._pending
            if isinstance(message, Acknowledge):
                if pending is not None:
                    pending.acknowledge(message)
                    if pending.is_fully_acknowledged:
                        self._answered.set()
            elif isinstance(message, Decline):
                # One of an abandoned checkpoint may come late: it says nothing about the one that is pending now.
                if pending is not None and pending.decline(message) is Verdict.ACCEPTED:
                    self._answered.set()
            elif isinstance(message, Busy):
                if pending is not None:
                    pending.note(message)
            elif isinstance(message, Opened):
                self._opening.discard((message.task, message.subtask))
                self.figures.is_open = not self._opening
            elif isinstance(message, Started):
                self._started.set()
            elif isinstance(message, Pressed):
                self._is_pressed = True
                self._due.set()
            elif isinstance(message, Ended):
                self._running.discard((message.task, message.subtask))
                if not self._running:
                    self._started.set()
                    self._due.set()

    # --- deciding -----------------------------------------------------------------------------------------------

    async def _trigger(self) -> None:
        # The first one follows the first record, so that its output is soon seen; but timers and windows put out
        # without any record, and what they put out is to be committed too.
        await is_set_within(self._settings.interval_seconds, self._started)
        self._last_good = self._clock.monotonic()
        while True:
            while self._behind >= _COMMITS_BEHIND:
                await self._until_caught_up()
            kind: ManifestKind = "periodic"
            if not self._running:
                kind = "final"
            elif self._is_stopping:
                kind = "stop"
            began = self._clock.monotonic()
            self._due.clear()
            self._is_pressed = False
            done = await self._one_checkpoint(kind)
            if done and kind != "periodic":
                return
            await self._until_due(began + self._settings.interval_seconds)

    async def _until_due(self, at: float) -> None:
        """Waits for the interval; the end of the input, a stop, or memory pressure cut it short."""
        if (not self._running or self._is_stopping or self._is_pressed) and not self._failed_in_a_row:
            return
        seconds = at - self._clock.monotonic()
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._due.wait()
            except TimeoutError:
                pass

    async def _one_checkpoint(self, kind: ManifestKind) -> bool:
        """Makes one checkpoint; False when it was abandoned."""
        checkpoint_id, self._next_id = self._next_id, self._next_id + 1
        began = self._clock.monotonic()
        pending = PendingCheckpoint(checkpoint_id, self._facts.attempt, self._facts.subtasks)
        self._answered.clear()
        try:
            await self._on_disk(self._storage.reserve, checkpoint_id)
            self._pending = pending
            for source in self._facts.sources:
                self._control.tell(source, Trigger(checkpoint_id, is_last=kind != "periodic"))
            await self._until_answered(pending)
            self._pending = None
            if pending.reason is not None:
                abandoned = CheckpointFailedError(f"checkpoint {checkpoint_id} was abandoned: {pending.reason}")
                abandoned.is_outage = pending.is_outage
                raise abandoned
            manifest = pending.manifest(
                job=self._facts.job,
                kind=kind,
                parent=self._parent,
                created_ms=self._clock.now_ms(),
                key_groups=self._facts.key_groups,
                parallelism=self._facts.parallelism,
                states=self._facts.states,
                restored_from=self._facts.restored_from,
                instance=self._facts.instance,
            )
            deciding = self._clock.monotonic()
            await self._on_disk(self._storage.write_manifest, manifest)
            self.figures.phases["manifest"] = self._clock.monotonic() - deciding
            pending.transition_to(CheckpointState.COMPLETED)
        except CheckpointFailedError as error:
            pending.abandon(error.message)
            self._failed(error)
            return False
        self._complete(pending, manifest, began)
        return True

    async def _until_answered(self, pending: PendingCheckpoint) -> None:
        """Waits for every subtask; says who is slow after three intervals, and abandons after the time-out."""
        patience = self._settings.patience_seconds
        if await is_set_within(patience, self._answered):
            return
        self._tell(f"checkpoint {pending.checkpoint_id} has waited {patience:.1f} s for {pending.describe_missing()}")
        if not await is_set_within(self._settings.timeout_seconds - patience, self._answered):
            pending.time_out()

    async def _until_caught_up(self) -> None:
        """Waits for a commit, as long as a job may go without a complete checkpoint."""
        self._caught_up.clear()
        patience = self._settings.patience_seconds
        if await is_set_within(patience, self._caught_up):
            return
        waiting = f"{self._behind} complete checkpoints wait for their output to be committed, for"
        self._tell(f"{waiting} {patience:.1f} s")
        left = self._last_good + self._settings.stalled_seconds - self._clock.monotonic()
        if not await is_set_within(left, self._caught_up):
            raise CheckpointFailedError(
                f"{waiting} {self._clock.monotonic() - self._last_good:.1f} s, and no other may begin before",
                remedy="see what the sinks' system does; nothing is lost, a restart commits it",
            )

    def _tell(self, trouble: str) -> None:
        self.figures.trouble = trouble
        now = self._clock.monotonic()
        if now >= self._tell_from:
            self._tell_from = now + _TELL_AGAIN_SECONDS
            log.warning("%s", trouble)

    def _failed(self, error: CheckpointFailedError) -> None:
        """An abandoned checkpoint aborts nothing: what it prepared stays listed, its state goes into the next."""
        self._failed_in_a_row += 1
        self.figures.failed += 1
        self.figures.trouble = error.message
        stalled = self._clock.monotonic() - self._last_good
        if stalled >= self._settings.stalled_seconds:
            stalled_error = CheckpointFailedError(
                f"no checkpoint was completed for {stalled:.1f} s, {self._failed_in_a_row} in a row were abandoned; "
                f"the last: {error.message}",
                remedy=error.remedy or _HELD_UP,
            )
            stalled_error.is_outage = is_outage(error)
            raise stalled_error from error
        if not self._failed_in_a_row & (self._failed_in_a_row - 1):  # the 1st, 2nd, 4th ...: a full disk is no flood
            log.warning("%s (%d in a row)", error, self._failed_in_a_row)

    def _complete(self, pending: PendingCheckpoint, manifest: Manifest, began: float) -> None:
        now = self._clock.monotonic()
        figures = self.figures
        figures.completed += 1
        figures.last_id, figures.last_completed_at = manifest.checkpoint_id, now
        figures.last_completed_ms = self._clock.now_ms()
        figures.last_duration_seconds = now - began
        figures.sizes = manifest.sizes()
        figures.positions = manifest.positions
        figures.trouble = ""
        if self._failed_in_a_row:
            log.warning("checkpoint %d is complete, after %d abandoned", manifest.checkpoint_id, self._failed_in_a_row)
        self._failed_in_a_row = 0
        self._last_good = now
        self._parent = manifest.checkpoint_id
        self._behind += 1
        if manifest.kind != "periodic":
            self._ending = manifest.kind
        self._decided.put_nowait((pending, manifest))

    # --- committing ---------------------------------------------------------------------------------------------

    async def _commit(self) -> None:
        while True:
            checkpoint, manifest = await self._decided.get()
            listed = [one for one in manifest.committables if one.committable.id not in self._committed_ids]
            began = self._clock.monotonic()
            try:
                await commit_ordered(listed, self._committers, sleep=asyncio.sleep, clock=self._clock)
            except OutputLostError as error:
                # Not final yet: settling sees all outcomes at once, and may go back without losing or doubling any.
                raise SinkError(
                    f"checkpoint {manifest.checkpoint_id} is not committed in full: {error.message}"
                ) from error
            await self._on_disk(self._storage.write_marker, manifest.checkpoint_id)
            self.figures.phases["commit"] = self._clock.monotonic() - began
            checkpoint.transition_to(CheckpointState.COMMITTED)
            self._committed_ids = {one.committable.id for one in manifest.committables}
            self.figures.last_committed_id = manifest.checkpoint_id
            self.figures.records_committed += sum(one.committable.records for one in listed)
            for subtask in self._facts.subtasks:
                self._control.tell(subtask, Marked(manifest.checkpoint_id))
            if self._savepoints is not None:
                self._savepoints.marked(manifest.checkpoint_id)
            await self._release()
            self._behind -= 1
            self._caught_up.set()
            if manifest.kind in ("final", "stop"):
                self._last.set()

    async def _release(self) -> None:
        may_go = None if self._savepoints is None else self._savepoints.may_go
        try:
            await self._on_disk(partial(self._storage.release, retain=self._settings.retain, may_go=may_go))
        except CheckpointFailedError as error:
            log.warning("older checkpoints stay: %s", error)

    async def _on_disk(self, call: Callable[..., Any], *args: Any) -> Any:
        """One thread at a time changes what is on disk."""
        async with self._disk:
            return await self._run_blocking(call, *args)
