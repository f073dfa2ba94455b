"""A sink's writer at the end of a chain, and what it has prepared and not yet been told to forget."""

from __future__ import annotations

from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.elements import Batch
from streamlet.sink import SinkWriter


class SinkLeaf:
    """Writes for one subtask, and keeps the list that every snapshot must carry.

    A prepared unit stays listed until a durable marker covers the checkpoint that it was prepared for.  It is
    *released* only when no checkpoint that lists it can be restored unmarked any more: a later snapshot may have
    listed it while its commit was still on the way, and then that one's marker must be durable too.
    """

    def __init__(self, uid: str, subtask: int, writer: SinkWriter[Any]) -> None:
        self.uid = uid
        self.writer = writer
        self.records = 0
        self._subtask = subtask
        self._listed: list[ListedCommittable] = []
        self._covered: list[ListedCommittable] = []
        self._last_listing: dict[str, int] = {}

    async def deliver(self, batch: Batch[Any]) -> None:
        """Writes a batch; waits when the sink is behind."""
        await self.writer.write(batch)
        self.records += len(batch)

    async def prepare(self, checkpoint_id: int) -> list[ListedCommittable]:
        """Prepares what was written, and gives everything that this checkpoint must list."""
        for committable in await self.writer.prepare_commit(checkpoint_id):
            self._listed.append(ListedCommittable(self.uid, self._subtask, checkpoint_id, committable))
        for listed in self._listed:
            self._last_listing[listed.committable.id] = checkpoint_id
        return list(self._listed)

    async def marked(self, checkpoint_id: int) -> None:
        """A marker is durable: what it covers is listed no more, and released when nothing else names it."""
        self._covered += [listed for listed in self._listed if listed.checkpoint_id <= checkpoint_id]
        self._listed = [listed for listed in self._listed if listed.checkpoint_id > checkpoint_id]
        free = [listed for listed in self._covered if self._last_listing[listed.committable.id] <= checkpoint_id]
        if free:
            self._covered = [listed for listed in self._covered if listed not in free]
            for listed in free:
                del self._last_listing[listed.committable.id]
            await self.writer.released([listed.committable for listed in free])
