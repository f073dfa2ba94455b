"""A coordinator with a real state directory, and the means to play the subtasks of `in[0]`, `agg[0]` and `agg[1]`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from streamlet.checkpoint.coordinator import CheckpointCoordinator
from streamlet.checkpoint.facts import AttemptFacts, CoordinatorSettings
from streamlet.checkpoint.manifest import ListedCommittable, ManifestKind
from streamlet.checkpoint.messages import Acknowledge, Decline, Marked, SubtaskReport, Trigger
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.connect import Clock, Committable, SystemClock
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.task.control import LocalControl, SubtaskId
from streamlet.sink import Outcome

SUBTASKS = [("in", 0), ("agg", 0), ("agg", 1)]
LONG = 3600.0


class Outside:
    """A committer that notes what is committed, and waits for a go if it is told to."""

    can_lose = False

    def __init__(self, storage: CheckpointStorage) -> None:
        self.committed: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None
        self.decided_first: list[bool] = []
        self._storage = storage

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        return [Outcome.OPEN for _ in committables]

    async def commit(self, committable: Committable) -> None:
        await self.go.wait()
        if self.error is not None:
            raise self.error
        listed = [one for info in self._storage.checkpoints() if info.manifest for one in info.manifest.committables]
        self.decided_first.append(committable.id in [one.committable.id for one in listed])
        self.committed.append(committable.id)

    async def abort(self, committable: Committable) -> None: ...

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...


class Played:
    """One attempt whose subtasks are played by the test."""

    def __init__(
        self,
        root: Path,
        *,
        interval: float = 0.001,
        timeout: float = LONG,
        stalled: int = 3,
        retain: int = 1,
        clock: Clock | None = None,
    ) -> None:
        clock = self.clock = clock or SystemClock()
        self.storage = CheckpointStorage(root, "job", LocalDisk())
        self.attempt = self.storage.begin_attempt()
        self.folder = self.storage.folder / f"attempt-{self.attempt}"
        self.control = LocalControl()
        self.outside = Outside(self.storage)
        facts = AttemptFacts("job", self.attempt, 8, {"in": 1, "agg": 2}, [], SUBTASKS, [("in", 0)], "nothing")
        self.coordinator = CheckpointCoordinator(
            facts,
            CoordinatorSettings(interval, timeout, stalled, retain),
            self.storage,
            {"out": self.outside},
            self.control,
            clock,
            asyncio.to_thread,
            next_id=self.storage.next_checkpoint_id(),
            parent=None,
        )
        self.running: asyncio.Task[ManifestKind] = asyncio.ensure_future(self.coordinator.run())

    async def triggered(self) -> Trigger:
        """Waits until the source is told to begin a checkpoint."""
        while True:
            message = await self.told(("in", 0))
            if isinstance(message, Trigger):
                return message

    async def told(self, subtask: SubtaskId) -> Any:
        """Waits for the next message to a subtask, or fails with the coordinator."""
        asked = asyncio.ensure_future(self.control.inbox(subtask).get())
        await asyncio.wait([asked, self.running], return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            self.running.result()
            raise AssertionError("the coordinator ended without telling anything")
        return asked.result()

    async def marked(self, checkpoint_id: int) -> None:
        """Waits until a subtask is told of a marker that covers the checkpoint."""
        while True:
            message = await self.told(("agg", 1))
            if isinstance(message, Marked) and message.checkpoint_id >= checkpoint_id:
                return

    def acknowledge(
        self, number: int, *subtasks: SubtaskId, units: Sequence[int] = (), attempt: int = 0, finished: bool = False
    ) -> None:
        """Acknowledges for these subtasks (default: all); `units` are the checkpoints whose units `agg[1]` lists."""
        for task, subtask in subtasks or SUBTASKS:
            listed = [
                ListedCommittable("out", 1, unit, Committable(f"unit-{unit}", {}, 10, "a unit"))
                for unit in (units if (task, subtask) == ("agg", 1) else ())
            ]
            report = SubtaskReport(
                task=task,
                subtask=subtask,
                positions={"in": {"split": number * 100}} if task == "in" else {},
                committables=listed,
                finished=finished,
            )
            self.control.report(Acknowledge(attempt or self.attempt, number, report))

    def decline(self, number: int, *, is_outage: bool = False) -> None:
        self.control.report(Decline(self.attempt, number, "agg", 0, "the disk is full", is_outage))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Gives the coordinator turns of the event loop until something holds."""
        while not holds():  # noqa: ASYNC110 - turns, not a wait: there is no event for what the tests look at
            await asyncio.sleep(0)

    async def turns(self) -> None:
        """Gives the coordinator enough turns to do whatever it would do without being told anything."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def stopped(self) -> int:
        """Stops, acknowledges what is still triggered, and gives the number of the last checkpoint."""
        self.coordinator.stop()
        while True:
            trigger = await self.triggered()
            self.acknowledge(trigger.checkpoint_id)
            if trigger.is_last:
                await self.running
                return trigger.checkpoint_id

    async def complete(self, number: int, units: Sequence[int] = ()) -> None:
        """Plays one checkpoint from trigger to marker."""
        assert await self.triggered() == Trigger(number)
        self.acknowledge(number, units=units)
        await self.marked(number)


def play(root: Path, scenario: Callable[[Played], Awaitable[None]], **settings: Any) -> None:
    """Plays a scenario; whatever still runs at its end is cancelled."""

    async def run() -> None:
        async with asyncio.timeout(60):
            played = Played(root, **settings)
            try:
                await scenario(played)
            finally:
                played.running.cancel()
                await asyncio.wait([played.running])

    asyncio.run(run())
