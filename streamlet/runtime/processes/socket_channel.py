"""Channels to and from the subtasks of other workers, all of one pair of workers over one link.

Back-pressure is as within one process (`runtime/backlog.py`): the senders of a worker share a backlog for each task in
another.  Credits tell them what was taken out there, and the receivers tell how fast they are and how much they let
come.  So a link is always read, no channel waits behind another, and memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from streamlet.elements import Barrier, Batch, Element
from streamlet.errors import ExchangeError, WorkerDiedError
from streamlet.operators.user_code.place import Place
from streamlet.runtime.processes.frames import (
    MOST_RECORDS,
    FrameKind,
    batch_body,
    batch_of,
    element_body,
    element_of,
    frame,
    pace_body,
    pace_of,
    parsed,
)
from streamlet.runtime.processes.link import MAX_FRAME_BYTES, Link
from streamlet.runtime.task.backlog import WORK_SECONDS, Backlog
from streamlet.runtime.task.channel import Channel
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.placement import ChannelAddress, Placement
from streamlet.task_group import TaskGroup

_PACE_CHANGE = 0.3
"""By how much of itself a pace has changed when it is told again."""
_CREDIT_SECONDS = 0.005
_CREDIT_RECORDS = 1000
"""How much may have been taken out before the sender is told."""


class SocketSender:
    """The sending end: `Sender` to a subtask in another process."""

    def __init__(self, link: Link, address: ChannelAddress, backlog: Backlog, place: Place) -> None:
        self.backlog = backlog
        self._link = link
        self._address = address
        self._place = place
        self._under_way: deque[tuple[int, int]] = deque()
        """Behind which barrier, and how many records: on the way or waiting at the other end."""
        self._last_barrier = 0

    def send(self, element: Element) -> None:
        if not isinstance(element, Batch):
            if isinstance(element, Barrier):
                self._last_barrier = element.checkpoint_id
            self._link.send(frame(FrameKind.ELEMENT, self._address, 0, element_body(element)))
            return
        for piece in element.pieces(MOST_RECORDS):
            for records, data in self._frames(piece):
                self.backlog.add(self._last_barrier, records)
                self._under_way.append((self._last_barrier, records))
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
        """Says that the receiver has taken batches out, of so many records."""
        while self._under_way and (records > 0 or not self._under_way[0][1]):
            barrier, sent = self._under_way.popleft()
            self.backlog.remove(barrier, sent)
            records -= sent


class SocketReceiver(Channel):
    """The receiving end. A batch is decoded when it is taken, in the turn of the subtask that wants it."""

    def __init__(self, gate: InputGate, address: ChannelAddress, answers: _Answers) -> None:
        super().__init__(gate)
        self.waiting: deque[Any] = deque()
        self._address = address
        self._answers = answers

    def arrive(self, kind: int, records: int, body: bytes) -> None:
        """Puts in what came over the link."""
        if kind == FrameKind.BATCH:
            self.backlog.add(self._barrier_in, records)
            self.waiting.append((records, body))
            self._gate.wake()
        else:
            self.send(element_of(body))

    def take(self) -> Element:
        if type(self.waiting[0]) is not tuple:
            return super().take()
        batch, begin = self.lift()
        begin()
        return batch

    def lift(self) -> tuple[Batch[Any], Callable[[], None]]:
        records, body = self.waiting.popleft()
        return batch_of(body), partial(self._begun, self._barrier_out, records)

    def _begun(self, barrier: int, records: int) -> None:
        self.backlog.remove(barrier, records)
        self._answers.taken(self._address, records)


class _Answers:
    """What the senders in one other worker are told of a task here: what was taken out, and how fast it is."""

    def __init__(self, backlog: Backlog, link: Link, task: int) -> None:
        self._backlog = backlog
        self._link = link
        self._task = task
        self._told = (0.0, 0.0)
        self._taken: dict[ChannelAddress, int] = {}
        self._records = self._batches = 0
        self._most = min(_CREDIT_RECORDS, max(1, backlog.most_records // 4))
        backlog.on_pace.append(self._tell_pace)

    def taken(self, address: ChannelAddress, records: int) -> None:
        """A batch was taken out.  Only as much is kept for later as no sender may be waiting for."""
        self._taken[address] = self._taken.get(address, 0) + records
        self._records += records
        self._batches += 1
        work_seconds = self._records * self._backlog.seconds_per_record
        work_seconds += self._batches * self._backlog.seconds_per_batch
        if self._records >= self._most or work_seconds >= _CREDIT_SECONDS:
            self._credit()

    def _credit(self) -> None:
        for address, records in self._taken.items():
            self._link.send(frame(FrameKind.CREDIT, address, records))
        self._taken.clear()
        self._records = self._batches = 0

    def _tell_pace(self) -> None:
        paces = self._backlog.seconds_per_batch, self._backlog.seconds_per_record
        if any(abs(now - told) > _PACE_CHANGE * max(now, told) for now, told in zip(paces, self._told, strict=True)):
            self._told = paces
            self._credit()
            self._link.send(frame(FrameKind.PACE, ChannelAddress(self._task, 0, 0, 0), 0, pace_body(*paces)))


class SocketExchange:
    """`Exchange` over the links of this worker to all others, by their numbers."""

    def __init__(self, placement: Placement, links: Mapping[int, Link]) -> None:
        self.placement = placement
        self._links = links
        self._senders: dict[ChannelAddress, SocketSender] = {}
        self._receivers: dict[ChannelAddress, SocketReceiver] = {}
        self._backlogs: dict[tuple[int, int], Backlog] = {}
        """Worker and task -> what is on the way from here."""
        self._answers: dict[tuple[int, int], _Answers] = {}
        """Worker and task -> what it is told of ours."""

    def sender(self, address: ChannelAddress, most_records: int, place: Place) -> SocketSender:
        to = self.placement.process_of(address.receiver)
        # All the workers that send to a task in one share what may be on the way to it.
        work_seconds = min(WORK_SECONDS, 2 * WORK_SECONDS / self.placement.processes)
        backlog = self._backlogs.setdefault((to, address.task), Backlog(most_records, work_seconds))
        # A union may name the same stream twice: each time is an input of its own, so addresses never repeat.
        sender = self._senders[address] = SocketSender(self._links[to], address, backlog, place)
        return sender

    def receiver(self, address: ChannelAddress, gate: InputGate) -> None:
        of = self.placement.process_of(address.sender)
        link, key = self._links[of], (of, address.task)
        if key not in self._answers:
            self._answers[key] = _Answers(gate.backlog, link, address.task)
        channel = SocketReceiver(gate, address, self._answers[key])
        self._receivers[address] = gate.add(channel, address.input)

    async def run(self) -> None:
        """Carries what comes, until it is cancelled. Begin when every worker has its channels."""
        async with TaskGroup() as group:
            for number, link in self._links.items():
                group.create_task(self._carry(number, link), name=f"link-{number}")

    async def _carry(self, worker: int, link: Link) -> None:
        """Ends with the other worker: what that means is the parent's to say."""
        while (data := await link.receive()) is not None:
            kind, address, records, body = parsed(data)
            if kind == FrameKind.PACE:
                self._paced(worker, address.task, body)
                continue
            ends: Mapping[ChannelAddress, Any] = self._senders if kind == FrameKind.CREDIT else self._receivers
            if address not in ends:
                raise WorkerDiedError(f"another worker has sent a frame for a channel that is not here: {address}")
            if kind == FrameKind.CREDIT:
                self._senders[address].credit(records)
            else:
                self._receivers[address].arrive(kind, records, body)

    def _paced(self, worker: int, task: int, body: bytes) -> None:
        backlog = self._backlogs.get((worker, task))
        if backlog is None:
            raise WorkerDiedError(f"another worker tells of the pace of task {task}, to which nothing goes from here")
        backlog.told(*pace_of(body))

    async def close(self) -> None:
        """Ends all links."""
        for link in self._links.values():
            await link.finish()
