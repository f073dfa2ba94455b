"""Functions that are called for a timer or a window, when no record is in hand: rows of `test_poison_law`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from streamlet import (
    BroadcastContext,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ListState,
    MapState,
    OutputTag,
    ProcessContext,
    SlidingWindows,
    Sum,
    TimerContext,
    TumblingWindows,
    ValueState,
)
from streamlet.aggregates import AggregateFunction
from streamlet.windows import Trigger
from tests.unit.poison_functions import COUNT, Record, Row, Touch, good, is_poisoned, record, same

SIDE = OutputTag[Any]("side of timers")


class _Changes:
    """What `on_timer` does before it fails: it changes all its state and its timers, and puts out."""

    total = ValueState(int)
    all = ListState(int)
    by_digit = MapState(int, int)
    touch: Touch
    domain: str

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[Any]:
        number = timestamp // 1000 % 1000
        self.total.update((self.total.value() or 0) + number)
        self.all.add(number)
        self.by_digit.put(number % 5, number)
        follows = self.domain == "event" and number + 2 < COUNT and not is_poisoned(record(number + 2))
        ctx.timers.register_event_time(timestamp)
        if follows:
            ctx.timers.delete_event_time(timestamp + 2000)
        ctx.output(SIDE, (timestamp, "early"))
        yield "begun", number
        given = self.touch(record(number))
        ctx.timers.delete_event_time(timestamp)
        if follows:
            ctx.timers.register_event_time(timestamp + 2000)
        yield self.total.value(), sorted(self.by_digit.items()), list(self.all.get()), given


class Timed(_Changes, KeyedProcessFunction[str, Record, Any]):
    """Sets one timer for each record, which has its number in it."""

    def __init__(self, touch: Touch, domain: str) -> None:
        self.touch = touch
        self.domain = domain

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> None:
        if self.domain == "processing":
            ctx.timers.register_processing_time(value["t"])
        else:
            # An overdue one fires behind the batch of its record, all the others when event time has come there.
            ctx.timers.register_event_time(value["t"] - (10**6 if self.domain == "overdue" else 0))


class Once(KeyedProcessFunction[str, Record, Any]):
    """Fails, or gives what cannot be kept, or no iterable, in a timer of its own."""

    total = ValueState(int)

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> None:
        ctx.timers.register_event_time(value["t"])

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> list[Any]:
        given = self.touch(record(timestamp // 1000))
        self.total.update(given)
        ctx.timers.delete_event_time(given)
        return [timestamp, given]


class TimedBoth(KeyedCoProcessFunction[str, Record, Record, Any]):
    total = ValueState(int)

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def process_element1(self, value: Record, ctx: ProcessContext[str]) -> None:
        ctx.timers.register_event_time(value["t"])

    def process_element2(self, value: Record, ctx: ProcessContext[str]) -> None:
        return None

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[Any]:
        self.total.update((self.total.value() or 0) + 1)
        yield self.total.value(), self.touch(record(timestamp // 1000))


class TimedRuled(KeyedBroadcastProcessFunction[str, Record, Record, Any]):
    total = ValueState(int)

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def process_element(self, value: Record, ctx: ProcessContext[str]) -> None:
        ctx.timers.register_event_time(value["t"])

    def process_broadcast_element(self, value: Record, ctx: BroadcastContext) -> None:
        return None

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[Any]:
        self.total.update((self.total.value() or 0) + 1)
        yield self.total.value(), self.touch(record(timestamp // 1000))


class AtEachRecord(Trigger[Record]):
    """Puts a window out just behind each of its records, by a timer that has its number in it."""

    uses_event_time = True

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def on_record(self, value: Record, timestamp: int, ctx: Any) -> bool:
        ctx.set_timer(timestamp + 1)
        return False

    def on_timer(self, time: int, ctx: Any) -> bool:
        if time % 1000 == 1:
            ctx.set_timer(time + 1)  # where this fails there is none
            assert ctx.state in (None, time - 2000, time - 4000)
            ctx.state = time
        return bool(self.touch(record(time // 1000)))


class Merging(AggregateFunction[Record, list[Record], Any]):
    """Fails where it merges a poisoned record with others."""

    accumulator_type = list[dict]  # type: ignore[type-arg]

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def create_accumulator(self) -> list[Record]:
        return []

    def add(self, accumulator: list[Record], value: Record) -> list[Record]:
        return [*accumulator, value]

    def merge(self, first: list[Record], second: list[Record]) -> list[Record]:
        return [self.touch(one) for one in (*first, *second)]

    def result(self, accumulator: list[Record]) -> list[Record]:
        return accumulator


def by_key(numbers: Any) -> Any:
    return numbers.key_by(lambda one: one["k"])


def _timed(domain: str) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        made = by_key(numbers).process(Timed(touch, domain), on_error=policy)
        return made.union(made.side_output(SIDE)), made

    return build


def _once(numbers: Any, touch: Touch, policy: Any) -> Any:
    return by_key(numbers).process(Once(touch), on_error=policy)


def _connected(numbers: Any, touch: Touch, policy: Any) -> Any:
    none = numbers.filter(lambda one: False)
    return by_key(numbers).connect(by_key(none)).process(TimedBoth(touch), on_error=policy)


def _ruled(numbers: Any, touch: Touch, policy: Any) -> Any:
    none = numbers.filter(lambda one: False)
    return by_key(numbers).connect_broadcast(none).process(TimedRuled(touch), on_error=policy)


def _triggered(make: Callable[[Touch], Trigger[Any]]) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        window = by_key(numbers).window(TumblingWindows(timedelta(seconds=10))).trigger(make(touch))
        # Poisoned records add nothing, and the same sum at the end of a window is no other result.
        sums = window.aggregate(Sum(lambda one: 0 if is_poisoned(one) else one["i"] + 1), on_error=policy)
        return sums.deduplicate(repr, ttl=None), sums

    return build


def _merged(slide: int, make: Callable[[Any, Touch, Any], Any]) -> Callable[..., Any]:
    """Each pane holds one record of a key, so that nothing but a merge sees two of them."""

    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        windows = SlidingWindows(timedelta(seconds=2 * slide), timedelta(seconds=2))
        return make(by_key(numbers).window(windows), touch, policy)

    return build


def _aggregated(window: Any, touch: Touch, policy: Any) -> Any:
    return window.aggregate(Merging(touch), on_error=policy)


def _named(window: Any, touch: Touch, policy: Any) -> Any:
    return window.aggregate(on_error=policy, a=Merging(touch))


def _reduced(numbers: Any, touch: Touch, policy: Any) -> Any:
    def join(one: Any, other: Any) -> Any:
        return {"all": [touch(each) for each in (*one["all"], *other["all"])]}

    lists = numbers.map(lambda one: {"all": [one], "k": one["k"]})
    windows = SlidingWindows(timedelta(seconds=4), timedelta(seconds=2))
    return by_key(lists).window(windows).reduce(lambda a, b: {**join(a, b)}, type=dict, on_error=policy)


TIMER_ROWS: dict[str, Row] = {
    "KeyedStream.process.function/on_timer event": Row(_timed("event"), good, tells_records=False),
    "KeyedStream.process.function/on_timer processing": Row(_timed("processing"), good, tells_records=False),
    "KeyedStream.process.function/on_timer overdue": Row(_timed("overdue"), good, tells_records=False),
    "KeyedStream.process.function/on_timer gives": Row(_once, good, (None, "x", object()), tells_records=False),
    "ConnectedStreams.process.function/on_timer": Row(_connected, good, tells_records=False),
    "BroadcastConnectedStreams.process.function/on_timer": Row(_ruled, good, tells_records=False),
    "WindowedStream.trigger.trigger/on_timer": Row(_triggered(AtEachRecord), lambda one: True, tells_records=False),
    "WindowedStream.aggregate.functions/merge": Row(_merged(2, _aggregated), same, of_outputs=True),
    "WindowedStream.aggregate.functions/merge of many": Row(_merged(10, _aggregated), same, of_outputs=True),
    "WindowedStream.aggregate.named/merge": Row(_merged(2, _named), same, of_outputs=True),
    "WindowedStream.reduce.function/merge": Row(_reduced, same, of_outputs=True),
}
