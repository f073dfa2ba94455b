"""One subtask of one task: takes batches in, runs its chain, sends on, and takes part in checkpoints.

At a barrier, in this order and without a record in between: positions are noted, every store is frozen, the barrier
goes on, every sink prepares.  Packing and writing of the frozen state happens behind it, in slices between batches;
when that is durable, the subtask acknowledges.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable, operator_key
from streamlet.checkpoint.messages import AddSplits, Ended, Marked, Opened, Started, ToSubtask, Trigger
from streamlet.checkpoint.pending import ALIGNING
from streamlet.clock import Clock
from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP, Barrier, Batch, Element, EndOfInput, Position, Watermark
from streamlet.graph.plan import TaskPlan
from streamlet.operators.user_code.raised import ENDS, exit_error
from streamlet.runtime.task.alarm import Alarm
from streamlet.runtime.task.batch_size import BatchSize
from streamlet.runtime.task.chain import Chain, event_time_key
from streamlet.runtime.task.channel import InputGate
from streamlet.runtime.task.control import LocalControl
from streamlet.runtime.task.notices import Notices
from streamlet.runtime.task.routing import Router
from streamlet.runtime.task.sink_leaf import SinkLeaf
from streamlet.runtime.task.snapshots import SubtaskSnapshots
from streamlet.runtime.task.turns import LoopTurns
from streamlet.task_group import TaskGroup

log = logging.getLogger("streamlet.runtime")


class Subtask:
    """What source subtasks and gated subtasks share."""

    def __init__(
        self,
        plan: TaskPlan,
        subtask: int,
        chain: Chain,
        sinks: list[SinkLeaf],
        routers: list[Router],
        snapshots: SubtaskSnapshots,
        control: LocalControl,
        clock: Clock,
        batch_size: BatchSize,
        had_ended: bool,
        turns: LoopTurns,
    ) -> None:
        """`had_ended`: in the restored checkpoint all that this task does had been told of the end of its input."""
        self.plan = plan
        self.subtask = subtask
        self.records = 0
        """Records taken in since the attempt began."""
        self._had_ended = had_ended
        self.is_ending = False
        """True once the whole input was taken in: the end waits for what is in flight, if anything."""
        self._reached = Watermark(MIN_TIMESTAMP)
        """How far event time has come before the chain."""
        self._sent = Watermark(MIN_TIMESTAMP)
        self.sinks = sinks
        # Each by itself: a connector that is slow to hear holds neither another one nor the control loop.
        self._notices = [Notices(one) for one in (*(sink.marked for sink in sinks), self.source_marked)]
        self.snapshots = snapshots
        self._chain = chain
        self._routers = routers
        self._control = control
        self._inbox = control.inbox((plan.name, subtask))
        self._clock = clock
        self._batch_size = batch_size
        self._turns = turns
        self._roomy = asyncio.Event()
        self._held = 0.0
        """How long the last batch held the loop."""
        self._turn_began = 0.0
        self._has_turned = False
        """True once others have run since: then it is not known who held the loop."""
        self._alarm = Alarm(lambda: chain.clock.now_ms() / 1000, self.interrupt)
        self._has_clock = chain.has_clock
        chain.ring = self.interrupt

    async def run(self) -> None:
        """Runs until it is cancelled or fails; everything it started has ended when it returns."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._chain.close)
            stack.callback(self.silence)
            for sink in self.sinks:
                stack.push_async_callback(sink.writer.close)
            async with TaskGroup() as opening:
                for sink in self.sinks:
                    opening.create_task(sink.writer.open(), name=f"{sink.uid}-{self.subtask}-open")
            self._control.report(Opened(task=self.plan.name, subtask=self.subtask))
            group = await stack.enter_async_context(TaskGroup())
            self.snapshots.group = group
            self._chain.spawn = group.create_task
            group.create_task(self._obey(), name=f"{self.plan.name}-{self.subtask}-control")
            for notices in self._notices:
                group.create_task(notices.run(), name=f"{self.plan.name}-{self.subtask}-notices")
            try:
                await self.work()
            except ENDS as error:  # of code that no operator calls
                raise exit_error(error, f"{self.plan.name}, subtask {self.subtask}") from error

    async def work(self) -> None:
        """Takes elements in, for ever."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Lets a subtask that waits for input look at the clock."""
        raise NotImplementedError

    def silence(self) -> None:
        """Sees to it that no alarm rings any more."""
        self._alarm.set(None)

    def event_time(self) -> Any:
        """What must be kept to go on with the same event time; None for nothing."""
        raise NotImplementedError

    def trigger(self, message: Trigger) -> None:
        """Begins a checkpoint here; only sources are asked."""

    def add_splits(self, message: AddSplits) -> None:
        """Begins to read further splits; only sources are asked."""

    async def source_marked(self, checkpoint_id: int) -> None:
        """Tells the reader of a durable checkpoint."""

    async def _obey(self) -> None:
        while True:
            message: ToSubtask = await self._inbox.get()
            if isinstance(message, Trigger):
                self.trigger(message)
            elif isinstance(message, AddSplits):
                self.add_splits(message)
            elif isinstance(message, Marked):
                for notices in self._notices:
                    notices.add(message.checkpoint_id)

    async def process(self, enter: Any, batch: Batch[Any]) -> None:
        """Runs one batch through the chain and delivers what came out of it. An empty one only moves a position."""
        if not batch.values:
            return
        if not self.records:
            self._control.report(Started())
        self.records += len(batch)
        others, behind = self._turns.held_seconds, self._work_behind()
        enter(batch)
        held = self._clock.monotonic() - self._turn_began
        await self.deliver()
        seconds = self._clock.monotonic() - self._turn_began
        if not self._has_turned:
            held = seconds
        # What other subtasks did while a sink let this one wait is no waiting for the sink.
        waited = max(0.0, seconds - held - (self._turns.held_seconds - others))
        self._turns.held(held)
        self._batch_size.took(len(batch), held, waited, self._work_behind() - behind)
        self._held = held

    def _work_behind(self) -> float:
        return sum(router.work_seconds for router in self._routers)

    def _begin_turn(self) -> None:
        """Says that the event loop is held from now on."""
        self._turn_began = self._clock.monotonic()
        self._has_turned = False
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._has_turned = True

    def outputs_have_room(self) -> bool:
        """True when all that are behind this subtask take more; else it is interrupted once they may."""
        return all(router.has_room(self._has_got_room) for router in self._routers)

    def _has_got_room(self) -> None:
        self._roomy.set()
        self.interrupt()

    async def until_outputs_have_room(self) -> None:
        """Waits in the midst of something that no barrier can part."""
        while not self.outputs_have_room():
            self._roomy.clear()
            await self._roomy.wait()

    async def deliver(self) -> None:
        """Sends on what the chain has produced; waits where a sink is behind."""
        produced = self._chain.produced
        for leaf, output in produced:
            await leaf.deliver(output)
        produced.clear()

    async def advance(self, watermark: Watermark) -> None:
        """Moves event time on in the chain, delivers what that fires, and sends the watermark on behind it."""
        self._reached = watermark
        await self._move_time()

    async def _move_time(self) -> None:
        """Lets event time come as far as it has been told of and nothing in flight holds it."""
        for _ in self._chain.advance(self._reached.timestamp):
            await self.deliver()
            await self.snapshots.mind_memory()
            await self._turns.rest()
            await self.until_outputs_have_room()
        await self.deliver()
        # While something is in flight here, those behind must wait for it even if nothing new is expected.
        watermark = Watermark(self._chain.watermark, self._reached.is_idle and not self._chain.is_held)
        # The end itself says that nothing is held back any more.
        if watermark != self._sent and watermark.timestamp != MAX_TIMESTAMP:
            self._sent = watermark
            self._send_on(watermark)

    async def follow_clock(self) -> None:
        """Does what is due by the wall clock, and sees to it that it is done when nothing comes."""
        at = self._chain.next_clock_ms()
        if at is not None and at <= (now := self._chain.clock.now_ms()):
            if not self.outputs_have_room():
                self._alarm.set(None)
                return
            self._chain.on_clock(now)
            await self.deliver()
            await self.snapshots.mind_memory()
            await self._move_time()
            if self.is_ending:
                await self._go_on_ending()
            at = self._chain.next_clock_ms()
        self._alarm.set(None if at is None or self.snapshots.is_ended else at / 1000)

    async def checkpoint(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        """Takes this subtask's part of a checkpoint; called between two batches."""
        self.snapshots.freeze(checkpoint_id)
        operators = self._chain.snapshot()
        event_time = self.event_time()
        if event_time is not None:
            operators[event_time_key(self.plan.name, self.subtask)] = event_time
        if told := self._chain.told(has_new=self.records > 0):
            operators[operator_key(f"{self.plan.name}@end", self.subtask)] = told
        self._send_on(Barrier(checkpoint_id))
        listed: list[ListedCommittable] = []
        for sink in self.sinks:
            self.snapshots.busy(checkpoint_id, f"sink {sink.uid} prepares")
            listed += await sink.prepare(checkpoint_id)
        self.snapshots.finish(checkpoint_id, dict(positions), listed, operators)

    async def end(self) -> None:
        """Everything was read and taken in: lets the chain finish, and says so downstream and to the coordinator. Where
        records are in flight, `follow_clock` goes on with it.  Barriers still come."""
        self.is_ending = True
        if self.records or not self._had_ended:
            await self.advance(Watermark(MAX_TIMESTAMP))
        await self._go_on_ending()

    async def _go_on_ending(self) -> None:
        has_ended = self._chain.end(has_new=self.records > 0)
        await self.deliver()
        if not has_ended:
            return
        self._has_clock = False
        self.silence()
        self._send_on(EndOfInput())
        self.snapshots.is_ended = True
        self._control.report(Ended(task=self.plan.name, subtask=self.subtask))

    def _send_on(self, element: Element) -> None:
        for router in self._routers:
            router.broadcast(element)


class GatedSubtask(Subtask):
    """A subtask whose batches come from other subtasks."""

    def __init__(self, *args: Any, gate: InputGate) -> None:
        super().__init__(*args)
        self._gate = gate
        self._unfinished = 0
        """Records of the last batch, until the next one may begin."""
        self._full_since: float | None = None
        self._waited = 0.0
        gate.on_aligning = lambda checkpoint_id: self.snapshots.busy(checkpoint_id, ALIGNING)

    def interrupt(self) -> None:
        self._gate.interrupt()

    def event_time(self) -> Any:
        return self._gate.snapshot()

    async def work(self) -> None:
        head = self.plan.head
        enter = [self._chain.enter(head.id, index) for index in range(len(head.inputs))]
        await self.advance(self._gate.watermarks.current)
        while True:
            if self._has_clock:
                await self.follow_clock()
            element = await self._gate.next(takes_batches=self._has_room())
            if isinstance(element, Batch):
                await self._take(enter[self._gate.input], element)
            elif isinstance(element, Watermark):
                await self.advance(element)
            elif isinstance(element, Barrier):
                await self.checkpoint(element.checkpoint_id, {})
            elif isinstance(element, EndOfInput):
                await self.end()

    async def _take(self, enter: Any, batch: Batch[Any]) -> None:
        """Works a batch off in pieces, each as long as is right by then."""
        done = 0
        while done < len(batch):
            if self._turns.is_resting:
                await self._turns.rest()
            if done and not self.outputs_have_room():
                began = self._clock.monotonic()
                await self.until_outputs_have_room()
                self._waited += self._clock.monotonic() - began
            size = self._batch_size()
            piece = batch if not done and len(batch) <= size else batch.part(done, done + size)
            self._finish()
            self._begin_turn()
            self._gate.backlog.begin(self._turn_began)
            await self.process(enter, piece)
            self._unfinished = len(piece)
            await self.snapshots.mind_memory()
            await self._turns.rest()
            done += len(piece)

    def _finish(self) -> None:
        """The next batch may begin: only now it is known what the one before took."""
        if self._unfinished:
            self._gate.backlog.done(self._clock.monotonic(), self._unfinished, self._held + self._waited)
            self._unfinished, self._waited = 0, 0.0

    def _has_room(self) -> bool:
        """True when a batch may be taken.  What it waits for that counts as time that the batches before took."""
        has_room = self._chain.has_room and self.outputs_have_room()
        if self._full_since is None:
            self._full_since = None if has_room else self._clock.monotonic()
        elif has_room:
            self._waited += self._clock.monotonic() - self._full_since
            self._full_since = None
        if has_room:
            self._finish()
        return has_room
