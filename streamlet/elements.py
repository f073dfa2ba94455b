"""What travels between tasks: Batch, Watermark, Barrier, EndOfInput; and the names of side outputs.

A record is a row of a Batch and never an object of its own: everything that costs time per element is
paid once per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")
U = TypeVar("U")
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

    # Batches made from this batch. A position belongs to the whole batch that the source cut, so they have none.

    def with_values(self, values: list[U]) -> Batch[U]:
        """The same rows with other values."""
        return Batch(values, self.timestamps, self.keys, split=self.split, origin=self.origin, rows=self.rows)

    def with_keys(self, keys: Sequence[Any] | None) -> Batch[T_co]:
        """The same rows with other keys; None for no key column."""
        return Batch(self.values, self.timestamps, keys, split=self.split, origin=self.origin, rows=self.rows)

    def take(self, rows: Sequence[int], values: list[U] | None = None) -> Batch[Any]:
        """These rows, in this order; a row may be named several times. `values` replace the values of these rows."""

        def at(column: Sequence[Any]) -> list[Any]:
            return [column[row] for row in rows]

        return self._select(at, at(self.values) if values is None else values, rows)

    def without(self, rows: Sequence[int]) -> Batch[T_co]:
        """All rows but these."""
        if not rows:
            return self
        left_out = set(rows)
        return self.take([row for row in range(len(self)) if row not in left_out])

    def filtered(self, chosen: Sequence[object], values: list[U]) -> Batch[U]:
        """The rows for which `chosen` is true. `values` are their values."""
        rows = None if self.origin is None else list(compress(range(len(self)), chosen))
        return self._select(lambda column: list(compress(column, chosen)), values, rows)

    def part(self, start: int, end: int) -> Batch[T_co]:
        """The rows from `start` to before `end`."""
        pick = itemgetter(slice(start, end))
        return self._select(pick, pick(self.values), pick(range(len(self))))

    def _select(
        self, pick: Callable[[Sequence[Any]], Sequence[Any]], values: list[U], rows: Sequence[int] | None
    ) -> Batch[U]:
        """The rows that `pick` takes from each column; `rows` are their numbers, needed where there is an origin."""
        timestamps, keys = self.timestamps, self.keys
        if self.origin is None:
            rows = None
        elif self.rows is not None:
            rows = pick(self.rows)
        return Batch(
            values,
            None if timestamps is None else pick(timestamps),
            None if keys is None else pick(keys),
            split=self.split,
            origin=self.origin,
            rows=rows,
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
    is_last: bool = False
    """Nothing is worked on behind it: the job stops with this checkpoint."""


class EndOfInput(msgspec.Struct, frozen=True, tag=True):
    """Says that nothing follows. It counts as every later barrier of that input."""


Element = Batch[Any] | Watermark | Barrier | EndOfInput
