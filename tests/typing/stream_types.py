"""What a type checker knows of a job, step by step. It is checked, never run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, assert_type

import msgspec

from streamlet import (
    AggregatingState,
    BroadcastContext,
    BroadcastState,
    Count,
    DeadLetter,
    Job,
    Json,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ListState,
    MapState,
    Max,
    Mean,
    Min,
    OutputTag,
    ProcessContext,
    ReducingState,
    Retry,
    SessionWindows,
    StateTtl,
    Stream,
    Sum,
    TimerContext,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
    Window,
)
from streamlet.aggregates import AggregateFunction, ApproxDistinct, Collect, Composed, Distinct, TopK
from streamlet.dsl import BroadcastConnectedStreams, ConnectedStreams, KeyedStream, WindowedStream
from streamlet.dsl.written import Written
from streamlet.windows import EveryRecords, WindowContext, WindowProcessFunction, WindowResult
from streamlet_connectors.files import FileSink, JsonLines
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from streamlet_connectors.print import Print


class Payment(msgspec.Struct, frozen=True):
    user: str
    amount: int


class Spend(msgspec.Struct, frozen=True):
    user: str
    count: int


def payment(number: int) -> Payment:
    return Payment("ann", number)


job = Job("types")
payments = job.source(Generator(payment, count=10))


def sources() -> None:
    assert_type(payments, Stream[Payment])
    assert_type(job.source(JsonLines("in.jsonl", Payment)), Stream[Payment])
    assert_type(job.source(JsonLines("in.jsonl")), Stream[Any])
    assert_type(job.source(KafkaSource("broker", "topic", value=Json(Payment))), Stream[Payment])


def time_of(payment: Payment) -> int:
    return payment.amount


def time_of_spend(spend: Spend) -> int:
    return spend.count


def event_time() -> None:
    strategy = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5))
    assert_type(job.source(Generator(payment), watermarks=strategy), Stream[Payment])
    assert_type(
        job.source(Generator(payment), watermarks=strategy.with_timestamps(lambda one: one.amount)), Stream[Payment]
    )
    assert_type(strategy.with_timestamps(time_of), WatermarkStrategy[Payment])
    assert_type(
        strategy.with_timestamps(time_of).with_idleness(timedelta(minutes=1)).with_max_ahead(None),
        WatermarkStrategy[Payment],
    )
    assert_type(
        job.source(
            Generator(payment),
            watermarks=WatermarkStrategy.from_function(lambda one, timestamp: timestamp if one.amount else None),
        ),
        Stream[Payment],
    )


LATE = OutputTag[Spend]("late")


def side_outputs() -> None:
    alarms = payments.key_by(lambda one: one.user).process(Alarms())
    assert_type(alarms.side_output(LATE), Stream[Spend])
    assert_type(alarms.side_output(LATE).key_by(lambda one: one.user), KeyedStream[str, Spend])


def stateless() -> None:
    assert_type(payments.map(lambda one: one.amount), Stream[int])
    assert_type(payments.map(lambda one: (one.user, one.amount)), Stream[tuple[str, int]])
    assert_type(payments.filter(lambda one: one.amount > 3), Stream[Payment])
    assert_type(payments.flat_map(lambda one: [one.user] * one.amount), Stream[str])
    assert_type(payments.union(payments, payments), Stream[Payment])


async def user_of(one: Payment) -> str:
    return one.user


async def is_large(one: Payment) -> bool:
    return one.amount > 3


async def users_of(one: Payment) -> list[str]:
    return [one.user]


def asynchronous() -> None:
    assert_type(payments.map_async(user_of), Stream[str])
    assert_type(
        payments.map_async(
            user_of,
            ordered=False,
            capacity=10,
            timeout=timedelta(seconds=1),
            on_timeout=lambda one: one.user,
            retry=Retry(attempts=2, on=OSError),
            type=Payment,
        ),
        Stream[str],
    )
    assert_type(payments.map(user_of), Stream[str])
    assert_type(payments.filter(is_large), Stream[Payment])
    assert_type(payments.flat_map(users_of), Stream[str])
    assert_type(payments.key_by(lambda one: one.user).map_async(user_of), Stream[str])


DEAD = OutputTag[DeadLetter]("dead")


def language() -> None:
    assert_type(payments.key_by("user"), KeyedStream[Any, Payment])
    assert_type(payments.key_by("user", "amount"), KeyedStream[tuple[Any, ...], Payment])
    assert_type(payments.deduplicate(lambda one: one.user, ttl=timedelta(hours=1)), Stream[Payment])
    assert_type(payments.split(lambda one: one.user, "ann", "bob"), tuple[Stream[Payment], ...])
    assert_type(payments.sample(0.5, by=lambda one: one.user, seed=1), Stream[Payment])
    assert_type(payments.inspect(print), Stream[Payment])
    assert_type(payments.key_by("user").batch(10, within=timedelta(seconds=1), type=Payment), Stream[list[Payment]])
    payments.deduplicate(lambda one: one.user)  # type: ignore
    payments.split(lambda one: one.amount, "ann")  # type: ignore


def error_policies() -> None:
    assert_type(payments.map(lambda one: one.amount, on_error="skip"), Stream[int])
    assert_type(payments.filter(lambda one: one.amount, on_error=DEAD).side_output(DEAD), Stream[DeadLetter])
    assert_type(payments.flat_map(lambda one: [one.user], on_error=FileSink("dead")), Stream[str])
    keyed = payments.key_by(lambda one: one.user, on_error=DEAD)
    assert_type(keyed, KeyedStream[str, Payment])
    assert_type(keyed.aggregate(Count(), on_error=DEAD), Stream[int])
    assert_type(keyed.process(Alarms(), on_error="fail"), Stream[Spend])
    payments.map(lambda one: one.amount, on_error="ignore")  # type: ignore


def keys() -> None:
    assert_type(payments.key_by(lambda one: one.user), KeyedStream[str, Payment])
    assert_type(payments.key_by(lambda one: (one.user, one.amount)), KeyedStream[tuple[str, int], Payment])
    assert_type(payments.key_by(lambda one: one.user).map(lambda one: one.amount), Stream[int])
    assert_type(payments.key_by(lambda one: one.user).filter(bool), Stream[Payment])


class Total(AggregateFunction[Payment, int, float]):
    accumulator_type = int

    def create_accumulator(self) -> int:
        return 0

    def add(self, accumulator: int, value: Payment) -> int:
        return accumulator + value.amount

    def result(self, accumulator: int) -> float:
        return accumulator / 100


def aggregates() -> None:
    keyed = payments.key_by(lambda one: one.user)
    assert_type(keyed.aggregate(Count()), Stream[int])
    assert_type(keyed.aggregate(Total()), Stream[float])
    assert_type(keyed.aggregate(Mean(lambda one: one.amount)), Stream[float])
    assert_type(keyed.aggregate(Count(), Total()), Stream[tuple[int, float]])
    assert_type(keyed.aggregate(Count(), result=Spend), Stream[Spend])
    assert_type(
        keyed.aggregate(Count(), Total(), result=lambda user, count, total: (user, total)), Stream[tuple[str, float]]
    )
    assert_type(
        keyed.aggregate(
            Count(), Min(lambda one: one.amount), Max(lambda one: one.amount), result=lambda *row: len(row)
        ),
        Stream[int],
    )
    assert_type(keyed.aggregate(Count(), Total(), Count()), Stream[tuple[Any, ...]])
    assert_type(keyed.reduce(lambda one, other: other, type=Payment), Stream[Payment])
    assert_type(keyed.aggregate(Sum(lambda one: one.amount)), Stream[Any])
    assert_type(keyed.aggregate(total=Sum(lambda one: one.amount), count=Count()), Stream[dict[str, Any]])
    assert_type(keyed.aggregate(user=Max(lambda one: one.user), count=Count(), into=Spend), Stream[Spend])
    assert_type(keyed.aggregate(Composed(Spend, user=Max(lambda one: one.user), count=Count())), Stream[Spend])
    assert_type(keyed.aggregate(Composed(total=Total(), count=Count())), Stream[dict[str, Any]])
    assert_type(keyed.aggregate(TopK(3, by=lambda one: one.amount, type=Payment)), Stream[list[Any]])
    assert_type(keyed.aggregate(Distinct(lambda one: one.user)), Stream[int])
    assert_type(keyed.aggregate(ApproxDistinct(lambda one: one.user)), Stream[int])
    assert_type(keyed.aggregate(Collect(limit=10, type=Payment)), Stream[list[Any]])


class Alarms(KeyedProcessFunction[str, Payment, Spend]):
    last = ValueState(int, ttl=timedelta(hours=1))
    largest = ReducingState(max, int)
    mean = AggregatingState(Mean[Payment](lambda one: one.amount), ttl=StateTtl(timedelta(days=1), "event", "read"))
    total = AggregatingState(Total())
    amounts = ListState(int)
    by_day = MapState(str, float)

    def process_element(self, value: Payment, ctx: ProcessContext[str]) -> Iterator[Spend]:
        assert_type(ctx.key, str)
        assert_type(ctx.timestamp, int | None)
        assert_type(self.last.value(), int | None)
        assert_type(self.amounts.get(), list[int])
        assert_type(self.largest.value(), int | None)
        assert_type(self.mean.value(), float | None)
        assert_type(self.total.value(), float | None)
        self.largest.add(3)
        self.total.add(value)
        self.total.add("value")  # type: ignore
        assert_type(self.by_day.get("monday"), float | None)
        assert_type(list(self.by_day.items()), list[tuple[str, float]])
        self.last.update(value.amount)
        self.amounts.add(value.amount)
        self.by_day.put("monday", 1.5)
        assert_type(ctx.current_watermark, int)
        ctx.output(LATE, Spend(ctx.key, 1))
        ctx.output(LATE, value)  # type: ignore
        yield Spend(ctx.key, len(self.amounts))


class Silent(KeyedProcessFunction[str, Payment, Spend]):
    def process_element(self, value: Payment, ctx: ProcessContext[str]) -> None:
        ctx.timers.register_event_time(value.amount)
        ctx.timers.register_processing_time(ctx.now_ms() + 1000)
        ctx.timers.register_event_time(1.5)  # type: ignore

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[Spend]:
        assert_type(ctx.key, str)
        assert_type(ctx.timestamp, int)
        assert_type(ctx.domain, Literal["event", "processing"])
        ctx.timers.delete_event_time(timestamp)
        ctx.output(LATE, Spend(ctx.key, 1))
        yield Spend(ctx.key, timestamp)


class Limits(KeyedBroadcastProcessFunction[str, Payment, Spend, int]):
    limits = BroadcastState(str, Spend)

    def process_element(self, value: Payment, ctx: ProcessContext[str]) -> Iterator[int]:
        assert_type(self.limits.get(ctx.key), Spend | None)
        yield value.amount

    def process_broadcast_element(self, value: Spend, ctx: BroadcastContext) -> None:
        assert_type(ctx.timestamp, int | None)
        self.limits.put(value.user, value)
        self.limits.put(value.user, 3)  # type: ignore
        ctx.output(LATE, value)  # type: ignore


class Matching(KeyedCoProcessFunction[str, Payment, Spend, int]):
    def process_element1(self, value: Payment, ctx: ProcessContext[str]) -> Iterator[int]:
        yield value.amount

    def process_element2(self, value: Spend, ctx: ProcessContext[str]) -> None:
        assert_type(ctx.key, str)


def two_streams() -> None:
    keyed = payments.key_by(lambda one: one.user)
    spends = payments.map(lambda one: Spend(one.user, one.amount))
    by_user = spends.key_by(lambda one: one.user)
    assert_type(keyed.connect(by_user), ConnectedStreams[str, Payment, Spend])
    assert_type(keyed.connect(by_user).process(Matching()), Stream[int])
    assert_type(keyed.connect_broadcast(spends), BroadcastConnectedStreams[str, Payment, Spend])
    assert_type(keyed.connect_broadcast(spends).process(Limits()), Stream[int])
    keyed.connect(spends)  # type: ignore
    keyed.connect(spends.key_by(lambda one: one.count))  # type: ignore
    by_user.connect(keyed).process(Matching())  # type: ignore
    keyed.connect_broadcast(payments).process(Limits())  # type: ignore


def processing() -> None:
    keyed = payments.key_by(lambda one: one.user)
    assert_type(keyed.process(Alarms()), Stream[Spend])
    assert_type(keyed.process(Silent()), Stream[Spend])
    assert_type(keyed.process(Alarms()).key_by(lambda one: one.count), KeyedStream[int, Spend])


class Ranks(WindowProcessFunction[str, Payment, Spend]):
    def process(self, key: str, window: Window, values: list[Payment], ctx: WindowContext[str]) -> Iterator[Spend]:
        assert_type(window.start, int)
        ctx.output(LATE, Spend(key, 1))
        ctx.output(LATE, key)  # type: ignore
        yield Spend(key, len(values))


def windows() -> None:
    keyed = payments.key_by(lambda one: one.user)
    minutes = keyed.window(TumblingWindows(timedelta(minutes=1)))
    assert_type(minutes, WindowedStream[str, Payment])
    late = OutputTag[Payment]("late")
    assert_type(
        minutes.trigger(EveryRecords(3)).allowed_lateness(timedelta(seconds=5)).late_output(late).discarding(),
        WindowedStream[str, Payment],
    )
    assert_type(minutes.discarding().accumulating(), WindowedStream[str, Payment])
    assert_type(minutes.aggregate(Count()), Stream[WindowResult[str, int]])
    assert_type(minutes.aggregate(Count(), Total()), Stream[WindowResult[str, tuple[int, float]]])
    assert_type(
        minutes.aggregate(Count(), result=lambda user, window, count: (user, window.end, count)),
        Stream[tuple[str, int, int]],
    )
    assert_type(minutes.aggregate(Count(), Total(), result=lambda user, window, count, total: total), Stream[float])
    assert_type(minutes.aggregate(Count(), Total(), Count()), Stream[WindowResult[str, tuple[Any, ...]]])
    assert_type(
        minutes.aggregate(Count(), Total(), Count(), Total(), result=lambda user, window, *row: len(row)),
        Stream[int],
    )
    minutes.aggregate(Count(), 5, Count())  # type: ignore
    assert_type(minutes.aggregate(total=Total(), n=Count()), Stream[WindowResult[str, dict[str, Any]]])
    assert_type(minutes.aggregate(user=Max(), count=Count(), into=Spend), Stream[WindowResult[str, Spend]])
    minutes.aggregate(total=5)  # type: ignore
    minutes.reduce(lambda one, other: other, on_error="ignore")  # type: ignore
    assert_type(minutes.reduce(lambda one, other: other, type=Payment), Stream[WindowResult[str, Payment]])
    assert_type(minutes.process(Ranks(), type=Payment), Stream[Spend])
    assert_type(
        keyed.window(SessionWindows[Payment](lambda one: timedelta(seconds=one.amount))), WindowedStream[str, Payment]
    )
    keyed.window(SessionWindows[Spend](lambda one: timedelta(seconds=one.count)))  # type: ignore
    minutes.late_output(LATE)  # type: ignore
    minutes.aggregate(Count(), result=lambda user, count: count)  # type: ignore
    payments.window(TumblingWindows(timedelta(minutes=1)))  # type: ignore


def sinks() -> None:
    assert_type(payments.sink(Print()), Written)
    assert_type(payments.sink(FileSink("out")), Written)
    assert_type(payments.sink(KafkaSink("broker", "topic", value=Json())), Written)


def what_does_not_fit_is_found() -> None:
    """With `warn_unused_ignores` each of these lines is an error that mypy must find."""
    keyed = payments.key_by(lambda one: one.user)
    payments.map(lambda one: one.amout)  # type: ignore
    payments.flat_map(lambda one: one.amount)  # type: ignore
    payments.map_async(lambda one: one.amount)  # type: ignore
    payments.union(payments.map(lambda one: one.user))  # type: ignore
    payments.aggregate(Count())  # type: ignore
    keyed.aggregate(Count(), result=lambda user: user)  # type: ignore
    keyed.aggregate(total=Sum(lambda one: one.amout))  # type: ignore
    keyed.aggregate(total=5)  # type: ignore
    payments.key_by(lambda one: one.amount).process(Alarms())  # type: ignore
    payments.key_by(lambda one: [one.user])  # type: ignore
    bounded = WatermarkStrategy.monotonic()
    job.source(Generator(payment), watermarks=bounded.with_timestamps(time_of_spend))  # type: ignore
    job.source(Generator(payment), watermarks=bounded.with_timestamps(lambda one: one.user))  # type: ignore
