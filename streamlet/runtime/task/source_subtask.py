"""The subtask that reads a source: it owns positions and event time of its splits, and injects barriers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from functools import partial
from typing import Any

from streamlet.checkpoint.messages import AddSplits, Trigger
from streamlet.elements import Batch, Position
from streamlet.observe.facts import SplitFacts
from streamlet.operators.user_code.place import connector_at
from streamlet.runtime.task.alarm import Alarm
from streamlet.runtime.task.chain_facts import known_time
from streamlet.runtime.task.left_out import LeftOut
from streamlet.runtime.task.pressure import MemoryPressure
from streamlet.runtime.task.split_watermarks import SplitWatermarks
from streamlet.runtime.task.subtask import Subtask
from streamlet.runtime.task.wiring import Wiring
from streamlet.source import LagReader, SourceReader
from streamlet.tally import Counting, uncounted

log = logging.getLogger("streamlet.runtime")


class SourceSubtask(Subtask):
    """A subtask whose batches come from a source's reader. It owns the positions of what it sent."""

    def __init__(
        self,
        wiring: Wiring,
        *,
        reader: SourceReader[Any],
        positions: Mapping[str, Position],
        pressure: MemoryPressure,
        times: SplitWatermarks | None,
        count: Counting = uncounted,
    ) -> None:
        """`times` follows event time; None where the source has no strategy for it."""
        super().__init__(wiring)
        self._times = times
        self._meter = self._chain.meters[self.plan.head.id]
        self._put_aside = self._chain.side(self.plan.head.id)
        self._left_out = LeftOut(self.plan.head, self._put_aside, count) if self.plan.head.leaves_out else None
        self._has_clock = self._has_clock or times is not None
        self._check = Alarm(self._clock.monotonic, self.interrupt)
        self._pressure = pressure
        self.positions: dict[str, Position] = dict(positions)
        self._reader = reader
        self._wake = asyncio.Event()
        self._triggers: deque[Trigger] = deque()
        self._at_checkpoint: dict[int, dict[str, Position]] = {}
        pressure.on_relieved.append(self._wake.set)

    def interrupt(self) -> None:
        self._wake.set()

    def silence(self) -> None:
        super().silence()
        self._check.set(None)

    def is_wanted(self) -> bool:
        return bool(self._triggers)

    def event_time(self) -> Any:
        return None if self._times is None else self._times.snapshot()

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
                if self._times is not None:
                    self._times.add(split)
                    self._wake.set()

    def splits(self) -> list[SplitFacts]:
        """What is known of its splits; of their lag only if the reader can tell."""
        uid, times = self.plan.name, self._times
        lags = self._reader.lag() if isinstance(self._reader, LagReader) else {}
        return [
            SplitFacts(
                uid,
                split,
                lags.get(split),
                _number(position),
                None if times is None else known_time(times.reached(split)),
                times is not None and times.is_silent(split),
            )
            for split, position in self.positions.items()
        ]

    def lag(self) -> int | None:
        """How many records its splits are behind, if the reader can tell."""
        return sum(self._reader.lag().values()) if isinstance(self._reader, LagReader) else None

    async def source_marked(self, checkpoint_id: int) -> None:
        for older in [one for one in self._at_checkpoint if one <= checkpoint_id]:
            positions = self._at_checkpoint.pop(older)
            if older == checkpoint_id:
                try:
                    await self._reader.marked(checkpoint_id, positions)
                except Exception as error:
                    log.warning("source %s: could not report positions: %s", self.plan.name, error)

    async def _fetch(self) -> Iterable[Batch[Any]] | None:
        """In a task of its own, where an error that ends the process would do so."""
        with connector_at(self.plan.head.place):
            return await self._reader.fetch()

    async def work(self) -> None:
        enter, side = self._chain.enter(self.plan.head.id), self._put_aside
        times = self._times
        if times is not None:
            await self.begin_at(times.current)
        async with contextlib.aclosing(self._batches()) as batches:
            async for batch in batches:
                if batch.tag is not None:
                    await self.process(partial(side, batch.tag), batch)
                elif times is not None and batch.values:
                    await self._process_timed(enter, batch, times)
                else:
                    await self.process(enter, batch)
                if batch.next_position is not None:
                    self.positions[batch.split] = batch.next_position
                await self.snapshots.mind_memory()
                if self._pressure.is_on:
                    await self._until_relieved()

    async def _process_timed(self, enter: Any, batch: Batch[Any], times: SplitWatermarks) -> None:
        """The same with event time: it moves on behind the batch."""
        if times.hear(batch.split):
            await self.advance(times.current)
        batch = times.timed(batch, self._left_out)
        if batch.values:
            await self.process(enter, batch)
            if times.follow(batch):
                await self.advance(times.current)
        elif self._chain.produced:
            await self.deliver()

    async def deliver(self) -> None:
        if self._times is None:
            await super().deliver()
        else:
            began = self._clock.monotonic()
            await super().deliver()
            self._times.held(self._clock.monotonic() - began)

    async def follow_clock(self) -> None:
        await super().follow_clock()
        if self._times is not None and not self.life.is_ending:
            if self._times.check():
                await self.advance(self._times.current)
            self._check.set(self._times.next_check())

    async def _until_relieved(self) -> None:
        began = self._clock.monotonic()
        self._held_up.begin(began)
        while self._pressure.is_on:
            await self._barrier_if_asked()
            await self._wake.wait()
            self._wake.clear()
        self._relieved(began)

    def _relieved(self, began: float) -> None:
        seconds = self._clock.monotonic() - began
        self._held_up.end(seconds)
        if self._times is not None:
            self._times.held(seconds)

    async def _until_room(self) -> None:
        """Waits until another batch may begin; barriers go before it."""
        if self._turns.is_resting:
            await self._turns.rest()
        began: float | None = None
        while True:
            if self._triggers:
                await self._barrier_if_asked()
            if self._has_clock:
                await self.follow_clock()
            if self._chain.has_work and await self.go_on():
                continue
            if not self._chain.has_work and self._chain.has_room and self.outputs_have_room():
                break
            if began is None:
                began = self._clock.monotonic()
                self._held_up.begin(began)
            await self._wake.wait()
            self._wake.clear()
        if began is not None:
            self._relieved(began)

    async def _batches(self) -> AsyncGenerator[Batch[Any], None]:
        """Batches as they come; barriers are injected between two of them, also while a fetch is pending."""
        fetch: asyncio.Task[Any] | None = None
        try:
            while True:
                await self._barrier_if_asked()
                if self._has_clock:
                    await self.follow_clock()
                if self._chain.has_work and await self.go_on():
                    continue
                if fetch is None:
                    fetch = asyncio.ensure_future(self._fetch())
                    fetch.add_done_callback(lambda _: self._wake.set())
                await self._wake.wait()
                self._wake.clear()
                if not fetch.done():
                    continue
                batches, fetch = fetch.result(), None
                if batches is None:
                    await self.end()
                    await self._only_barriers()
                began = self._clock.monotonic()
                for batch in batches:
                    # Reading may be lazy: this is where it takes its time.
                    self._meter.busy_seconds += self._clock.monotonic() - began
                    await self._until_room()
                    self._begin_turn()
                    yield batch
                    await self._turns.rest()
                    began = self._clock.monotonic()
        finally:
            if fetch is not None:
                fetch.cancel()
            # First: when another task of the attempt fails, this is cancelled a second time, wherever it waits.
            await self._reader.close()
            if fetch is not None:
                await asyncio.wait([fetch])

    async def _barrier_if_asked(self) -> None:
        while self._triggers:
            trigger = self._triggers.popleft()
            self._at_checkpoint[trigger.checkpoint_id] = dict(self.positions)
            self.is_stopping = trigger.is_last
            await self.checkpoint(trigger.checkpoint_id, self.positions)
            if trigger.is_last:
                await self._only_barriers()

    async def _only_barriers(self) -> None:
        """After the end of the input, or after the last barrier of a job that stops: nothing more is read."""
        while True:
            while self._triggers:
                trigger = self._triggers.popleft()
                self._at_checkpoint[trigger.checkpoint_id] = dict(self.positions)
                self.is_stopping = trigger.is_last
                await self.checkpoint(trigger.checkpoint_id, self.positions)
            if self.life.is_ending and self._has_clock:
                await self.follow_clock()
            if self.life.is_ending and await self.go_on():
                continue
            await self._wake.wait()
            self._wake.clear()


def _number(position: Position) -> int | None:
    """The place in a split, where it is a number or begins with one."""
    first = position[0] if isinstance(position, list | tuple) and position else position
    return first if type(first) is int else None
