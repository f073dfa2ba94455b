"""Channels between subtasks, and the gate where a subtask's inputs meet.

A channel is bounded in records; a sender that finds it full waits, and that is the back-pressure of the whole job.
One queue hop costs about a microsecond, so what hops is a batch.
"""

from __future__ import annotations

import asyncio
from collections import deque

from streamlet.checkpoint.alignment import BarrierAligner
from streamlet.elements import Barrier, Batch, Element, EndOfInput


class Channel:
    """From one subtask to one gate, in order."""

    def __init__(self, gate: InputGate, index: int, bound_records: int) -> None:
        self._gate = gate
        self._index = index
        self._bound = bound_records
        self._space = asyncio.Event()
        self.waiting: deque[Element] = deque()
        self.records = 0
        """Records that wait in it; at most the bound and one batch."""

    async def send(self, element: Element) -> None:
        """Puts an element in; waits while the channel is full. A barrier or end never waits."""
        if type(element) is Batch:
            while self.records >= self._bound:
                self._space.clear()
                await self._space.wait()
            self.records += len(element)
        self.waiting.append(element)
        self._gate.wake()

    def take(self) -> Element:
        """Takes the oldest element out and lets a waiting sender go on."""
        element = self.waiting.popleft()
        if type(element) is Batch:
            self.records -= len(element)
            if self.records < self._bound:
                self._space.set()
        return element


class InputGate:
    """All input channels of one subtask; gives batches as they come, and barriers when they are aligned."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.inputs: list[int] = []
        """Channel -> the number of the input edge that it belongs to."""
        self._filled = asyncio.Event()
        self._next = 0
        self._aligner = BarrierAligner(0)

    def connect(self, input_index: int, bound_records: int) -> Channel:
        """Adds a channel. All are connected before the first element is taken."""
        channel = Channel(self, len(self.channels), bound_records)
        self.channels.append(channel)
        self.inputs.append(input_index)
        self._aligner = BarrierAligner(len(self.channels))
        return channel

    def wake(self) -> None:
        """Says that a channel has something."""
        self._filled.set()

    async def next(self) -> Element:
        """Waits for the next batch, the next aligned barrier, or the end of all inputs."""
        while True:
            index = self._ready()
            if index is None:
                self._filled.clear()
                await self._filled.wait()
                continue
            element = self.channels[index].take()
            if (
                isinstance(element, Batch)
                or (isinstance(element, Barrier) and self._aligner.barrier(index, element.checkpoint_id))
                or (isinstance(element, EndOfInput) and self._aligner.end(index))
            ):
                return element

    def _ready(self) -> int | None:
        """A channel with something that may be taken, in turn, so that none starves."""
        count = len(self.channels)
        for step in range(count):
            index = (self._next + step) % count
            if self.channels[index].waiting and not self._aligner.is_blocked(index):
                self._next = (index + 1) % count
                return index
        return None
