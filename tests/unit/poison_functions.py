"""Records, poison, and functions of the job that a poisoned record breaks; see `test_poison_law`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from streamlet import (
    BroadcastContext,
    BroadcastState,
    DeadLetter,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ListState,
    MapState,
    OutputTag,
    ProcessContext,
    TumblingWindows,
    ValueState,
)
from streamlet.aggregates import AggregateFunction
from streamlet.connect import Batch, Committable, Sink, SinkContext
from streamlet.errors import UserFunctionError
from streamlet.windows import Trigger, WindowAssigner, WindowProcessFunction

DEAD = OutputTag[DeadLetter]("dead")
COUNT = 30
Record = dict[str, Any]
Touch = Callable[[Record], Any]
"""What a function gives for a record: a poisoned one breaks it."""


def record(number: int) -> Record:
    return {"i": number, "k": f"k{number % 2}", "t": 1000 * number}


def is_poisoned(one: Record) -> bool:
    return bool(one["i"] % 7 == 5)


POISONED = [number for number in range(COUNT) if is_poisoned(record(number))]


@dataclass(frozen=True)
class Raises:
    """A poison by which the function raises."""

    kind: type[BaseException] = LookupError


RAISES = Raises()
LEAVES = Raises(GeneratorExit)
"""What ends a generator or a coroutine of the engine unheard, where nobody expects it."""


def touching(good: Touch, poison: Any) -> Touch:
    """The function, broken for poisoned records."""

    def touch(one: Record) -> Any:
        if not is_poisoned(one):
            return good(one)
        if isinstance(poison, Raises):
            raise poison.kind(f"poison {one['i']}")
        return poison

    return touch


@dataclass(frozen=True)
class Row:
    """How a function of a step is broken.  `build` gives the step, with `touch` in the function and `policy` at the
    step, for a stream of records; `of_outputs` where not the record is left out but what comes of it."""

    build: Callable[[Any, Touch, Any], Any]
    good: Touch = lambda one: one["i"]
    poisons: Sequence[Any] = ()
    of_outputs: bool = False
    is_source: bool = False
    raises: bool = True
    """False where the function belongs to the step before, which gives values that this one cannot keep."""
    tells_records: bool = True
    """False where a letter holds not the record itself."""


HALF, HUGE, NAN = "\ud83d", 1 << 80, float("nan")
NO_KEYS: tuple[Any, ...] = (None, 1.5, [1], {"a": 1}, object(), HALF, b"x", 7, (1, None))
NO_NUMBERS: tuple[Any, ...] = (None, "text", [1], object())
NO_STATE: tuple[Any, ...] = (object(), HALF, {1, 2})
DAY = TumblingWindows(timedelta(seconds=10))
SECOND = timedelta(seconds=1)


class Everything(KeyedProcessFunction[str, Record, Any]):
    """Changes all its state first."""

    total = ValueState(int)
    all = ListState(int)
    by_digit = MapState(int, int)

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> Iterator[Any]:
        self.total.update((self.total.value() or 0) + value["i"])
        self.all.add(value["i"])
        self.by_digit.put(value["i"] % 5, value["i"])
        ctx.timers.register_event_time(value["t"])
        yield self.total.value(), sorted(self.by_digit.items()), list(self.all.get()), self.touch(value)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[Any]:
        yield "timer", timestamp


class Putting(KeyedProcessFunction[str, Record, Any]):
    """Keeps what it is given, in each kind of state and as a timer."""

    value, kept, keys, values = ValueState(int), ListState(int), MapState(int, int), MapState(int, int)

    def __init__(self, touch: Touch, where: str) -> None:
        self.touch = touch
        self.where = where

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> Iterator[Any]:
        given = self.touch(value)
        if self.where == "value":
            self.value.update(given)
        elif self.where == "list":
            self.kept.add(given)
        elif self.where == "map key":
            self.keys.put(given, 1)
        elif self.where == "map value":
            self.values.put(1, given)
        else:
            ctx.timers.register_event_time(given)
        yield value["i"]

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[Any]:
        yield "timer", timestamp


class Both(KeyedCoProcessFunction[str, Record, Record, Any]):
    total = ValueState(int)

    def __init__(self, first: Touch, second: Touch) -> None:
        self.first, self.second = first, second

    def process_element1(self, value: Record, ctx: ProcessContext[str]) -> Iterator[Any]:
        self.total.update((self.total.value() or 0) + 1)
        yield 1, self.first(value)

    def process_element2(self, value: Record, ctx: ProcessContext[str]) -> Iterator[Any]:
        self.total.update((self.total.value() or 0) + 1)
        yield 2, self.second(value)


class Ruled(KeyedBroadcastProcessFunction[str, Record, Record, Any]):
    rules = BroadcastState(int, int)

    def __init__(self, first: Touch, second: Touch) -> None:
        self.first, self.second = first, second

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> Iterator[Any]:
        yield self.first(value)

    def process_broadcast_element(self, value: Record, ctx: BroadcastContext) -> None:
        self.rules.put(value["i"], 1)
        self.second(value)


class Adding(AggregateFunction[Record, int, int]):
    """An aggregate function of the user's own."""

    accumulator_type = int

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def create_accumulator(self) -> int:
        return 0

    def add(self, accumulator: int, value: Record) -> int:
        given = self.touch(value)
        return accumulator + given if type(given) is int else given

    def merge(self, first: int, second: int) -> int:
        return first + second

    def result(self, accumulator: int) -> int:
        return accumulator


class Listing(WindowProcessFunction[str, Record, Any]):
    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def process(self, key: str, window: Any, values: Sequence[Record], ctx: Any) -> Iterator[Any]:
        yield [self.touch(one) for one in values]


class Assigning(WindowAssigner[Record]):
    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def assign(self, value: Record, timestamp: int) -> Any:
        return self.touch(value)


class Asking(Trigger[Record]):
    def __init__(self, touch: Touch, *, sets: bool) -> None:
        self.touch = touch
        self.sets = sets

    def on_record(self, value: Record, timestamp: int, ctx: Any) -> bool:
        given = self.touch(value)
        if self.sets:
            ctx.set_timer(given)
        return not self.sets and given


def good(one: Record) -> Any:
    return one["i"]


def same(one: Record) -> Record:
    return one


class Changing(KeyedProcessFunction[str, Record, Any]):
    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> Iterator[Any]:
        yield self.touch(value)


class Untrue:
    def __bool__(self) -> bool:
        raise TypeError("neither true nor false")


class Kept(Sink[Any]):
    """Keeps what comes, as text; breaks for a record by a function."""

    delivery = "at_least_once"

    def __init__(self, touch: Touch | None = None) -> None:
        self.touch = touch
        self.rows: list[Any] = []

    def writer(self, context: SinkContext) -> KeptWriter:
        return KeptWriter(self)


class KeptWriter:
    def __init__(self, sink: Kept) -> None:
        self._sink = sink

    async def open(self) -> None: ...

    async def write(self, batch: Batch[Any]) -> None:
        for row, value in enumerate(batch.values if self._sink.touch is not None else ()):
            try:
                self._sink.touch(value)  # type: ignore[misc]
            except (LookupError, GeneratorExit) as error:
                raise UserFunctionError(str(error), place="sink", line="sink", batch=batch, row=row) from error
        self._sink.rows += batch.values

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        return []

    async def released(self, committables: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...
