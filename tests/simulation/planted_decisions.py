"""Planted bugs of deciding, committing, releasing and starting."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from streamlet.checkpoint import coordinator, settling, storage
from streamlet.checkpoint.committer_client import CommitterClient
from streamlet.checkpoint.coordinator import CheckpointCoordinator
from streamlet.checkpoint.lock import JobInstance
from streamlet.checkpoint.messages import Marked
from streamlet.checkpoint.pending import PendingCheckpoint
from streamlet.checkpoint.settling import Settlement
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.runtime.job import restoring
from streamlet.runtime.job.restoring import Restorer
from streamlet.runtime.task.control import LocalControl
from streamlet.testing.disk import SimulatedDisk
from streamlet.testing.patches import Patches
from tests.simulation.planting import planted


@planted
def commit_before_the_manifest_is_durable(patches: Patches) -> None:
    def on_disk(original: Any) -> Any:
        async def early(self: Any, call: Any, *args: Any) -> Any:
            if getattr(call, "__name__", "") == "write_manifest":
                await settling.commit_ordered(
                    args[0].committables, self._committers, sleep=asyncio.sleep, clock=self._clock
                )
            return await original(self, call, *args)

        return early

    patches.put(CheckpointCoordinator, "_on_disk", on_disk)


@planted
def marker_is_written_before_the_commit(patches: Patches) -> None:
    late: list[Any] = []

    def commit(_: Any) -> Any:
        async def nothing_yet(*args: Any, **kwargs: Any) -> None:
            late.append(lambda: settling.commit_ordered(*args, **kwargs))

        return nothing_yet

    def on_disk(original: Any) -> Any:
        async def then(self: Any, call: Any, *args: Any) -> Any:
            answer = await original(self, call, *args)
            if getattr(call, "__name__", "") == "write_marker":
                while late:
                    await late.pop(0)()
            return answer

        return then

    patches.put(coordinator, "commit_ordered", commit)
    patches.put(CheckpointCoordinator, "_on_disk", on_disk)


@planted
def late_acknowledgement_is_accepted(patches: Patches) -> None:
    patches.put(PendingCheckpoint, "acknowledge", lambda _: lambda self, message: self._take(message.report))


@planted
def repeated_acknowledgement_counts_twice(patches: Patches) -> None:
    def take(original: Any) -> Any:
        def counting(self: Any, report: Any) -> Any:
            self.answers = getattr(self, "answers", 0) + 1
            return original(self, report)

        return counting

    patches.put(PendingCheckpoint, "_take", take)
    patches.put(
        PendingCheckpoint,
        "is_fully_acknowledged",
        lambda _: property(lambda self: getattr(self, "answers", 0) >= len(self._expected)),
    )


@planted
def old_checkpoint_is_deleted_before_the_new_one_is_durable(patches: Patches) -> None:
    def write(original: Any) -> Any:
        def deleting(self: Any, manifest: Any) -> Any:
            for info in self.checkpoints():
                self._disk.remove_tree(info.path)
            return original(self, manifest)

        return deleting

    patches.put(CheckpointStorage, "write_manifest", write)


@planted
def manifest_is_written_in_place(patches: Patches) -> None:
    def prepare(original: Any) -> Any:
        def in_place(self: Any, manifest: Any, data: bytes, temporary: Any) -> None:
            target = self.folder / f"chk-{manifest.checkpoint_id:08d}"
            original(self, manifest, data, target)

        return in_place

    patches.put(CheckpointStorage, "_prepare", prepare)
    patches.put(CheckpointStorage, "_rename", lambda _: lambda self, *args: None)


@planted
def files_are_not_fsynced(patches: Patches) -> None:
    patches.put(SimulatedDisk, "_sync_file", lambda _: lambda self, *args: None)


@planted
def folders_are_not_fsynced(patches: Patches) -> None:
    patches.put(SimulatedDisk, "sync_folder", lambda _: lambda self, path: None)


@planted
def retention_goes_by_id_and_not_by_reference(patches: Patches) -> None:
    def unreferenced(_: Any) -> Any:
        return lambda removed, kept, protect=(): sorted({name for one in removed for name in one.file_names()})

    patches.put(storage, "unreferenced", unreferenced)


@planted
def checkpoint_id_comes_again_after_a_restart(patches: Patches) -> None:
    patches.put(
        CheckpointStorage,
        "next_checkpoint_id",
        lambda _: lambda self: max((info.id for info in self.checkpoints()), default=-1) + 1,
    )


@planted
def finish_without_a_final_commit(patches: Patches) -> None:
    def complete(original: Any) -> Any:
        def early(self: Any, *args: Any) -> None:
            original(self, *args)
            if self._ending != "stop" or self._is_stopping:
                self._last.set()

        return early

    patches.put(CheckpointCoordinator, "_complete", complete)


@planted
def nothing_is_committed_again_at_a_restore(patches: Patches) -> None:
    async def settle(plan: Any, *_: Any, **__: Any) -> Settlement:
        restore = plan.restore
        return Settlement(
            restore_id=None if restore is None else restore.id,
            needs_marker=restore is not None and restore.id not in plan.marked,
            needs_start=plan.needs_start,
        )

    patches.put(restoring, "settle", lambda _: settle)


@planted
def settling_commits_before_it_knows_all_outcomes(patches: Patches) -> None:
    def learn(original: Any) -> Any:
        async def hasty(self: Any, unsettled: Any) -> Any:
            for one in reversed(unsettled):
                with contextlib.suppress(Exception):
                    await self.committers[one.sink_uid].commit(one.committable)
            return await original(self, unsettled)

        return hasty

    patches.put(CommitterClient, "learn", learn)


@planted
def commits_are_made_in_another_order(patches: Patches) -> None:
    patches.put(
        settling, "commit_order", lambda original: lambda listed, committers: original(listed, committers)[::-1]
    )


@planted
def fence_is_skipped(patches: Patches) -> None:
    async def nothing(self: Any, plan: Any, highest: Any) -> None:
        """In place of fencing."""

    patches.put(Restorer, "_fence", lambda _: nothing)


@planted
def attempt_that_opens_writers_is_not_remembered(patches: Patches) -> None:
    patches.put(JobInstance, "record_opening", lambda _: lambda self, attempt, uids: None)


@planted
def start_checkpoint_is_left_out(patches: Patches) -> None:
    async def nothing(self: Any, restored: Any, positions: Any, states: Any, parent: Any) -> Any:
        return parent

    patches.put(Restorer, "_write_start", lambda _: nothing)


@planted
def taken_over_process_begins_an_attempt_beside_its_successor(patches: Patches) -> None:
    patches.put(
        CheckpointStorage, "begin_attempt", lambda original: lambda self, is_mine=None: original(self, lambda: True)
    )


@planted
def every_start_begins_from_empty(patches: Patches) -> None:
    patches.put(restoring, "request_of", lambda _: lambda *_: "none")


@planted
def notice_of_a_durable_marker_is_lost(patches: Patches) -> None:
    def tell(original: Any) -> Any:
        def losing(self: Any, subtask: Any, message: Any) -> None:
            if not isinstance(message, Marked):
                original(self, subtask, message)

        return losing

    patches.put(LocalControl, "tell", tell)


@planted
def no_checkpoint_follows_on_an_abandoned_one(patches: Patches) -> None:
    def one_checkpoint(original: Any) -> Any:
        async def forgetting(self: Any, kind: Any) -> bool:
            if not await original(self, kind):
                await asyncio.Event().wait()
            return True

        return forgetting

    patches.put(CheckpointCoordinator, "_one_checkpoint", one_checkpoint)
