"""A sink's writer at the end of a chain, and what it has prepared and not yet been told to forget."""

from __future__ import annotations

from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.elements import Batch
from streamlet.errors import EncodeError, UserFunctionError
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.left_out import LeftOut
from streamlet.sink import SinkWriter


class SinkLeaf:
    """Writes for one subtask, and keeps the list that every snapshot must carry.

    A prepared unit stays listed until a durable marker covers the checkpoint that it was prepared for.  It is
    *released* only when no checkpoint that lists it can be restored unmarked any more: a later snapshot may have
    listed it while its commit was still on the way, and then that one's marker must be durable too.
    """

    def __init__(self, place: Place, subtask: int, writer: SinkWriter[Any]) -> None:
        self.uid = place.uid
        self.writer = writer
        self.left_out: LeftOut | None = None
        """What takes the records that cannot be written, where a policy leaves them out."""
        self._place = place
        self.records = 0
        self._subtask = subtask
        self._listed: list[ListedCommittable] = []
        self._covered: list[ListedCommittable] = []
        self._last_listing: dict[str, int] = {}

    async def deliver(self, batch: Batch[Any]) -> None:
        """Writes a batch, without what its policy leaves out; waits when the sink is behind."""
        pieces = [batch]
        while pieces:
            piece = pieces.pop()
            try:
                await self.writer.write(piece)
                self.records += len(piece)
            except (EncodeError, UserFunctionError) as error:
                written, row = _refused(error, piece)
                failure = self._failure(error)
                if self.left_out is None or row is None:
                    raise failure from error
                self.left_out.take(failure, piece, row)
                self.records += written
                rest = piece.part(row + 1, len(piece)), piece.part(written, row)
                pieces += [one for one in rest if one.values]

    def _failure(self, error: EncodeError | UserFunctionError) -> EncodeError | UserFunctionError:
        """The error with the user's line before it, and with what else can be done."""
        remedy = "leave such records out, or put them aside, by on_error= of sink(...)"
        if error.remedy is not None:
            remedy = f"{error.remedy}; or {remedy}"
        if isinstance(error, EncodeError):
            made: EncodeError | UserFunctionError = EncodeError(
                f"{self._place}: {error.message}", index=error.index, remedy=remedy, written=error.written
            )
        else:
            made = UserFunctionError(
                error.message, place=error.place, remedy=remedy, line=error.line, batch=error.batch, row=error.row
            )
            made.final = error.final
        made.__cause__ = error.__cause__
        return made

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


def _refused(error: EncodeError | UserFunctionError, batch: Batch[Any]) -> tuple[int, int | None]:
    """How many of the first rows were taken, and the row that cannot be written; None where that is not told."""
    if isinstance(error, EncodeError):
        return error.written, error.index if error.written <= error.index < len(batch) else None
    return 0, error.row if error.batch is batch else None
