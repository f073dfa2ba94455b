"""A sink's writer at the end of a chain, and what it has prepared and not yet been told to forget."""

from __future__ import annotations

from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.clock import Clock
from streamlet.elements import Batch
from streamlet.errors import EncodeError, UserFunctionError
from streamlet.observe.facts import OperatorFacts, SinkFacts
from streamlet.operators.user_code.place import Place, connector_at
from streamlet.runtime.task.left_out import LeftOut
from streamlet.runtime.task.meter import Meter
from streamlet.sink import SinkWriter
from streamlet.turns import LoopTurns


class SinkLeaf:
    """Writes for one subtask, and keeps the list that every snapshot must carry.

    A prepared unit stays listed until a durable marker covers the checkpoint that it was prepared for.  It is
    *released* only when no checkpoint that lists it can be restored unmarked any more: a later snapshot may have
    listed it while its commit was still on the way, and then that one's marker must be durable too.
    """

    def __init__(
        self,
        place: Place,
        subtask: int,
        writer: SinkWriter[Any],
        clock: Clock | None = None,
        turns: LoopTurns | None = None,
    ) -> None:
        """With `clock` and `turns` it measures how long writes are under way, but for what others do meanwhile."""
        self.uid = place.uid
        self.meter = Meter()
        self._clock = clock
        self._turns = turns or LoopTurns()
        self._writing_since: float | None = None
        self._told_busy = 0.0
        self._prepared_at: dict[str, float] = {}
        self.writer = writer
        self.left_out: LeftOut | None = None
        """What takes the records that cannot be written, where a policy leaves them out."""
        self._place = place
        self._subtask = subtask
        self._listed: list[ListedCommittable] = []
        self._covered: list[ListedCommittable] = []
        self._last_listing: dict[str, int] = {}

    async def deliver(self, batch: Batch[Any]) -> None:
        """Writes a batch, without what its policy leaves out; waits when the sink is behind."""
        clock, others = self._clock, self._turns.held_seconds
        self.meter.records_in += len(batch)
        began = self._writing_since = 0.0 if clock is None else clock.monotonic()
        await self._write(batch)
        self._writing_since = None
        if clock is not None:
            seconds = clock.monotonic() - began - (self._turns.held_seconds - others)
            self.meter.busy_seconds += max(0.0, seconds)

    async def _write(self, batch: Batch[Any]) -> None:
        pieces = [batch]
        while pieces:
            piece = pieces.pop()
            try:
                await self._write_piece(piece)
                self.meter.records_out += len(piece)
            except (EncodeError, UserFunctionError) as error:
                written, row = _refused(error, piece)
                failure = self._failure(error)
                if self.left_out is None or row is None:
                    raise failure from error
                self.left_out.take(failure, piece, row)
                self.meter.records_out += written
                rest = piece.part(row + 1, len(piece)), piece.part(written, row)
                pieces += [one for one in rest if one.values]

    async def _write_piece(self, piece: Batch[Any]) -> None:
        try:
            await self.writer.write(piece)
        except (EncodeError, UserFunctionError):
            raise  # of a record, to be left out perhaps
        except Exception:
            with connector_at(self._place):
                raise

    async def open(self) -> None:
        with connector_at(self._place):
            await self.writer.open()

    def _failure(self, error: EncodeError | UserFunctionError) -> EncodeError | UserFunctionError:
        """The error with the user's line before it, and with what else can be done."""
        remedy = "leave such records out, or put them aside, by on_error= of sink(...)"
        if error.remedy is not None:
            remedy = f"{error.remedy}; or {remedy}"
        if isinstance(error, EncodeError):
            made: EncodeError | UserFunctionError = EncodeError(
                error.message, index=error.index, remedy=remedy, written=error.written
            )
            made.at(str(self._place))
        else:
            made = UserFunctionError(
                error.message, place=error.place, remedy=remedy, line=error.line, batch=error.batch, row=error.row
            )
            made.final = error.final
        made.__cause__ = error.__cause__
        return made

    async def prepare(self, checkpoint_id: int) -> list[ListedCommittable]:
        """Prepares what was written, and gives everything that this checkpoint must list."""
        with connector_at(self._place):
            prepared = await self.writer.prepare_commit(checkpoint_id)
        for committable in prepared:
            self._listed.append(ListedCommittable(self.uid, self._subtask, checkpoint_id, committable))
            if self._clock is not None:
                self._prepared_at[committable.id] = self._clock.monotonic()
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
                self._prepared_at.pop(listed.committable.id, None)
            await self.writer.released([listed.committable for listed in free])

    def facts(self, watermark_ms: int | None) -> tuple[OperatorFacts, SinkFacts]:
        """What it has written, and how long what it prepared has been waiting."""
        meter, clock, place = self.meter, self._clock, self._place
        busy, oldest, deadline = meter.busy_seconds, 0.0, None
        if clock is not None:
            now, waiting = clock.monotonic(), [one.committable for one in self._listed]
            if self._writing_since is not None:
                busy += now - self._writing_since
            busy = self._told_busy = max(busy, self._told_busy)
            oldest = now - min((self._prepared_at.get(one.id, now) for one in waiting), default=now)
            ends = [one.deadline_ms for one in waiting if one.deadline_ms is not None]
            deadline = (min(ends) - clock.now_ms()) / 1000 if ends else None
        wrote = OperatorFacts(
            self.uid, self._subtask, place.kind, meter.records_in, meter.records_out, busy, watermark_ms
        )
        return wrote, SinkFacts(self.uid, self._subtask, oldest, deadline)


def _refused(error: EncodeError | UserFunctionError, batch: Batch[Any]) -> tuple[int, int | None]:
    """How many of the first rows were taken, and the row that cannot be written; None where that is not told."""
    if isinstance(error, EncodeError):
        return error.written, error.index if error.written <= error.index < len(batch) else None
    return 0, error.row if error.batch is batch else None
