"""What travels between tasks: Batch, Watermark, Barrier, EndOfInput; and the names of side outputs.

A record is a row of a Batch and never an object of its own: everything that costs time per element is
paid once per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MIN_TIMESTAMP = -(1 << 63)
"""The watermark of a stream of which nothing is known yet."""
MAX_TIMESTAMP = (1 << 63) - 1
"""The watermark behind the last record."""

Position = Any
"""Where to read on inside a split: plain data that msgpack carries (int, str, bytes, list, dict with str keys).

Sequences come back as lists after a restore, whatever they were before.
"""


class Keyed(Protocol):
    """What stands in the key column of a keyed batch: one object per live key, the same one for each of its rows."""

    key: Any
    memo: Any
    """Free for the sink at the chain's end (see `SinkContext.owns_memo`): a cache, lost when the key is evicted."""


class Origin(Protocol):
    """Tells where the rows of a batch came from, for messages only: never called while all goes well."""

    def describe(self, row: int) -> str:
        """Names the record in row `row` of the batch as the source cut it, e.g. `topic pay, partition 3, offset 17`."""
        ...


class Batch(Generic[T_co]):
    """Columns of equal length. Whoever gets a batch must not change its lists: they may be shared.

    `timestamps` (epoch ms) and `keys` are there for the whole column or None.  `split` and `next_position` say where
    the source reads on after this batch; a batch may be empty, to move a position over records that are not data.
    `rows` maps each row to its row in the batch that the source cut; None means the same row.  With a `tag` a source
    gives records for that side output of its stream; they are no part of its event time.
    """

    __slots__ = ("keys", "next_position", "origin", "rows", "split", "tag", "timestamps", "values")

    def __init__(
        self,
        values: list[T_co],
        timestamps: Sequence[int] | None = None,
        keys: Sequence[Any] | None = None,
        *,
        split: str = "",
        next_position: Position = None,
        origin: Origin | None = None,
        rows: Sequence[int] | None = None,
        tag: OutputTag[Any] | None = None,
    ) -> None:
        self.values = values
        self.timestamps = timestamps
        self.keys = keys
        self.split = split
        self.next_position = next_position
        self.origin = origin
        self.rows = rows
        self.tag = tag

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Batch({len(self.values)} records, split={self.split!r}, next_position={self.next_position!r})"

    def part(self, start: int, end: int) -> Batch[T_co]:
        """Rows that follow each other. Positions belong to whole batches, so it has none."""
        timestamps, keys, rows = self.timestamps, self.keys, self.rows
        if rows is None and self.origin is not None:
            rows = range(len(self))
        return Batch(
            self.values[start:end],
            timestamps[start:end] if timestamps is not None else None,
            keys[start:end] if keys is not None else None,
            split=self.split,
            origin=self.origin,
            rows=rows[start:end] if rows is not None else None,
        )

    def pieces(self, most_records: int) -> Sequence[Batch[T_co]]:
        """Its parts where it is too long, else itself."""
        if len(self) <= most_records:
            return (self,)
        return [self.part(start, start + most_records) for start in range(0, len(self), most_records)]

    def describe_row(self, row: int) -> str | None:
        """Names the origin of a row, or None when it is not known (behind a shuffle, without `trace_origins`)."""
        if self.origin is None:
            return None
        return self.origin.describe(self.rows[row] if self.rows is not None else row)


@dataclass(frozen=True)
class OutputTag(Generic[T]):
    """Names a side output of an operator and the type of its records: `LATE = OutputTag[Click]("late")`.

    Two tags of one name are the same output.  A record that is put out under a tag that no `side_output` takes is
    dropped: `streamlet plan` and the start of a run say so where they can see it, else the first such record does.

    >>> odd = OutputTag[int]("odd")
    >>> class Even(KeyedProcessFunction[int, int, int]):
    ...     def process_element(self, value, ctx):
    ...         if value % 2:
    ...             ctx.output(odd, value)
    >>> emitted(numbers.key_by(lambda n: n % 2).process(Even()).side_output(odd))
    [1, 3]
    """

    name: str


class Watermark(msgspec.Struct, frozen=True, tag=True):
    """Says that no record of `timestamp` (epoch ms) or before is expected behind it; such a record is late.

    While `is_idle`, nothing at all is expected, and this input holds nobody back.
    """

    timestamp: int
    is_idle: bool = False


class Barrier(msgspec.Struct, frozen=True, tag=True):
    """Separates what belongs to checkpoint `checkpoint_id` from what comes after it. Nothing overtakes it."""

    checkpoint_id: int


class EndOfInput(msgspec.Struct, frozen=True, tag=True):
    """Says that nothing follows. It counts as every later barrier of that input."""


Element = Batch[Any] | Watermark | Barrier | EndOfInput
