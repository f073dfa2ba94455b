"""The functions of the simulated jobs, each beside a plain version of itself that the oracle replays.

What a keyed function emits names its input by id, the number of inputs so far and a checksum over all of them in their
order.  So whatever the interleaving of splits was, an output shows whether a record was lost, doubled or overtaken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import msgspec

from streamlet import Count, KeyedProcessFunction, ListState, MapState, ProcessContext, Sum, TimerContext, ValueState
from streamlet.aggregates import AggregateFunction

Record = tuple[int, int]
"""Key and id; the id is unique in a stream."""
Output = tuple[int, ...]
"""Key, id, then what the function says."""

fails: Callable[[], bool] = lambda: False  # noqa: E731
"""Replaced while a simulation runs: True when a function of the user's fails here, this once."""

CLEAR_EVERY = 4
FULL_BUCKET = 3
LASTS_MS = 300
BATCH = 3


def mix(checksum: int, number: int) -> int:
    """A checksum that depends on the order."""
    return (checksum * 31 + number) % 1_000_003


def troubled(error: type[Exception] = ValueError) -> None:
    """What every function calls; now and then it raises."""
    if fails():
        raise error("this once")


# --- without state ------------------------------------------------------------------------------------------------


def shifted(record: Record) -> Record:
    troubled()
    return record[0], record[1] + 1_000_000


def is_wanted(record: Record) -> bool:
    troubled(StopIteration)
    return record[1] % 5 != 0


def doubled(record: Record) -> Iterator[Record]:
    yield record[0], record[1] * 2
    if record[1] % 2:
        troubled()
        yield record[0], record[1] * 2 + 1


def lazily(record: Record) -> Iterator[Record]:
    """Two of each, by a `map` whose function may raise StopIteration."""

    def twin(offset: int) -> Record:
        troubled(StopIteration)
        return record[0], record[1] * 2 + offset

    return map(twin, (0, 1))


def answered(record: Record) -> Record:
    return record[0], record[1] + 3_000_000


async def asked(record: Record) -> Record:
    """A service that answers each record after a time of its own, now and then not at all."""
    await asyncio.sleep(0.05 * (record[1] * 7919 % 97 / 97) ** 3)
    troubled()
    return answered(record)


PLAIN: dict[str, Callable[[Record], Iterable[Record]]] = {
    "map": lambda record: [shifted(record)],
    "filter": lambda record: [record] if is_wanted(record) else [],
    "flat_map": doubled,
    "lazy": lazily,
    "async": lambda record: [answered(record)],
    "unordered": lambda record: [answered(record)],
}


def key_of(record: Record) -> int:
    return record[0]


class Spot(NamedTuple):
    at: int


class Place(msgspec.Struct, frozen=True):
    at: int


KeyClass = Literal["int", "named tuple", "struct"]
KEY_OF: dict[KeyClass, Callable[[Record], Any]] = {
    "int": key_of,
    "named tuple": lambda record: Spot(record[0]),
    "struct": lambda record: Place(record[0]),
}


def plain(key: Any) -> int:
    """The number that a key of any class stands for."""
    number: int = key if type(key) is int else key.at
    return number


# --- with state ---------------------------------------------------------------------------------------------------


class Chain(AggregateFunction[Record, tuple[int, int, int], tuple[int, int, int]]):
    """Number of inputs, checksum, and the last id."""

    accumulator_type = tuple[int, int, int]

    def create_accumulator(self) -> tuple[int, int, int]:
        return (0, 0, 0)

    def add(self, accumulator: tuple[int, int, int], value: Record) -> tuple[int, int, int]:
        troubled(StopIteration)
        return (accumulator[0] + 1, mix(accumulator[1], value[1]), value[1])

    def result(self, accumulator: tuple[int, int, int]) -> tuple[int, int, int]:
        return accumulator


def chained(key: Any, accumulator: tuple[int, int, int]) -> Output:
    return plain(key), accumulator[2], accumulator[0], accumulator[1]


def amount(record: Record) -> int:
    """What is summed up where a pair of numbers is kept."""
    troubled()
    return record[1]


def paired(key: Any, count: int, total: int) -> Output:
    """The engine's own aggregates do not say the id: the oracle finds it, as what the total has grown by."""
    return plain(key), 0, count, total


class Remembering(KeyedProcessFunction[int, Record, Output]):
    """The same with a ValueState, which `clears` now and then."""

    seen = ValueState(tuple[int, int])

    def __init__(self, clears: bool) -> None:
        self.clears = clears

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> Iterable[Output]:
        troubled()
        count, checksum = self.seen.value() or (0, 0)
        count, checksum = count + 1, mix(checksum, value[1])
        if self.clears and count == CLEAR_EVERY:
            self.seen.clear()
        else:
            self.seen.update((count, checksum))
        return [(plain(ctx.key), value[1], count, checksum)]


TIME_BROKE: list[str] = []
"""What was wrong with event time in the run at hand."""


def time_of(record: Record) -> int:
    """Rises within every split."""
    return record[1] * 10


class Timekeeping(Remembering):
    """The same with an eye on event time: where times rise in every split nothing is late, and what a key has seen of
    the watermark is never taken back, whatever died in between."""

    highest = ValueState(int)

    def __init__(self) -> None:
        super().__init__(clears=False)

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> Iterable[Output]:
        emitted = super().process_element(value, ctx)
        before = self.highest.value()
        if ctx.timestamp is None or ctx.timestamp <= ctx.current_watermark:
            TIME_BROKE.append(f"record {value} of time {ctx.timestamp} is late at {ctx.current_watermark}")
        if before is not None and ctx.current_watermark < before:
            TIME_BROKE.append(f"key {ctx.key}: the watermark went back from {before} to {ctx.current_watermark}")
        self.highest.update(ctx.current_watermark)
        return emitted


class Firing(Remembering):
    """The same, but a record is told only when event time has come to it: many are due at once, and fire in parts."""

    told_later = MapState(int, list[int])

    def __init__(self) -> None:
        super().__init__(clears=False)

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> Iterable[Output]:
        assert ctx.timestamp is not None
        if ctx.timestamp <= ctx.current_watermark:
            TIME_BROKE.append(f"record {value} of time {ctx.timestamp} is late at {ctx.current_watermark}")
        self.told_later.put(ctx.timestamp, [*(self.told_later.get(ctx.timestamp) or ()), value[1]])
        ctx.timers.register_event_time(ctx.timestamp)
        return ()

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterable[Output]:
        ids = self.told_later.get(timestamp) or ()
        self.told_later.remove(timestamp)
        return [one for id in ids for one in super(Firing, self).process_element((plain(ctx.key), id), ctx)]


class Listing(KeyedProcessFunction[int, Record, Output]):
    """Keeps every id in a list."""

    ids = ListState(int)

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> Iterable[Output]:
        self.ids.add(value[1])
        ids = self.ids.get()

        def said(count: int) -> Output:
            troubled(StopIteration)
            return plain(ctx.key), value[1], count, checksum_of(ids)

        return map(said, [len(ids)])


class Sorting(KeyedProcessFunction[int, Record, Output]):
    """Counts ids in buckets of a map, and removes a bucket that is full."""

    buckets = MapState(int, int)

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> Iterable[Output]:
        bucket = value[1] % 3
        count = (self.buckets.get(bucket) or 0) + 1
        if count == FULL_BUCKET:
            self.buckets.remove(bucket)
        else:
            self.buckets.put(bucket, count)
        return [(plain(ctx.key), value[1], count, checksum_of_map(dict(self.buckets.items())))]


class Lasting(KeyedProcessFunction[int, Record, Output]):
    """Marks a key for a while by the wall clock, now and then; tells the mark that it sees, and what time it is."""

    mark = ValueState(int, ttl=timedelta(milliseconds=LASTS_MS))

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> Iterable[Output]:
        troubled()
        seen = self.mark.value() or 0
        if not seen and marks(value[1]):
            self.mark.update(value[1])
        return [(plain(ctx.key), value[1], seen, ctx.now_ms())]


def marks(id: int) -> bool:
    return id % 2 == 1


class Regrouping(KeyedProcessFunction[int, Output, Output]):
    """A second stage: everything that the first one emitted, in two groups."""

    seen = ValueState(tuple[int, int])

    def process_element(self, value: Output, ctx: ProcessContext[int]) -> Iterable[Output]:
        count, checksum = self.seen.value() or (0, 0)
        count, checksum = count + 1, mix(checksum, value[1] + value[3])
        self.seen.update((count, checksum))
        return [(ctx.key, value[1], count, checksum, value[0], value[2], value[3])]


def group_of(output: Output) -> int:
    return output[2] % 2


def checksum_of(ids: Iterable[int]) -> int:
    checksum = 0
    for one in ids:
        checksum = mix(checksum, one)
    return checksum


def checksum_of_map(buckets: dict[int, int]) -> int:
    return checksum_of(bucket * 10 + buckets[bucket] for bucket in sorted(buckets))


# --- the plain versions -------------------------------------------------------------------------------------------


def replay_chain(ids: list[int]) -> list[tuple[int, int]]:
    found, count, checksum = [], 0, 0
    for one in ids:
        count, checksum = count + 1, mix(checksum, one)
        found.append((count, checksum))
    return found


def replay_clearing(ids: list[int]) -> list[tuple[int, int]]:
    found = []
    for start in range(0, len(ids), CLEAR_EVERY):
        found += replay_chain(ids[start : start + CLEAR_EVERY])
    return found


def replay_sorting(ids: list[int]) -> list[tuple[int, int]]:
    buckets: dict[int, int] = {}
    found = []
    for one in ids:
        count = buckets.pop(one % 3, 0) + 1
        if count != FULL_BUCKET:
            buckets[one % 3] = count
        found.append((count, checksum_of_map(buckets)))
    return found


def replay_pair(ids: list[int]) -> list[tuple[int, int]]:
    return list(enumerate(accumulate(ids), 1))


REPLAY: dict[str, Callable[[list[int]], list[tuple[int, int]]]] = {
    "aggregate": replay_chain,
    "pair": replay_pair,
    "value": replay_chain,
    "timed": replay_chain,
    "firing": replay_chain,
    "list": replay_chain,
    "clearing": replay_clearing,
    "map": replay_sorting,
}
"""Kind of keyed function -> what it emits, besides key and id, for the ids of one key in their order."""


def keyed(kind: str, stream: Any, uid: str, parallelism: int | None) -> Any:
    """Applies a keyed function of that kind to a keyed stream."""
    if kind == "aggregate":
        return stream.aggregate(Chain(), result=chained, uid=uid, parallelism=parallelism)
    if kind == "pair":
        return stream.aggregate(Count(), Sum(amount), result=paired, uid=uid, parallelism=parallelism)
    if kind == "batched":
        within = timedelta(milliseconds=50)
        return stream.batch(BATCH, within=within, type=tuple[int, int], uid=uid, parallelism=parallelism)
    function: Any = {
        "value": lambda: Remembering(clears=False),
        "timed": Timekeeping,
        "firing": Firing,
        "clearing": lambda: Remembering(clears=True),
        "list": Listing,
        "map": Sorting,
        "lasting": Lasting,
        "regroup": Regrouping,
    }[kind]()
    return stream.process(function, uid=uid, parallelism=parallelism)
