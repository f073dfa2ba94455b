"""The contract of a source: how a connector lets streamlet read exactly-once.

A source is a set of *splits* (a Kafka partition, a file), each an ordered sequence with positions.  The engine owns
which subtask reads which split and how far it has got: positions are in the checkpoint, never in the connector.
Three laws carry exactly-once, and an implementer must keep them:

1. Reading a split again from a `next_position` gives exactly the records that came after the batch that carried it,
   in the same order.
2. A batch belongs to one split, and its `next_position` is the position after its last record.
3. Options such as "latest" are resolved to positions once, in `discover`, and never again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from streamlet.clock import Clock, SystemClock
from streamlet.elements import Batch, OutputTag, Position
from streamlet.outages import Outages
from streamlet.ports import RunBlocking
from streamlet.tally import Counting, uncounted

T_co = TypeVar("T_co", covariant=True)


class ReaderContext(msgspec.Struct, frozen=True):
    """What a reader is told about the place it runs in."""

    job: str
    uid: str
    subtask: int
    parallelism: int
    batch_limit: Callable[[], int]
    """The upper bound for the next batch, in records: it follows the time that batches take, so ask for each. Cut
    batches from what is there; never wait to fill one."""
    clock: Clock
    run_blocking: RunBlocking
    outages: Outages = msgspec.field(default_factory=lambda: Outages(SystemClock()))
    """Where to tell that the outside does not answer."""
    wants_timestamps: bool = False
    """True when the job takes event times from the source: batches should carry their records' timestamps."""
    count: Counting = uncounted
    """`count("left out", n)` and `count("dead letters", n)` note records that cannot be read: people see the sums."""


class SourceReader(Protocol[T_co]):
    """Reads the splits of one subtask. All calls come from one task, one at a time, except `close`."""

    async def fetch(self) -> Iterable[Batch[T_co]] | None:
        """Gives the next batches, [] when there is nothing now (it waited a little, at most about 0.2 s), or None
        when every split was read to its end, which only a bounded source says.

        The engine takes one batch, works it off, gives the event loop a turn, and takes the next: so an iterator that
        cuts each batch when it is asked for costs no task per batch.  It is not asked again after `close`, and what
        it raises is raised as from `fetch`.

        The engine never cancels a fetch for a barrier.  A record that cannot be decoded raises; the batches before it
        were given earlier.
        """
        ...

    def add_splits(self, splits: Mapping[str, Position]) -> None:
        """Starts to read further splits from these positions. Never called for a bounded source after it ended."""
        ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        """Tells the positions of a checkpoint whose marker is durable: for systems that are acknowledged rather
        than re-read, and for lag tools.  It may be late or missing; an error here is logged, never fatal."""
        ...

    async def close(self) -> None:
        """Ends everything that the reader started. May be called at any time, also twice."""
        ...


@runtime_checkable
class LagReader(Protocol):
    """What a reader may offer besides, for the progress line."""

    def lag(self) -> Mapping[str, int]:
        """How many records of each split could be read by now and were not given yet, as last heard."""
        ...


class Source(Generic[T_co]):
    """Describes where records come from. It is built when the job file is imported: it must not connect or read."""

    bounded: bool = False
    """True when every split has an end."""
    discovery_interval_seconds: float | None = None
    """How often `discover` is asked for new splits while the job runs; None for never."""
    side_outputs: Collection[OutputTag[Any]] = ()
    """The tags under which its readers give batches beside the stream, such as of records that cannot be read."""

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        """Gives each split that is not in `known`, with the position to start from.

        `known` is empty at the very first start: resolve the start option now.  Splits found later start at their
        earliest record, or what was written before the discovery would be lost.  At a start it may also give a known
        split a position that says the same place in another way (a file that has another name by now).  Raises
        `SourceError` when a known split is gone or is no longer the same (a topic that was deleted and created again).
        """
        raise NotImplementedError

    async def unread(self, known: Mapping[str, Position]) -> Sequence[str]:
        """Names the input that came behind the positions of a job that has finished, which says that it is not read.

        Changes nothing. What was read before may be gone.  A source that cannot tell gives [].
        """
        return []

    def near(self, split: str, position: Position) -> str | None:
        """Names a known split whose reader is to get this new one, such as of the file that it follows."""
        return None

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> SourceReader[T_co]:
        """Gives a reader for these splits, from these positions. It may connect at its first `fetch`."""
        raise NotImplementedError
