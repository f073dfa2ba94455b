"""Aggregate functions that remember values: TopK, Distinct, ApproxDistinct, Collect.

The state of each is what the class says, per key (and window).  It is stored anew with each change, so it should stay
small; one that a value does not change is not stored again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from streamlet.calling import calling_line
from streamlet.errors import JobDefinitionError
from streamlet.operators.aggregates.functions import AggregateFunction, selecting
from streamlet.operators.aggregates.identity import identity_of

T = TypeVar("T")

_PLAIN = int | float | str
_UNLESS_TOLD = 1000
"""So many values `Collect` keeps."""
log = logging.getLogger("streamlet.operators")
_pack = msgspec.msgpack.Encoder().encode


def _ranks_above(rank: Any, other: Any) -> bool:
    """True where a value of this rank comes before one of the other; NaN comes before all."""
    return bool(rank > other or (rank != rank and other == other))


class TopK(AggregateFunction[T, tuple[T, ...], list[T]], Generic[T]):
    """The `k` values with the largest `by` (the value itself, unless told), in that order; of equals the first ones.

    NaN ranks above every number.  The first are those that came first, in sliding windows and joined sessions those of
    the earlier pane or session.
    `type` is the type of the values, needed unless they are int, float or str. The state is these values.

    >>> emitted(numbers.key_by(lambda n: n % 2).aggregate(TopK(2)))
    [[1], [2], [3, 1], [4, 2]]
    """

    type_option = "type="

    def __init__(self, k: int, by: Callable[[T], Any] | None = None, *, type: Any = _PLAIN) -> None:
        self.k = _count("TopK", "k", k)
        self.by: Callable[[T], Any] = _itself if by is None else selecting(self, by)
        self.accumulator_type = tuple[type, ...]

    @property
    def takes(self) -> str:
        return identity_of(None if self.by is _itself else self.by)

    @property
    def settings(self) -> dict[str, Any]:
        return {"k": self.k}

    def create_accumulator(self) -> tuple[T, ...]:
        return ()

    def add(self, accumulator: tuple[T, ...], value: T) -> tuple[T, ...]:
        rank, by = self.by(value), self.by
        place = len(accumulator)
        if not place:
            _ = rank < rank  # what cannot be compared is refused here: else the sound ones behind it would be
        while place and _ranks_above(rank, by(accumulator[place - 1])):
            place -= 1
        if place >= self.k:
            return accumulator
        return (*accumulator[:place], value, *accumulator[place : self.k - 1])

    def result(self, accumulator: tuple[T, ...]) -> list[T]:
        return list(accumulator[: self.k])

    def merge(self, one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(sorted((*one, *other), key=self._rank, reverse=True)[: self.k])

    def _rank(self, value: T) -> tuple[bool, Any]:
        rank = self.by(value)
        return (True, 0) if rank != rank else (False, rank)


class Distinct(AggregateFunction[T, frozenset[Any], int]):
    """The exact number of different values of `select` (the value itself, unless told).

    `type` is their type, needed unless they are int, float or str; they must be hashable. All NaN are one
    value.  The state is all of them: for many use `ApproxDistinct`.

    >>> emitted(numbers.key_by(lambda n: n % 2).aggregate(Distinct(lambda n: n // 3)))
    [1, 1, 2, 2]
    """

    type_option = "type="

    def __init__(self, select: Callable[[T], Any] | None = None, *, type: Any = _PLAIN) -> None:
        self.select: Callable[[T], Any] = _itself if select is None else selecting(self, select)
        self.accumulator_type = frozenset[type]

    @property
    def takes(self) -> str:
        return identity_of(None if self.select is _itself else self.select)

    def create_accumulator(self) -> frozenset[Any]:
        return frozenset()

    def add(self, accumulator: frozenset[Any], value: T) -> frozenset[Any]:
        chosen = self.select(value)
        if chosen in accumulator or (chosen != chosen and any(one != one for one in accumulator)):
            return accumulator
        return accumulator | {chosen}

    def result(self, accumulator: frozenset[Any]) -> int:
        return len(accumulator)

    def merge(self, one: frozenset[Any], other: frozenset[Any]) -> frozenset[Any]:
        both = one | other
        nans = [value for value in both if value != value]
        return both.difference(nans[1:])


class ApproxDistinct(AggregateFunction[T, bytes, int]):
    """About the number of different values of `select` (the value itself, unless told), by a HyperLogLog sketch.

    They are plain data that msgpack carries.  The state is the sketch, up to 2**precision bytes; with 12, unless told,
    4 KB, and two results of three are within 1.6 % of the truth.  Needs `pip install "streamlet[sketches]"`, which is
    Apache DataSketches.

    >>> emitted(numbers.key_by(lambda n: n % 2).aggregate(ApproxDistinct()))
    [1, 1, 2, 2]
    """

    accumulator_type = bytes

    def __init__(self, select: Callable[[T], Any] | None = None, *, precision: int = 12) -> None:
        if type(precision) is not int or not 4 <= precision <= 21:
            raise _refused(f"the precision of ApproxDistinct is {precision!r:.80}", "give a whole number from 4 to 21")
        try:
            import datasketches
        except ImportError as error:
            raise _refused(
                f"ApproxDistinct needs Apache DataSketches, which cannot be imported: {error}",
                'install it by pip install "streamlet[sketches]", or count exactly by Distinct(...)',
            ) from error
        self.select: Callable[[T], Any] = _itself if select is None else selecting(self, select)
        self.precision = precision
        self._sketch = datasketches.hll_sketch
        self._union = datasketches.hll_union
        self._kind = datasketches.tgt_hll_type.HLL_8

    def __deepcopy__(self, _: Any) -> ApproxDistinct[T]:
        return self  # nothing in it changes, and classes of the library cannot be copied

    @property
    def takes(self) -> str:
        return identity_of(None if self.select is _itself else self.select)

    @property
    def settings(self) -> dict[str, Any]:
        return {"precision": self.precision}

    def create_accumulator(self) -> bytes:
        return bytes(self._sketch(self.precision, self._kind).serialize_compact())

    def add(self, accumulator: bytes, value: T) -> bytes:
        sketch = self._sketch.deserialize(accumulator)
        # As one signed number of 64 bits whatever it is, so that 1 and "1" differ and every process agrees.
        sketch.update(xxh3_64_intdigest(_pack(self.select(value))) - (1 << 63))
        return bytes(sketch.serialize_compact())

    def result(self, accumulator: bytes) -> int:
        estimate: float = self._sketch.deserialize(accumulator).get_estimate()
        return round(estimate)

    def merge(self, one: bytes, other: bytes) -> bytes:
        union = self._union(self.precision)
        union.update(self._sketch.deserialize(one))
        union.update(self._sketch.deserialize(other))
        return bytes(union.get_result(self._kind).serialize_compact())


class Collect(AggregateFunction[T, tuple[Any, ...], list[Any]]):
    """The first `limit` values, in the order of their coming; what is beyond is left out.  Without a limit they are
    1000, and the first value that is left out is warned of.

    In sliding windows and joined sessions their order, and so which are the first, is that of `WindowProcessFunction`:
    pane by pane and session by session.

    `type` is the type of the values, needed unless they are int, float or str. The state is these values.

    >>> emitted(numbers.key_by(lambda n: n % 2).aggregate(Collect(limit=10)))
    [[1], [2], [1, 3], [2, 4]]
    """

    type_option = "type="

    def __init__(self, *, limit: int | None = None, type: Any = _PLAIN) -> None:
        self.limit = _UNLESS_TOLD if limit is None else _count("Collect", "limit", limit)
        self.accumulator_type = tuple[type, ...]
        self._warns_at = None if limit is not None else calling_line()

    @property
    def settings(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def create_accumulator(self) -> tuple[Any, ...]:
        return ()

    def add(self, accumulator: tuple[Any, ...], value: T) -> tuple[Any, ...]:
        return (*accumulator, value) if len(accumulator) < self.limit else self._within(accumulator)

    def result(self, accumulator: tuple[Any, ...]) -> list[Any]:
        return list(accumulator[: self.limit])

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        both = (*one, *other)
        return both if len(both) <= self.limit else self._within(both)

    def _within(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gives the first values, where some are left out, and says so where nobody said how many they are to be."""
        if self._warns_at is not None:
            file, line = self._warns_at
            self._warns_at = None
            log.warning(
                "%s:%d: collect keeps the first %s values, and some key or window has more: the others are left out; "
                "say how many it is to keep: collect(limit=...)",
                *(file, line, f"{self.limit:,}"),
            )
        return values[: self.limit]


def _itself(value: Any) -> Any:
    return value


def _count(function: str, name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _refused(f"{name} of {function} is {value!r:.80}", "give a whole number from 1 on")
    return value


def _refused(what: str, remedy: str) -> JobDefinitionError:
    file, line = calling_line()
    return JobDefinitionError(f"{file}:{line}: {what}", remedy=remedy)
