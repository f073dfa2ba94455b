"""The subtask behind a gate: its batches come from other subtasks, and so do its barriers."""

from __future__ import annotations

from typing import Any

from streamlet.checkpoint.pending import ALIGNING
from streamlet.elements import MIN_TIMESTAMP, Barrier, Batch, Element, EndOfInput, Watermark
from streamlet.operators.operator import Emit
from streamlet.runtime.task.held_back import HeldBack
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.subtask import Subtask
from streamlet.runtime.task.wiring import Wiring


class GatedSubtask(Subtask):
    """A subtask whose batches come from other subtasks.

    It works a batch off in pieces; what is left of it waits at the head of the chain.  While a barrier is here and
    others are missing, what lies before them is taken out of the channels and waits there too, so that no barrier waits
    for the work before it.
    """

    def __init__(self, wiring: Wiring, gate: InputGate) -> None:
        super().__init__(wiring)
        self._gate = gate
        assert self._chain.queues.head is not None, "only the chain of a source has no queue at its head"
        self._queue: HeldBack = self._chain.queues.head
        self._enter = [self._chain.enter(self.plan.head.id, index) for index in range(len(self.plan.head.inputs))]
        self._begun = 0
        """Records of the last batch, until the next one may begin."""
        self._head_watermark = MIN_TIMESTAMP
        """What stood at the head when the last batch came."""
        self._full_since: float | None = None
        self._waited = 0.0
        gate.on_aligning = self._aligning

    def _aligning(self, checkpoint_id: int) -> None:
        self.snapshots.phases.begin(checkpoint_id, "align")
        self.snapshots.busy(checkpoint_id, ALIGNING)

    def interrupt(self) -> None:
        self._gate.interrupt()

    def event_time(self) -> Any:
        return self._gate.snapshot()

    def is_wanted(self) -> bool:
        return self._gate.is_aligning

    @property
    def seconds_per_record(self) -> float:
        return self._gate.backlog.seconds_per_record

    async def work(self) -> None:
        await self.begin_at(self._gate.watermarks.current)
        while True:
            if self._has_clock:
                await self.follow_clock()
            has_room = self._has_room()
            element = self._gate.poll(takes_batches=has_room, holds_batches=True)
            if element is None:
                if not has_room and await self.go_on():
                    continue
                element = await self._gate.next(takes_batches=has_room, holds_batches=True)
            if element is not None:
                await self._handle(element, has_room=has_room)

    async def _handle(self, element: Element, *, has_room: bool) -> None:
        if isinstance(element, Batch):
            if has_room:
                await self._take(element)
            else:
                self._queue.hold(self._gate.input, element, self._reached.timestamp, self._gate.on_begun)
        elif isinstance(element, Watermark):
            await self.advance(element)
        elif isinstance(element, Barrier):
            self.is_stopping = element.is_last
            await self.checkpoint(element.checkpoint_id, {})
        elif isinstance(element, EndOfInput):
            await self.end()

    async def _take(self, batch: Batch[Any]) -> None:
        """Takes in as much of a batch as is right by now; the rest waits."""
        index = self._gate.input
        if self._turns.is_resting:
            await self._turns.rest()
        self._head_watermark = self._reached.timestamp
        size = self._batch_size()
        if len(batch) > size:
            self._queue.hold(index, batch.part(size, len(batch)), self._reached.timestamp)
            batch = batch.part(0, size)
        await self._work_off(self._enter[index], batch)
        await self.snapshots.mind_memory()
        await self._turns.rest()

    async def next_piece(self) -> None:
        held = self._queue.held_watermark()
        assert held is not None, "it is asked only where something waits"
        self._head_watermark = held
        way, piece = self._queue.next(self._batch_size())
        await self._work_off(way, piece)

    def put_back(self, enter: Emit, rest: Batch[Any]) -> None:
        self._queue.put_back(self._enter.index(enter), rest, self._head_watermark)

    async def _work_off(self, enter: Emit, piece: Batch[Any]) -> None:
        if not piece.values:
            return
        self._finish()
        self._begin_turn()
        self._gate.backlog.begin(self._turn_began)
        self._begun = max(1, await self.process(enter, piece))

    def _finish(self) -> None:
        """The next batch may begin: only now it is known what the one before took."""
        if self._begun:
            self._gate.backlog.done(self._clock.monotonic(), self._begun, self._held + self._waited)
            self._begun, self._waited = 0, 0.0

    def _has_room(self) -> bool:
        """True when a batch may be taken.  What it waits for that counts as time that the batches before took."""
        is_open = self._chain.has_room and self.outputs_have_room() and not self.life.has_stopped
        if self._full_since is None:
            if not is_open:
                self._full_since = self._clock.monotonic()
                self._held_up.begin(self._full_since)
        elif is_open:
            waited = self._clock.monotonic() - self._full_since
            self._waited += waited
            self._held_up.end(waited)
            self._full_since = None
        if is_open and not self._chain.queues.turn.inside:
            self._finish()
        return is_open and not self._chain.has_work
