"""The gate where all input channels of a subtask meet: barriers are aligned, watermarks become the lowest of all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from streamlet.checkpoint.alignment import BarrierAligner
from streamlet.elements import MIN_TIMESTAMP, Barrier, Batch, Element, EndOfInput, Watermark
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.channel import Channel
from streamlet.runtime.task.lowest_watermark import LowestWatermark

C = TypeVar("C", bound=Channel)

_NO_BATCHES = (Watermark, Barrier, EndOfInput)
"""A batch may wait in any form."""


class InputGate:
    """All input channels of one subtask; gives batches as they come, barriers when they are aligned, and the
    watermark of all channels when it has changed."""

    def __init__(self, backlog: Backlog, names: Sequence[str] = (), timeless: Collection[int] = ()) -> None:
        """`backlog`: that of the task; `names`: whose output each input edge is; `timeless`: input edges whose
        watermarks mean nothing."""
        self.backlog = backlog
        self._names = names
        self._timeless = timeless
        self.channels: list[Channel] = []
        self.inputs: list[int] = []
        """Channel -> the number of the input edge that it belongs to."""
        self.input = 0
        """The input edge of the element that was given last."""
        self.on_begun: Callable[[], None] | None = None
        """To be called when that is begun, where it takes up its room until then."""
        self.watermarks: LowestWatermark[int] = LowestWatermark()
        self._is_interrupted = False
        self._filled = asyncio.Event()
        self._next = 0
        self._aligner = BarrierAligner(0)
        self.on_aligning: Callable[[int], None] = lambda _: None
        """Called with a checkpoint's id when a barrier came and others are missing."""

    def connect(self, input_index: int) -> Channel:
        """Adds a channel. All are connected before the first element is taken."""
        return self.add(Channel(self), input_index)

    def add(self, channel: C, input_index: int) -> C:
        """Adds a channel that was made for this gate."""
        self.channels.append(channel)
        self.inputs.append(input_index)
        self.watermarks.add(len(self.channels) - 1)
        if input_index in self._timeless:
            self.watermarks.mute(len(self.channels) - 1)
        self._aligner = BarrierAligner(len(self.channels))
        return channel

    def wake(self) -> None:
        """Says that a channel has something."""
        self._filled.set()

    def interrupt(self) -> None:
        """Lets `next` give None soon: there is something to do that is no element."""
        self._is_interrupted = True
        self._filled.set()

    async def next(self, *, takes_batches: bool = True, holds_batches: bool = False) -> Element | None:
        """Waits for the next batch, a new watermark, the next aligned barrier, or the end of all inputs.  Where it
        takes no batches, only for what stands before the next batch of an input; where it holds them, also for those
        that a barrier waits for: such a one takes up its room until `on_begun` is called."""
        while True:
            if self._is_interrupted:
                self._is_interrupted = False
                return None
            element = self.poll(takes_batches=takes_batches, holds_batches=holds_batches)
            if element is not None:
                return element
            self._filled.clear()
            await self._filled.wait()

    def poll(self, *, takes_batches: bool = True, holds_batches: bool = False) -> Element | None:
        """The same without waiting: None where there is nothing."""
        while True:
            index = self._ready(takes_batches or (holds_batches and self.is_aligning))
            if index is None:
                return None
            channel = self.channels[index]
            self.on_begun = None
            if takes_batches or type(channel.waiting[0]) in _NO_BATCHES:
                element = self._across(index, channel.take())
            else:
                element, self.on_begun = channel.lift()
            if element is not None:
                self.input = self.inputs[index]
                return element

    @property
    def is_aligning(self) -> bool:
        """True while a barrier is here and cannot go on."""
        return self._aligner.checkpoint_id is not None or any(channel.barriers for channel in self.channels)

    def _across(self, index: int, element: Element) -> Element | None:
        """What an element of one channel means for all of them."""
        if isinstance(element, Batch):
            return element
        if isinstance(element, Watermark):
            if self.inputs[index] in self._timeless:
                return None
            has_changed = self.watermarks.advance(index, element.timestamp, is_idle=element.is_idle)
            return self.watermarks.current if has_changed else None
        if isinstance(element, Barrier):
            return element if self._aligned(index, element.checkpoint_id) else None
        if self._aligner.end(index):
            return element
        return self.watermarks.current if self.watermarks.end(index) else None

    def snapshot(self) -> dict[str, Any] | None:
        """How far event time has come, by input; None while nothing is known of it."""
        by_input: dict[str, int] = {}
        for channel, timestamp in self.watermarks.timestamps.items():
            of = self._name(channel)
            by_input[of] = min(timestamp, by_input.get(of, timestamp))
        current = self.watermarks.current.timestamp
        if current == MIN_TIMESTAMP and all(one == MIN_TIMESTAMP for one in by_input.values()):
            return None
        return {"watermark": current, "inputs": by_input}

    def restore(self, snapshots: Sequence[Mapping[str, Any]], *, is_mesh: bool) -> None:
        """Takes up the event time of all old subtasks.  Each channel begins at the lowest of its input.

        Where every subtask is fed by all of those before it (`is_mesh`), all had seen the same watermarks at the
        aligned barrier, so that the highest is right for each of them; else only the lowest is.
        """
        for channel in range(len(self.channels)):
            known = [one["inputs"].get(self._name(channel), MIN_TIMESTAMP) for one in snapshots]
            self.watermarks.add(channel, min(known, default=MIN_TIMESTAMP))
        kept = [one["watermark"] for one in snapshots]
        if kept:
            self.watermarks.keep(max(kept) if is_mesh else min(kept))

    def _name(self, channel: int) -> str:
        """By whose output a checkpoint knows the input of a channel, so that others may be added beside it."""
        of = self.inputs[channel]
        return self._names[of] if of < len(self._names) else str(of)

    def _aligned(self, index: int, checkpoint_id: int) -> bool:
        if self._aligner.barrier(index, checkpoint_id):
            return True
        self.on_aligning(checkpoint_id)
        return False

    def _ready(self, takes_batches: bool) -> int | None:
        """A channel with something that may be taken, in turn, so that none starves."""
        count = len(self.channels)
        for step in range(count):
            index = (self._next + step) % count
            waiting = self.channels[index].waiting
            if not waiting or not (takes_batches or type(waiting[0]) in _NO_BATCHES):
                continue
            if not self._aligner.is_blocked(index):
                self._next = (index + 1) % count
                return index
        return None
