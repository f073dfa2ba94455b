"""One subtask of one task: takes batches in, runs its chain, sends on, and takes part in checkpoints.

At a barrier, in this order and without a record in between: positions are noted, every store is frozen, the barrier
goes on, every sink prepares.  Packing and writing of the frozen state happens behind it, in slices between batches;
when that is durable, the subtask acknowledges.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable, operator_key
from streamlet.checkpoint.messages import AddSplits, Ended, Marked, Started, ToSubtask, Trigger
from streamlet.clock import Clock
from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP, Barrier, Batch, Element, EndOfInput, Position, Watermark
from streamlet.graph.plan import TaskPlan
from streamlet.runtime.alarm import Alarm
from streamlet.runtime.chain import Chain
from streamlet.runtime.channel import InputGate
from streamlet.runtime.control import LocalControl
from streamlet.runtime.pressure import MemoryPressure
from streamlet.runtime.routing import Router
from streamlet.runtime.sink_leaf import SinkLeaf
from streamlet.runtime.snapshots import SubtaskSnapshots
from streamlet.source import SourceReader

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
    ) -> None:
        self.plan = plan
        self.subtask = subtask
        self.records = 0
        """Records taken in since the attempt began."""
        self._watermark = MIN_TIMESTAMP
        self.sinks = sinks
        self.snapshots = snapshots
        self._chain = chain
        self._routers = routers
        self._control = control
        self._inbox = control.inbox((plan.name, subtask))
        self._clock = clock
        self._alarm = Alarm(clock, self.interrupt)
        self._has_clock = chain.has_clock
        chain.ring = self.interrupt

    async def run(self) -> None:
        """Runs until it is cancelled or fails; everything it started has ended when it returns."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._chain.close)
            stack.callback(self._alarm.set, None)
            for sink in self.sinks:
                stack.push_async_callback(sink.writer.close)
            async with asyncio.TaskGroup() as opening:
                for sink in self.sinks:
                    opening.create_task(sink.writer.open(), name=f"{sink.uid}-{self.subtask}-open")
            group = await stack.enter_async_context(asyncio.TaskGroup())
            self.snapshots.group = group
            group.create_task(self._obey(), name=f"{self.plan.name}-{self.subtask}-control")
            await self.work()

    async def work(self) -> None:
        """Takes elements in, for ever."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Lets a subtask that waits for input look at the clock."""
        raise NotImplementedError

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
                for sink in self.sinks:
                    await sink.marked(message.checkpoint_id)
                await self.source_marked(message.checkpoint_id)

    async def process(self, enter: Any, batch: Batch[Any]) -> None:
        """Runs one batch through the chain and delivers what came out of it. An empty one only moves a position."""
        if not batch.values:
            return
        if not self.records:
            self._control.report(Started())
        self.records += len(batch)
        enter(batch)
        await self.deliver()

    async def deliver(self) -> None:
        """Sends on what the chain has produced; waits while the receivers are full."""
        produced = self._chain.produced
        for leaf, output in produced:
            await leaf.deliver(output)
        produced.clear()

    async def advance(self, watermark: Watermark) -> None:
        """Moves event time on in the chain, delivers what that fires, and sends the watermark on behind it."""
        if watermark.timestamp > self._watermark:
            await self._fire(watermark.timestamp)
        await self._send_on(watermark)

    async def _fire(self, timestamp: int) -> None:
        self._watermark = timestamp
        for _ in self._chain.advance(timestamp):
            await self.deliver()
            await self.snapshots.mind_memory()
            await asyncio.sleep(0)
        await self.deliver()

    async def follow_clock(self) -> None:
        """Does what is due by the wall clock, and sees to it that it is done when nothing comes."""
        at = self._chain.next_clock_ms()
        if at is not None and at <= (now := self._clock.now_ms()):
            self._chain.on_clock(now)
            await self.deliver()
            await self.snapshots.mind_memory()
            at = self._chain.next_clock_ms()
        self._alarm.set(at)

    async def checkpoint(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        """Takes this subtask's part of a checkpoint; called between two batches."""
        self.snapshots.freeze(checkpoint_id)
        operators = self._chain.snapshot()
        event_time = self.event_time()
        if event_time is not None:
            operators[event_time_key(self.plan.name, self.subtask)] = event_time
        await self._send_on(Barrier(checkpoint_id))
        listed: list[ListedCommittable] = []
        for sink in self.sinks:
            self.snapshots.busy(checkpoint_id, f"sink {sink.uid} prepares")
            listed += await sink.prepare(checkpoint_id)
        self.snapshots.finish(checkpoint_id, dict(positions), listed, operators)

    async def end(self) -> None:
        """Everything was read and handled: lets the chain finish, and says so downstream and to the coordinator.
        Barriers still come."""
        self._has_clock = False
        self._alarm.set(None)
        await self._fire(MAX_TIMESTAMP)
        self._chain.end()
        await self.deliver()
        await self._send_on(EndOfInput())
        self.snapshots.is_ended = True
        self._control.report(Ended(task=self.plan.name, subtask=self.subtask))

    async def _send_on(self, element: Element) -> None:
        for router in self._routers:
            await router.broadcast(element)


class GatedSubtask(Subtask):
    """A subtask whose batches come from other subtasks."""

    def __init__(self, *args: Any, gate: InputGate) -> None:
        super().__init__(*args)
        self._gate = gate
        gate.on_aligning = lambda checkpoint_id: self.snapshots.busy(checkpoint_id, "aligning")

    def interrupt(self) -> None:
        self._gate.interrupt()

    def event_time(self) -> Any:
        return self._gate.snapshot()

    async def work(self) -> None:
        head = self.plan.head
        enter = [self._chain.enter(head.id, index) for index in range(len(head.inputs))]
        if self._gate.watermarks.current.timestamp != MIN_TIMESTAMP:
            await self.advance(self._gate.watermarks.current)
        while True:
            if self._has_clock:
                await self.follow_clock()
            element = await self._gate.next()
            if isinstance(element, Batch):
                await self.process(enter[self._gate.input], element)
                await self.snapshots.mind_memory()
                await asyncio.sleep(0)
            elif isinstance(element, Watermark):
                await self.advance(element)
            elif isinstance(element, Barrier):
                await self.checkpoint(element.checkpoint_id, {})
            elif isinstance(element, EndOfInput):
                await self.end()


def event_time_key(task: str, subtask: int) -> str:
    """Under which name a checkpoint keeps how far event time has come at a subtask. No uid has an @."""
    return operator_key(f"{task}@time", subtask)


class SourceSubtask(Subtask):
    """A subtask whose batches come from a source's reader. It owns the positions of what it sent."""

    def __init__(
        self, *args: Any, reader: SourceReader[Any], positions: Mapping[str, Position], pressure: MemoryPressure
    ) -> None:
        super().__init__(*args)
        self._pressure = pressure
        self.positions: dict[str, Position] = dict(positions)
        self._reader = reader
        self._wake = asyncio.Event()
        self._triggers: deque[Trigger] = deque()
        self._at_checkpoint: dict[int, dict[str, Position]] = {}
        pressure.on_relieved.append(self._wake.set)

    def interrupt(self) -> None:
        self._wake.set()

    def event_time(self) -> Any:
        return None

    def trigger(self, message: Trigger) -> None:
        # Kept in a queue: a gate downstream counts on every barrier from every input, also on those of checkpoints that
        # were abandoned while this subtask was held back.
        self._triggers.append(message)
        self._wake.set()

    def add_splits(self, message: AddSplits) -> None:
        for split, position in message.splits.items():
            if split not in self.positions:
                self.positions[split] = position
                self._reader.add_splits({split: position})

    async def source_marked(self, checkpoint_id: int) -> None:
        for older in [one for one in self._at_checkpoint if one <= checkpoint_id]:
            positions = self._at_checkpoint.pop(older)
            if older == checkpoint_id:
                try:
                    await self._reader.marked(checkpoint_id, positions)
                except Exception as error:
                    log.warning("source %s: could not report positions: %s", self.plan.name, error)

    async def work(self) -> None:
        enter = self._chain.enter(self.plan.head.id)
        async with contextlib.aclosing(self._batches()) as batches:
            async for batch in batches:
                await self.process(enter, batch)
                if batch.next_position is not None:
                    self.positions[batch.split] = batch.next_position
                await self.snapshots.mind_memory()
                while self._pressure.is_on:
                    await self._barrier_if_asked()
                    await self._wake.wait()
                    self._wake.clear()

    async def _batches(self) -> AsyncGenerator[Batch[Any], None]:
        """Batches as they come; barriers are injected between two of them, also while a fetch is pending."""
        fetch: asyncio.Task[Any] | None = None
        try:
            while True:
                await self._barrier_if_asked()
                if self._has_clock:
                    await self.follow_clock()
                if fetch is None:
                    fetch = asyncio.ensure_future(self._reader.fetch())
                    fetch.add_done_callback(lambda _: self._wake.set())
                await self._wake.wait()
                self._wake.clear()
                if not fetch.done():
                    continue
                batches, fetch = fetch.result(), None
                if batches is None:
                    await self.end()
                    await self._only_barriers()
                for batch in batches:
                    yield batch
                    await self._barrier_if_asked()
                    if self._has_clock:
                        await self.follow_clock()
                if not batches:
                    await asyncio.sleep(0)
        finally:
            if fetch is not None:
                fetch.cancel()
                await asyncio.wait([fetch])
            await self._reader.close()

    async def _barrier_if_asked(self) -> None:
        while self._triggers:
            trigger = self._triggers.popleft()
            self._at_checkpoint[trigger.checkpoint_id] = dict(self.positions)
            await self.checkpoint(trigger.checkpoint_id, self.positions)
            if trigger.is_last:
                await self._only_barriers()

    async def _only_barriers(self) -> None:
        """After the end of the input, or after the last barrier of a job that stops: nothing more is read."""
        while True:
            while self._triggers:
                trigger = self._triggers.popleft()
                self._at_checkpoint[trigger.checkpoint_id] = dict(self.positions)
                await self.checkpoint(trigger.checkpoint_id, self.positions)
            await self._wake.wait()
            self._wake.clear()
