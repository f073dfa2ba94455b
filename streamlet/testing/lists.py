"""Connectors for tests: `ListSource` reads a list, `CollectSink` keeps what is committed. Both keep their contracts.

They need no pytest, and work in any job: positions are in the checkpoint, output is committed in two phases, and a job
that is killed by a simulation and started again goes on with the same two objects, as with a real outside.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from streamlet.elements import Batch, Position
from streamlet.errors import ConfigError, OutputLostError, SinkError
from streamlet.sink import Committable, Outcome, Sink, SinkContext
from streamlet.source import ReaderContext, Source

T = TypeVar("T")

_SPLIT = "values"


class ListSource(Source[T]):
    """Reads these records, in this order, each in a batch of its own: one split, whose positions count the records.

    `timestamps` (epoch ms, one per record) are the records' own event times, as Kafka's are.  The job gets copies of
    the records, so a function that changes one changes nothing in the list.

    >>> source = ListSource(["a", "b", "c"])
    >>> emitted(Job("letters").source(source, uid="letters").map(str.upper))
    ['A', 'B', 'C']
    """

    bounded = True

    def __init__(self, records: Sequence[T], timestamps: Sequence[int] | None = None) -> None:
        self.records = list(records)
        self.timestamps = None if timestamps is None else list(timestamps)
        if self.timestamps is not None and len(self.timestamps) != len(self.records):
            raise ConfigError(
                f"ListSource has {len(self.records)} records and {len(self.timestamps)} timestamps",
                remedy="give one timestamp, in epoch ms, for each record",
            )

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {} if known else {_SPLIT: 0}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> _ListReader[T]:
        return _ListReader(self, splits)


class _ListReader(Generic[T]):
    def __init__(self, source: ListSource[T], splits: Mapping[str, Position]) -> None:
        self._source = source
        self._next: int = splits.get(_SPLIT, len(source.records))

    async def fetch(self) -> Iterator[Batch[T]] | None:
        start, self._next = self._next, len(self._source.records)
        return self._batches(start) if start < self._next else None

    def _batches(self, start: int) -> Iterator[Batch[T]]:
        times = self._source.timestamps
        for place in range(start, len(self._source.records)):
            yield Batch(
                [copy.deepcopy(self._source.records[place])],
                None if times is None else [times[place]],
                split=_SPLIT,
                next_position=place + 1,
            )

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


class CollectSink(Sink[T]):
    """Keeps in `values` what the job has committed, in the order of the commits: exactly-once, in this process.

    What is prepared and not committed is not in `values`.  One object is the outside of one job: a second job that
    writes to it adds to the values of the first.

    >>> sink = CollectSink[int]()
    >>> _ = numbers.map(lambda n: n * n, uid="squares").sink(sink, uid="out")
    >>> job.run(state_dir="state")
    0
    >>> sink.values
    [1, 4, 9, 16]
    """

    def __init__(self) -> None:
        self.values: list[T] = []
        self._open: dict[str, tuple[int, list[T]]] = {}
        self._fates: dict[str, Outcome] = {}
        self._fenced: set[tuple[str, int]] = set()

    def writer(self, context: SinkContext) -> _CollectWriter[T]:
        return _CollectWriter(self, context)

    def committer(self, context: SinkContext) -> _CollectCommitter:
        return _CollectCommitter(self, context)

    def prepare(self, id: str, writer: SinkContext, values: list[T]) -> None:
        """Takes a unit that is not visible yet; raises `SinkError` for a writer that was shut out."""
        if (writer.instance, writer.attempt) in self._fenced:
            raise SinkError(f"attempt {writer.attempt} was shut out by a later one")
        self._open[id] = writer.attempt, values

    def outcome(self, id: str) -> Outcome:
        """What became of a unit."""
        return Outcome.OPEN if id in self._open else self._fates.get(id, Outcome.LOST)

    def commit(self, id: str) -> None:
        """Makes a unit visible, once."""
        if id in self._open:
            self.values.extend(self._open.pop(id)[1])
            self._fates[id] = Outcome.COMMITTED
        elif self.outcome(id) is not Outcome.COMMITTED:
            raise OutputLostError(f"CollectSink does not hold unit {id}: another process has prepared it")

    def abort(self, id: str) -> None:
        """Makes sure that a unit never becomes visible."""
        if self.outcome(id) is Outcome.COMMITTED:
            raise OutputLostError(f"unit {id} is visible already")
        self._open.pop(id, None)
        self._fates[id] = Outcome.ABORTED

    def fence(self, instance: str, attempts: Sequence[int], spared: set[str]) -> None:
        """Aborts what these attempts left open, but for some units, and shuts their writers out."""
        self._fenced.update((instance, attempt) for attempt in attempts)
        for id, (attempt, _) in list(self._open.items()):
            if id.startswith(f"{instance}-") and attempt in attempts and id not in spared:
                self.abort(id)


class _CollectWriter(Generic[T]):
    def __init__(self, sink: CollectSink[T], context: SinkContext) -> None:
        self._sink, self._context = sink, context
        self._values: list[T] = []

    async def open(self) -> None: ...

    async def write(self, batch: Batch[T]) -> None:
        self._values.extend(batch.values)

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        if not self._values:
            return []
        values, self._values = self._values, []
        one = self._context
        id = f"{one.instance}-{one.uid}-{one.attempt}-{one.subtask}-{checkpoint_id}"
        self._sink.prepare(id, one, values)
        return [Committable(id, {}, len(values), f"{len(values)} records of {one.uid}")]

    async def released(self, committables: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...


class _CollectCommitter:
    can_lose = False

    def __init__(self, sink: CollectSink[Any], context: SinkContext) -> None:
        self._sink, self._context = sink, context

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        return [self._sink.outcome(one.id) for one in committables]

    async def commit(self, committable: Committable) -> None:
        self._sink.commit(committable.id)

    async def abort(self, committable: Committable) -> None:
        self._sink.abort(committable.id)

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None:
        self._sink.fence(self._context.instance, self._context.unfenced, {one.id for one in spare})

    async def close(self) -> None: ...
