"""What a start goes through before anything runs: choose, verify, fence, settle, mark, pin where it begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamlet.checkpoint.lock import JobInstance
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.recovery import JobFacts, RecoveryPlan, Request, plan_start
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.settling import settle
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.clock import Clock
from streamlet.crash_points import fault_point
from streamlet.elements import Position
from streamlet.errors import CheckpointError, ConfigError
from streamlet.graph.plan import ExecutionPlan
from streamlet.operators.user_code.place import connector_at
from streamlet.ports import Disk
from streamlet.runtime.job.renaming import former_sinks
from streamlet.runtime.job.surroundings import Surroundings
from streamlet.sink import Committable, Committer
from streamlet.state.snapshot import StateSpec
from streamlet.task_group import TaskGroup


@dataclass(frozen=True)
class AttemptOptions:
    """Where, and from what."""

    state_dir: Path
    from_checkpoint: str = "latest"
    take_over: bool = False
    accept_lost_output: bool = False


def wanted_checkpoint(storage: CheckpointStorage, wanted: str) -> CheckpointInfo | None:
    """The checkpoint that a start is about to go on from, as far as can be seen without settling anything; None where
    it begins empty, or where only the start itself can tell."""
    if wanted == "none":
        return None
    infos = storage.checkpoints()
    if wanted == "latest":
        return infos[-1] if infos else None
    if wanted.isdecimal():
        return next((info for info in infos if str(info.id) == wanted), None)
    try:
        return storage.load(Path(wanted))
    except CheckpointError:
        return None


def request_of(storage: CheckpointStorage, disk: Disk, wanted: str) -> Request:
    """What was asked for on the command line; raises `ConfigError` for what is no checkpoint."""
    if wanted in ("latest", "none"):
        return "latest" if wanted == "latest" else "none"
    if wanted.isdecimal() and len(wanted) <= 18:
        return int(wanted)
    if not disk.is_folder(Path(wanted)):
        raise ConfigError(
            f"--from {wanted!r} is no checkpoint", remedy="give latest, none, an id, or the path of a checkpoint"
        )
    return storage.load(Path(wanted))


class Restorer:
    """Brings the outside and the state directory into order, and says what the attempt goes on from."""

    def __init__(
        self,
        plan: ExecutionPlan,
        options: AttemptOptions,
        around: Surroundings,
        storage: CheckpointStorage,
        committers: Mapping[str, Committer],
        say: Callable[[str], None],
    ) -> None:
        self._name = around.job
        self._plan = plan
        self._config = plan.config
        self._options = options
        self._around = around
        self._storage = storage
        self._committers = committers
        self._clock: Clock = around.ports.clock
        self._say = say
        self._needs_start = False
        self._highest: Mapping[str, int] = {}
        self._instance: JobInstance | None = None

    async def recover(self, instance: JobInstance) -> CheckpointInfo | None:
        """Chooses, settles and marks; gives the checkpoint to go on from. Everything older is shut out after it, or
        after `begin` when a start checkpoint is needed."""
        storage, run_blocking = self._storage, self._around.workers.run_blocking
        self._instance = instance
        plan: RecoveryPlan = await run_blocking(self._choose)
        await run_blocking(instance.record_parallelism, self._sink_parallelisms())
        highest = self._highest = instance.highest_parallelism()
        fault_point("before_settling")
        if plan.unsettled:
            await self._fence(plan, highest)
        settlement = await settle(
            plan,
            self._committers,
            sleep=asyncio.sleep,
            clock=self._clock,
            verify=lambda checkpoint_id: run_blocking(self._verify, storage.load(checkpoint_id)),
            warn=lambda text: self._say(f"{self._name}: warning: {text}"),
            accept_lost_output=self._options.accept_lost_output,
        )
        fault_point("after_settling")
        if settlement.needs_marker and settlement.restore_id is not None:
            await run_blocking(storage.write_marker, settlement.restore_id)
        self._needs_start = settlement.needs_start
        if not self._needs_start:
            await self._fence(None, self._highest)
        await run_blocking(storage.clean_orphans)
        if settlement.restore_id is not None:
            return storage.load(settlement.restore_id)
        return plan.restore

    def _choose(self) -> RecoveryPlan:
        storage = self._storage
        return plan_start(
            storage.checkpoints(),
            request_of(storage, self._around.ports.disk, self._options.from_checkpoint),
            JobFacts(
                self._config.key_groups,
                frozenset(self._committers),
                self._plan.allowed.dropped,
                self._around.instance,
            ),
            has_history=storage.has_history(),
            verify=self._verify,
            accept_lost_output=self._options.accept_lost_output,
        )

    def _verify(self, info: CheckpointInfo) -> None:
        assert info.manifest is not None, "only readable checkpoints are chosen"
        outside = info.path.parent / "files" if info.path.parent != self._storage.folder else None
        self._storage.verify(info.manifest, full=self._config.verify == "full", files=outside)

    def _sink_parallelisms(self) -> Mapping[str, int]:
        now = {uid: task.parallelism for uid, (task, _) in self._plan.sinks.items()}
        former = {uid: now[node.uid] for uid, node in former_sinks(self._plan).items()}
        return {**former, **now}

    async def _fence(self, plan: RecoveryPlan | None, highest: Mapping[str, int]) -> None:
        """Ends what earlier attempts left open, but for what is not settled yet."""
        unsettled = plan.unsettled if plan is not None else ()
        # A group: a fence that went on after this attempt had failed would shut out the next one.
        async with TaskGroup() as group:
            for uid, committer in self._committers.items():
                spare = [one.committable for one in unsettled if one.sink_uid == uid]
                group.create_task(self._fence_one(uid, committer, highest[uid], spare), name=f"fence-{uid}")

    async def _fence_one(self, uid: str, committer: Committer, highest: int, spare: list[Committable]) -> None:
        sink = self._plan.sinks.get(uid)
        with connector_at(sink[1].place) if sink is not None else contextlib.nullcontext():
            await committer.fence(highest, spare)

    async def begin(
        self, restored: CheckpointInfo | None, states: list[StateSpec]
    ) -> tuple[dict[str, dict[str, Position]], int | None]:
        """Resolves where every split begins, and pins it in a start checkpoint if anything of it is new.  Gives the
        positions, and the checkpoint that the next one follows."""
        positions, is_new = await self._positions(restored.manifest if restored is not None else None)
        parent = restored.id if restored is not None and restored.path.parent == self._storage.folder else None
        if is_new or self._needs_start:
            parent = await self._write_start(restored, positions, states, parent)
        if self._needs_start:
            # Only now: a checkpoint that was given up may be the newest until the start checkpoint is durable, and a
            # start that comes in between must still be able to ask what became of the units that it lists.
            await self._fence(None, self._highest)
        if self._instance is not None:
            # Before any writer opens: what the outside may get from this attempt, the next one must know of.
            await self._around.workers.run_blocking(
                self._instance.record_opening, self._around.attempt, list(self._committers)
            )
        fault_point("after_opening_recorded")
        return positions, parent

    async def _positions(self, manifest: Manifest | None) -> tuple[dict[str, dict[str, Position]], bool]:
        """The position of every split, and whether any start option was resolved only now."""
        known = manifest.positions if manifest is not None else {}
        positions: dict[str, dict[str, Position]] = {}
        for uid, (_, node) in self._plan.sources.items():
            before = known.get(uid, {})
            with connector_at(node.place):
                found = await node.made.discover(before)  # type: ignore[union-attr]
            positions[uid] = {**before, **found}
        return positions, any(uid not in known for uid in positions)

    async def _write_start(
        self,
        restored: CheckpointInfo | None,
        positions: dict[str, dict[str, Position]],
        states: list[StateSpec],
        parent: int | None,
    ) -> int:
        """Pins where this start begins, before any source reads: a crash right after it begins here again."""
        storage, manifest = self._storage, restored.manifest if restored is not None else None
        if restored is not None and manifest is not None and restored.path.parent != storage.folder:
            await self._around.workers.run_blocking(storage.adopt, manifest, restored.path.parent / "files")
        # State is cut by rising numbers, so what follows a checkpoint of another directory goes on above its number.
        checkpoint_id = max(storage.next_checkpoint_id(), 0 if restored is None else restored.id + 1)
        start = Manifest(
            job=self._name,
            instance=self._around.instance,
            checkpoint_id=checkpoint_id,
            attempt=self._around.attempt,
            kind="initial" if manifest is None else "start",
            parent=parent,
            created_ms=self._clock.now_ms(),
            key_groups=self._config.key_groups,
            parallelism=dict(self._plan.parallelisms if manifest is None else manifest.parallelism),
            states=states if manifest is None else list(manifest.states),  # as the stores hold them still
            stores=list(manifest.stores) if manifest is not None else [],
            positions=positions,
            finished=list(manifest.finished) if manifest is not None else [],
            operators=dict(manifest.operators) if manifest is not None else {},
            restored_from="nothing" if restored is None else f"checkpoint {restored.id}",
        )
        await self._around.workers.run_blocking(storage.write_manifest, start)
        fault_point("after_start_checkpoint")
        return checkpoint_id
