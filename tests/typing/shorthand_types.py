"""What a type checker knows of aggregates by one word, and of policies on every step. It is checked, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from streamlet import DeadLetter, OutputTag, Stream, TumblingWindows
from streamlet.windows import WindowResult
from streamlet_connectors.files import FileSink
from tests.typing.stream_types import Payment, Spend, payments

DEAD = OutputTag[DeadLetter]("dead")

keyed = payments.key_by(lambda one: one.user)
minutes = keyed.window(TumblingWindows(timedelta(minutes=1)))


def running() -> None:
    assert_type(keyed.count(), Stream[int])
    assert_type(keyed.sum(lambda one: one.amount), Stream[int])
    assert_type(keyed.min(lambda one: one.user), Stream[str])
    assert_type(keyed.max(lambda one: one.amount), Stream[int])
    assert_type(keyed.mean(lambda one: one.amount), Stream[float])
    assert_type(keyed.top_k(3, lambda one: one.amount, type=Payment), Stream[list[Payment]])
    assert_type(keyed.distinct(lambda one: one.user), Stream[int])
    assert_type(keyed.collect(limit=5, type=Payment), Stream[list[Payment]])


def pair(user: str, amount: int) -> tuple[str, int]:
    return user, amount


def best(user: str, values: list[Payment]) -> Payment:
    return values[0]


def with_keys() -> None:
    assert_type(keyed.count(result=Spend), Stream[Spend])
    assert_type(keyed.count(result=lambda user, count: (user, count)), Stream[tuple[str, int]])
    assert_type(keyed.sum(lambda one: one.amount, result=lambda user, total: (user, total)), Stream[tuple[str, int]])
    assert_type(keyed.min(lambda one: one.amount, result=pair), Stream[tuple[str, int]])
    assert_type(keyed.max(lambda one: one.user, result=lambda user, most: user + most), Stream[str])
    assert_type(keyed.mean(lambda one: one.amount, result=lambda user, mean: (user, mean)), Stream[tuple[str, float]])
    assert_type(keyed.top_k(3, lambda one: one.amount, type=Payment, result=best), Stream[Payment])
    assert_type(keyed.distinct(lambda one: one.amount, result=pair), Stream[tuple[str, int]])
    assert_type(
        keyed.collect(type=Payment, result=lambda user, all: [one.amount for one in all], on_error=DEAD, uid="all"),
        Stream[list[int]],
    )
    keyed.count(result=best)  # type: ignore
    keyed.min(lambda one: one.user, result=pair)  # type: ignore
    keyed.count(result=lambda user: user)  # type: ignore


def of_windows() -> None:
    assert_type(minutes.count(), Stream[WindowResult[str, int]])
    assert_type(minutes.sum(lambda one: one.amount), Stream[WindowResult[str, int]])
    assert_type(minutes.min(lambda one: one.amount), Stream[WindowResult[str, int]])
    assert_type(minutes.max(lambda one: one.user), Stream[WindowResult[str, str]])
    assert_type(minutes.mean(lambda one: one.amount), Stream[WindowResult[str, float]])
    assert_type(minutes.top_k(3, lambda one: one.amount, type=Payment), Stream[WindowResult[str, list[Payment]]])
    assert_type(minutes.distinct(lambda one: one.user), Stream[WindowResult[str, int]])
    assert_type(minutes.collect(type=Payment), Stream[WindowResult[str, list[Payment]]])


def policies() -> None:
    assert_type(payments.deduplicate(lambda one: one.user, ttl=None, on_error=DEAD), Stream[Payment])
    assert_type(payments.sample(0.5, on_error="skip"), Stream[Payment])
    assert_type(payments.inspect(print, on_error=FileSink("dead")), Stream[Payment])
    assert_type(payments.split(lambda one: one.user, "ann", on_error=DEAD)[0].side_output(DEAD), Stream[DeadLetter])
    assert_type(
        keyed.batch(9, within=timedelta(seconds=1), type=Payment, on_error=DEAD, parallelism=2), Stream[list[Payment]]
    )
    assert_type(keyed.sum(lambda one: one.amount, on_error=DEAD, uid="total", parallelism=2), Stream[int])
    assert_type(minutes.sum(lambda one: one.amount, on_error="skip", uid="total"), Stream[WindowResult[str, int]])
    keyed.sum(lambda one: one.amount, on_error="ignore")  # type: ignore
    minutes.count(on_error="ignore")  # type: ignore
    minutes.count(uids="total")  # type: ignore
    keyed.count(uid=7)  # type: ignore
