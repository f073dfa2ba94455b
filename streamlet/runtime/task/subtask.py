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

from streamlet.checkpoint.manifest import ListedCommittable, event_time_key, operator_key
from streamlet.checkpoint.messages import AddSplits, Ended, Marked, Opened, Started, ToSubtask, Trigger
from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP, Barrier, Batch, Element, EndOfInput, Position, Watermark
from streamlet.observe.facts import OperatorFacts, SinkFacts
from streamlet.operators.user_code.raised import ENDS, exit_error
from streamlet.runtime.task.alarm import Alarm
from streamlet.runtime.task.chain_facts import facts_of
from streamlet.runtime.task.notices import Notices
from streamlet.runtime.task.stopwatch import Stopwatch
from streamlet.runtime.task.subtask_state import SubtaskLife, SubtaskState
from streamlet.runtime.task.wiring import Wiring
from streamlet.task_group import TaskGroup

log = logging.getLogger("streamlet.runtime")

_KEEPING_SECONDS = 0.05
"""Less work than that is done before a barrier, and not kept by the checkpoint."""


class Subtask:
    """What source subtasks and gated subtasks share."""

    def __init__(self, wiring: Wiring) -> None:
        self.plan = wiring.plan
        self.subtask = wiring.subtask
        self.records = 0
        """Records taken in since the attempt began."""
        self._had_ended = wiring.had_ended
        self.life = SubtaskLife()
        self.is_stopping = False
        """True from the barrier of the last checkpoint of a job that stops."""
        self._reached = Watermark(MIN_TIMESTAMP)
        """How far event time has come before the chain."""
        self._sent = Watermark(MIN_TIMESTAMP)
        self.sinks = wiring.sinks
        # Each by itself: a connector that is slow to hear holds neither another one nor the control loop.
        self._notices = [Notices(one) for one in (*(sink.marked for sink in self.sinks), self.source_marked)]
        self.snapshots = wiring.snapshots
        self._chain = chain = wiring.chain
        self._routers = wiring.routers
        self._control = wiring.control
        self._inbox = wiring.control.inbox((self.plan.name, self.subtask))
        self._clock = wiring.clock
        self._batch_size = wiring.batch_size
        self._turns = wiring.turns
        self._roomy = asyncio.Event()
        self._held = 0.0
        """How long the last batch held the loop."""
        self._unfinished = 0, 0.0, 0.0, 0.0
        """What is known of a batch of which some still waits in the chain."""
        self._turn_began = 0.0
        self._held_up = Stopwatch(wiring.clock)
        self._has_turned = False
        """True once others have run since: then it is not known who held the loop."""
        self._alarm = Alarm(lambda: chain.clock.now_ms() / 1000, self.interrupt)
        self._has_clock = chain.has_clock
        chain.ring = self.interrupt

    async def run(self) -> None:
        """Runs until it is cancelled or fails; everything it started has ended when it returns."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.life.transition_to, SubtaskState.CLOSED)
            stack.callback(self._chain.close)
            stack.callback(self.silence)
            for sink in self.sinks:
                stack.push_async_callback(sink.writer.close)
            self.life.transition_to(SubtaskState.OPENING)
            async with TaskGroup() as opening:
                for sink in self.sinks:
                    opening.create_task(sink.open(), name=f"{sink.uid}-{self.subtask}-open")
            self._control.report(Opened(task=self.plan.name, subtask=self.subtask))
            group = await stack.enter_async_context(TaskGroup())
            self.snapshots.group = group
            self._chain.spawn = group.create_task
            group.create_task(self._obey(), name=f"{self.plan.name}-{self.subtask}-control")
            for notices in self._notices:
                group.create_task(notices.run(), name=f"{self.plan.name}-{self.subtask}-notices")
            self.life.transition_to(SubtaskState.RUNNING)
            try:
                await self.work()
            except ENDS as error:  # of code that no operator calls
                raise exit_error(error, f"task {self.plan.name!r}, subtask {self.subtask}") from error

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

    def facts(self) -> tuple[list[OperatorFacts], list[SinkFacts]]:
        """What its operators and sinks have done."""
        reached, pressed = self._reached.timestamp, self._held_up.seconds()
        return facts_of(self.plan, self.subtask, self._chain, self.sinks, reached, pressed)

    async def process(self, enter: Any, batch: Batch[Any]) -> int:
        """Runs one batch through the chain and delivers what came out of it. An empty one only moves a position. Gives
        how many of its rows were done."""
        if not batch.values:
            return 0
        if not self.records:
            self._control.report(Started())
        others, behind = self._turns.held_seconds, self._work_behind()
        turn = self._chain.queues.turn
        elsewhere = turn.spent
        done = turn.run(enter, batch)
        self.records += done
        if done < len(batch):
            self.put_back(enter, batch.part(done, len(batch)))
        held = self._clock.monotonic() - self._turn_began
        self._chain.meters[self.plan.head.id].busy_seconds += held - (turn.spent - elsewhere)
        self._held_up.begin(self._turn_began + held)
        await self.deliver()
        seconds = self._clock.monotonic() - self._turn_began
        if not self._has_turned:
            held = seconds
        # What other subtasks did while a sink let this one wait is no waiting for the sink.
        waited = max(0.0, seconds - held - (self._turns.held_seconds - others))
        self._held_up.end(waited)
        self._turns.held(held)
        self._account(max(1, done), held, waited, self._work_behind() - behind)
        return done

    def put_back(self, enter: Any, rest: Batch[Any]) -> None:
        """Takes back what the head of the chain was stopped before."""
        raise NotImplementedError

    def _account(self, records: int, held: float, waited: float, behind: float) -> None:
        """Notes what a batch took, as soon as it is through the chain."""
        if self._unfinished[0]:
            before = self._unfinished
            records, held = records + before[0], held + before[1]
            waited, behind = waited + before[2], behind + before[3]
            self._unfinished = 0, 0.0, 0.0, 0.0
        if self._chain.queues.turn.inside:
            self._unfinished = records, held, waited, behind
        elif records:
            self._batch_size.took(records, held, waited, behind)
            self._held = held

    def _work_behind(self) -> float:
        return sum(router.work_seconds for router in self._routers)

    def _begin_turn(self) -> None:
        """Says that the event loop is held from now on."""
        self._chain.queues.turn.begin()
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
        """Waits before a barrier that what is held back must not let pass."""
        while not self.outputs_have_room():
            self._roomy.clear()
            await self._roomy.wait()

    async def deliver(self) -> None:
        """Sends on what the chain has produced; waits where a sink is behind."""
        produced = self._chain.produced
        for leaf, output in produced:
            await leaf.deliver(output)
        produced.clear()

    async def go_on(self, *, is_urgent: bool = False) -> bool:
        """Works for one turn on what waits in the chain, or fires what is due.  False where there is nothing, or those
        behind take no more, or an operator does not; that one is not asked where it `is_urgent`."""
        chain = self._chain
        queues = chain.queues
        if self.life.has_stopped or not chain.has_work or not self.outputs_have_room():
            return False
        has_to_move = False
        if self._turns.is_resting:
            await self._turns.rest()
        if queues.turn.inside:
            self._begin_turn()
            behind = self._work_behind()
            has_to_move = queues.go_on()
            held = self._clock.monotonic() - self._turn_began
            await self.deliver()
            self._turns.held(held)
            self._account(0, held, 0.0, self._work_behind() - behind)
        elif not chain.is_firing:
            if not is_urgent and not chain.has_room:
                return False
            await self.next_piece()
        await self.snapshots.mind_memory()
        if not queues.turn.inside or has_to_move:
            await self._move_time(is_whole=has_to_move)
            if self.life.is_ending and not queues.turn.inside:
                await self._go_on_ending()
        await self._turns.rest()
        return True

    async def next_piece(self) -> None:
        """Takes in some of what waits at the head of the chain."""
        raise NotImplementedError

    async def advance(self, watermark: Watermark) -> None:
        """Moves event time on in the chain, delivers what that fires, and sends the watermark on behind it.  While
        there is work inside, that is done later."""
        self._reached = watermark
        if not self._chain.queues.turn.inside:
            await self._move_time()

    async def begin_at(self, watermark: Watermark) -> None:
        """The same at the beginning: what was restored and waits sees the time that it saw before."""
        self._reached = watermark
        await self._move_time()

    async def _move_time(self, *, is_whole: bool = False) -> None:
        """Lets event time come as far as it has been told of and nothing in flight holds it.  Where much is fired, or
        those behind are full, `go_on` does the rest, unless `is_whole`: barriers come in between."""
        for _ in self._chain.advance(self._reached.timestamp):
            await self.deliver()
            await self.snapshots.mind_memory()
            await self._turns.rest()
            if is_whole:
                continue
            if self._chain.queues.turn.inside or self.is_wanted() or not self.outputs_have_room():
                return
        await self.deliver()
        # While something is in flight here, those behind must wait for it even if nothing new is expected.
        watermark = Watermark(self._chain.watermark, self._reached.is_idle and not self._chain.is_held)
        # The end itself says that nothing is held back any more.
        if watermark != self._sent and watermark.timestamp != MAX_TIMESTAMP:
            self._sent = watermark
            self._send_on(watermark)

    def is_wanted(self) -> bool:
        """True when there may be a barrier to take part in."""
        raise NotImplementedError

    async def follow_clock(self) -> None:
        """Does what is due by the wall clock, and sees to it that it is done when nothing comes."""
        if self.life.has_stopped:
            self._alarm.set(None)
            return
        at = self._chain.next_clock_ms()
        if at is not None and at <= (now := self._chain.clock.now_ms()):
            if self._chain.queues.turn.inside or not self.outputs_have_room():
                self._alarm.set(None)
                return
            self._chain.on_clock(now)
            await self.deliver()
            await self.snapshots.mind_memory()
            await self._move_time()
            if self.life.is_ending:
                await self._go_on_ending()
            at = self._chain.next_clock_ms()
        self._alarm.set(None if at is None or self.life.is_ended else at / 1000)

    async def checkpoint(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        """Takes this subtask's part of a checkpoint; called between two batches."""
        phases = self.snapshots.phases
        phases.begin(checkpoint_id, "align")
        held_back = await self._held_back()
        phases.begin(checkpoint_id, "freeze")
        self.snapshots.freeze(checkpoint_id)
        operators = self._chain.snapshot() | held_back
        event_time = self.event_time()
        if event_time is not None:
            operators[event_time_key(self.plan.name, self.subtask)] = event_time
        if told := self._chain.told(has_new=self.records > 0):
            operators[operator_key(f"{self.plan.name}@end", self.subtask)] = told
        self._send_on(Barrier(checkpoint_id, self.is_stopping))
        if self.is_stopping:
            self.life.stop()
        phases.begin(checkpoint_id, "prepare")
        listed: list[ListedCommittable] = []
        for sink in self.sinks:
            self.snapshots.busy(checkpoint_id, f"sink {sink.uid} prepares")
            listed += await sink.prepare(checkpoint_id)
        self.snapshots.finish(checkpoint_id, dict(positions), listed, operators, has_ended=self.life.is_ended)

    async def _held_back(self) -> dict[str, Any]:
        """What the barrier overtakes, for the snapshot. What is done in a moment, or cannot be kept, is done first."""
        queues = self._chain.queues
        may_keep, until = True, self._clock.monotonic() + _KEEPING_SECONDS
        while queues.is_held_back:
            seconds = queues.seconds(self.seconds_per_record)
            is_short = self._clock.monotonic() + seconds <= until and self.outputs_have_room()
            if may_keep and not is_short:
                kept = queues.kept(self.subtask)
                if kept is not None:
                    return kept
                may_keep = False
            if not await self.go_on(is_urgent=True):
                await self.until_outputs_have_room()
        return {}

    @property
    def seconds_per_record(self) -> float:
        """What a record at the head of the chain takes."""
        return 0.0

    async def end(self) -> None:
        """Everything was read and taken in: lets the chain finish, and says so downstream and to the coordinator. Where
        records are in flight, `follow_clock` goes on with it.  Barriers still come."""
        self.life.transition_to(SubtaskState.ENDING)
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
        self.life.transition_to(SubtaskState.ENDED)
        self._control.report(Ended(task=self.plan.name, subtask=self.subtask))

    def _send_on(self, element: Element) -> None:
        for router in self._routers:
            router.broadcast(element)
