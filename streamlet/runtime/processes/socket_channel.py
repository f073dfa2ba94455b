"""Channels to and from the subtasks of other workers, all of one pair of workers over one link.

Back-pressure is by credit: a sender has at most the bound and one batch under way that the receiving subtask has not
taken out.  So a link is always read, no channel waits behind another, and memory is bounded as within one process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from streamlet.elements import Batch, Element, Watermark
from streamlet.errors import ExchangeError, WorkerDiedError
from streamlet.operators.place import Place
from streamlet.runtime.channel import Channel, InputGate
from streamlet.runtime.placement import ChannelAddress, Placement
from streamlet.runtime.processes.frames import (
    MOST_RECORDS,
    FrameKind,
    batch_body,
    batch_of,
    element_body,
    element_of,
    frame,
    parsed,
)
from streamlet.runtime.processes.link import MAX_FRAME_BYTES, Link
from streamlet.task_group import TaskGroup


class SocketSender:
    """The sending end: `Sender` to a subtask in another process."""

    def __init__(self, link: Link, address: ChannelAddress, bound_records: int, place: Place) -> None:
        self.records = 0
        """Under way, or waiting at the other end."""
        self._link = link
        self._address = address
        self._bound = bound_records
        self._place = place
        self._space = asyncio.Event()

    async def send(self, element: Element) -> None:
        if not isinstance(element, Batch):
            self._link.send(frame(FrameKind.ELEMENT, self._address, 0, element_body(element)))
            return
        for piece in element.pieces(MOST_RECORDS):
            for records, data in self._frames(piece):
                while self.records >= self._bound:
                    self._space.clear()
                    await self._space.wait()
                self.records += records
                self._link.send(data)

    def _frames(self, batch: Batch[Any]) -> Iterator[tuple[int, bytes]]:
        """Packs a batch into one frame, or into more where its records are large; gives how many are in each."""
        try:
            data = frame(FrameKind.BATCH, self._address, len(batch), batch_body(batch))
            if len(data) > MAX_FRAME_BYTES and len(batch) == 1:
                raise ExchangeError(
                    f"a record has {len(data)} bytes, and at most {MAX_FRAME_BYTES} go to another process at once",
                    remedy="make it smaller before it is keyed or rebalanced, or run the job in one process",
                )
        except ExchangeError as error:
            where = f"{self._place}: {error.message}\n  on the way to {self._place.operator}"
            raise ExchangeError(where, remedy=error.remedy) from error
        if len(data) <= MAX_FRAME_BYTES:
            yield len(batch), data
            return
        for half in batch.pieces((len(batch) + 1) // 2):
            yield from self._frames(half)

    def credit(self, records: int) -> None:
        """Says that the receiver has taken so many records out."""
        self.records -= records
        if self.records < self._bound:
            self._space.set()


class SocketReceiver(Channel):
    """The receiving end. A batch is decoded when it is taken, in the turn of the subtask that wants it."""

    def __init__(self, gate: InputGate, index: int, bound_records: int, link: Link, address: ChannelAddress) -> None:
        super().__init__(gate, index, bound_records)
        self.waiting: deque[Any] = deque()
        self._link = link
        self._address = address
        self._taken = 0
        self._credit_at = max(1, bound_records // 4)

    def arrive(self, kind: int, records: int, body: bytes) -> None:
        """Puts in what came over the link."""
        if kind == FrameKind.BATCH:
            self.records += records
            self.waiting.append((records, body))
        else:
            element = element_of(body)
            if type(element) is Watermark and self.waiting and type(self.waiting[-1]) is Watermark:
                self.waiting.pop()
            self.waiting.append(element)
        self._gate.wake()

    def take(self) -> Element:
        element = self.waiting.popleft()
        if type(element) is not tuple:
            taken: Element = element
            return taken
        records, body = element
        self.records -= records
        self._taken += records
        if self._taken >= self._credit_at:
            self._link.send(frame(FrameKind.CREDIT, self._address, self._taken))
            self._taken = 0
        return batch_of(body)


class SocketExchange:
    """`Exchange` over the links of this worker to all others, by their numbers."""

    def __init__(self, placement: Placement, links: Mapping[int, Link]) -> None:
        self.placement = placement
        self._links = links
        self._senders: dict[ChannelAddress, SocketSender] = {}
        self._receivers: dict[ChannelAddress, SocketReceiver] = {}

    def sender(self, address: ChannelAddress, bound_records: int, place: Place) -> SocketSender:
        link = self._links[self.placement.process_of(address.receiver)]
        # A union may name the same stream twice: each time is an input of its own, so addresses never repeat.
        sender = self._senders[address] = SocketSender(link, address, bound_records, place)
        return sender

    def receiver(self, address: ChannelAddress, gate: InputGate, bound_records: int) -> None:
        link = self._links[self.placement.process_of(address.sender)]
        channel = SocketReceiver(gate, len(gate.channels), bound_records, link, address)
        self._receivers[address] = gate.add(channel, address.input)

    async def run(self) -> None:
        """Carries what comes, until it is cancelled. Begin when every worker has its channels."""
        async with TaskGroup() as group:
            for number, link in self._links.items():
                group.create_task(self._carry(link), name=f"link-{number}")

    async def _carry(self, link: Link) -> None:
        """Ends with the other worker: what that means is the parent's to say."""
        while (data := await link.receive()) is not None:
            kind, address, records, body = parsed(data)
            ends: Mapping[ChannelAddress, Any] = self._senders if kind == FrameKind.CREDIT else self._receivers
            if address not in ends:
                raise WorkerDiedError(f"another worker has sent a frame for a channel that is not here: {address}")
            if kind == FrameKind.CREDIT:
                self._senders[address].credit(records)
            else:
                self._receivers[address].arrive(kind, records, body)

    async def close(self) -> None:
        """Ends all links."""
        for link in self._links.values():
            await link.finish()
