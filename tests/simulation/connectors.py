"""The simulated source and sink: they keep the contracts as a connector would, and reach the outside by requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from streamlet.connect import Batch, Committable, Committer, Outcome, ReaderContext, Sink, SinkContext, Source
from streamlet.errors import SinkError, SourceError
from tests.simulation.outside import Outside
from tests.simulation.scenario import Faults, SinkSpec, SourceSpec

POOL = 8
"""Ids per subtask, as many as the Kafka sink has."""


class Line(Protocol):
    """How a process reaches the outside."""

    pinned: dict[str, int]
    """Split -> the position where it was first read."""

    @property
    def outside(self) -> Outside: ...

    @property
    def faults(self) -> Faults: ...

    def now(self) -> float:
        """Seconds since the simulation began."""
        ...

    def ask(self, action: Callable[[], Any], connection: str = "", *, times: float = 1) -> Awaitable[Any]:
        """Sends a request; the answer may come late, or never (then it raises after a while). Requests of one
        connection arrive in their order.  It arrives also when nobody waits for the answer any more; `times` is how
        much longer than usual it travels."""
        ...

    def chance(self, name: str) -> bool:
        """True when this fault happens now."""
        ...

    def number(self, most: int) -> int:
        """A number from 0 to `most`."""
        ...

    def read_to(self, positions: Mapping[str, int]) -> None:
        """Takes note of how far splits were read and handled, as a checkpoint says."""
        ...

    def read_all(self) -> None:
        """An unbounded source has nothing more to read for now."""
        ...


class SimulatedSource(Source[Any]):
    """Splits of a list each. Positions count records and the gaps between them, as offsets do."""

    def __init__(self, spec: SourceSpec, line: Line) -> None:
        self.spec = spec
        self.line = line
        self.bounded = spec.is_bounded
        self.discovery_interval_seconds = 0.2 if spec.appears else None

    async def discover(self, known: Mapping[str, int]) -> Mapping[str, int]:
        now = self.line.now()
        there = [split for split in self.spec.splits if self.spec.appears.get(split, 0.0) <= now]
        return {split: self._start(split) for split in there if split not in known}

    def _start(self, split: str) -> int:
        """Earliest, or latest: how much there is grows with the time."""
        if split in self.spec.appears:
            return 0
        there = int(self.line.now() * 200) % 7 if self.spec.starts_latest else 0
        return min(there, len(self.spec.splits[split]) * 2)

    def reader(self, context: ReaderContext, splits: Mapping[str, int]) -> SimulatedReader:
        # When a source begins to read, where it began is pinned for ever.
        for split, position in splits.items():
            self.line.pinned.setdefault(split, position)
        self.line.read_to(splits)
        return SimulatedReader(self, context, splits)


class SimulatedReader:
    """Gives batches of several splits at once, empty ones too."""

    def __init__(self, source: SimulatedSource, context: ReaderContext, splits: Mapping[str, int]) -> None:
        self.source = source
        self.context = context
        self.positions = dict(splits)

    async def fetch(self) -> Sequence[Batch[Any]] | None:
        spec, line = self.source.spec, self.source.line
        await asyncio.sleep(spec.slowness * line.number(10) / 10)
        if line.chance("fetch_fails"):
            raise SourceError("the outside did not answer")
        rest = [split for split in sorted(self.positions) if self.positions[split] < len(spec.splits[split]) * 2]
        if not rest:
            if spec.is_bounded:
                return None
            line.read_all()
            return []
        batches = []
        for _ in range(line.number(4)):
            split = rest[line.number(len(rest) - 1)]
            batches.append(self._cut(split, spec.splits[split]))
        return batches

    def _cut(self, split: str, records: list[Any]) -> Batch[Any]:
        """Record i lies at position 2 i, and behind each of them is a gap."""
        start = self.positions[split]
        end = min(start + self.source.line.number(2 * self.context.batch_limit()), len(records) * 2)
        self.positions[split] = end
        return Batch(records[(start + 1) // 2 : (end + 1) // 2], split=split, next_position=end)

    def add_splits(self, splits: Mapping[str, int]) -> None:
        self.positions.update(splits)
        for split, position in splits.items():
            self.source.line.pinned.setdefault(split, position)

    async def marked(self, checkpoint_id: int, positions: Mapping[str, int]) -> None:
        self.source.line.read_to(positions)

    async def close(self) -> None:
        """Nothing to end."""


class SimulatedSink(Sink[Any]):
    """Writes to the outside; see there for what the kinds are."""

    def __init__(self, spec: SinkSpec, line: Line) -> None:
        self.spec = spec
        self.line = line

    def writer(self, context: SinkContext) -> SimulatedWriter:
        return SimulatedWriter(self.spec, self.line, context)

    def committer(self, context: SinkContext) -> Committer:
        return SimulatedCommitter(self.spec, self.line, context)


class SimulatedWriter:
    """Sends batches without waiting for answers, and waits for all of them at a barrier."""

    def __init__(self, spec: SinkSpec, line: Line, context: SinkContext) -> None:
        self.spec = spec
        self.line = line
        self.head = _head(spec.uid, context.instance, context.attempt, context.subtask)
        self.clock = context.clock
        self.free = [f"{self.head}{number}" for number in range(POOL)]
        self.current: tuple[str, int] | None = None
        self.began = 0.0
        self.records = 0
        self.sent: list[asyncio.Future[Any]] = []

    async def open(self) -> None:
        """Nothing is taken ahead of need."""

    async def write(self, batch: Batch[Any]) -> None:
        if not batch.values:
            return
        if self.current is None:
            await self.take()
        assert self.current is not None
        id, epoch = self.current
        values = list(batch.values)
        first = self.records
        request = self.line.ask(lambda: self.line.outside.write(id, epoch, first, values), self.head)
        self.sent.append(asyncio.ensure_future(request))
        self.records += len(values)
        if len(self.sent) > 2:
            await self.sent.pop(0)

    async def take(self) -> None:
        """Begins a unit."""
        if not self.free:
            raise SinkError("no id is free")
        id = self.free.pop()
        self.began = self.clock.monotonic()
        request = self.line.ask(lambda: self.line.outside.take(self.spec.uid, id))
        self.current = id, await request

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        await self.flush()
        if self.current is None:
            return []
        (id, epoch), records = self.current, self.records
        self.current, self.records = None, 0
        deadline = self.spec.deadline_seconds
        return [
            Committable(
                f"{id}@{epoch}",
                {"id": id, "epoch": epoch},
                records,
                f"unit {id}",
                None if deadline is None else self.clock.now_ms() + int(deadline * 1000),
            )
        ]

    async def flush(self) -> None:
        """Waits for every answer; raises what any of them says."""
        while self.sent:
            await self.sent.pop(0)

    async def released(self, committables: Sequence[Committable]) -> None:
        self.free += [one.payload["id"] for one in committables]

    async def close(self) -> None:
        for one in self.sent:
            one.cancel()
        if self.sent:
            await asyncio.wait(self.sent)
        for one in self.sent:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                one.exception()
        self.sent.clear()


class SimulatedCommitter:
    """Decides by requests."""

    def __init__(self, spec: SinkSpec, line: Line, context: SinkContext) -> None:
        self.can_lose = spec.kind == "pooled"
        self.uid = spec.uid
        self.line = line
        self.heads = [f"{spec.uid}.{context.instance}.{attempt}" for attempt in context.unfenced]

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        outside = self.line.outside
        found: Sequence[Outcome] = await self.line.ask(lambda: [outside.outcome(*_key(one)) for one in committables])
        return found

    async def commit(self, committable: Committable) -> None:
        times = self.line.faults.slow_commits
        await self.line.ask(lambda: self.line.outside.commit(*_key(committable)), times=times)

    async def abort(self, committable: Committable) -> None:
        await self.line.ask(lambda: self.line.outside.abort(*_key(committable)))

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None:
        spared = {_key(one) for one in spare}
        outside = self.line.outside

        def all_of_them() -> None:
            for head in self.heads:
                outside.fence(self.uid, head, parallelism, spared)

        await self.line.ask(all_of_them)

    async def close(self) -> None:
        """Nothing to end."""


def _head(uid: str, instance: str, attempt: int, subtask: int) -> str:
    """As of the Kafka sink: what comes late from one attempt has no way to the units of another."""
    return f"{uid}.{instance}.{attempt}.{subtask}."


def _key(committable: Committable) -> tuple[str, int]:
    return committable.payload["id"], committable.payload["epoch"]
