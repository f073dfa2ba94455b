"""What a type checker knows of joins. It is checked, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

import msgspec

from streamlet import DeadLetter, Job, OutputTag, Stream, TumblingWindows, Window
from streamlet_connectors.generator import Generator


class Payment(msgspec.Struct, frozen=True):
    user: str
    amount: int


class Spend(msgspec.Struct, frozen=True):
    user: str
    count: int


payments = Job("types").source(Generator(lambda number: Payment("ann", number), count=10))


def joins() -> None:
    users = payments.key_by(lambda one: one.user)
    spends = payments.map(lambda one: Spend(one.user, 1)).key_by(lambda one: one.user)
    minute = timedelta(minutes=1)
    assert_type(
        users.interval_join(spends, lambda one, other: (one.amount, other.count), lower=-minute, upper=minute),
        Stream[tuple[int, int]],
    )

    def left(one: Payment, other: Spend | None) -> int:
        return one.amount

    def right(one: Payment | None, other: Spend) -> int:
        return other.count

    assert_type(users.interval_join(spends, left, lower=-minute, upper=minute, how="left"), Stream[int])
    assert_type(users.interval_join(spends, right, lower=-minute, upper=minute, how="right"), Stream[int])

    def full(one: Payment | None, other: Spend | None) -> str:
        return f"{one} {other}"

    assert_type(users.interval_join(spends, full, lower=-minute, upper=minute, how="full"), Stream[str])
    users.interval_join(spends, right, lower=-minute, upper=minute, how="left")  # type: ignore
    assert_type(users.as_of_join(spends, lambda one, other: other.count, tolerance=minute), Stream[int])
    assert_type(users.as_of_join(spends, left, how="left"), Stream[int])
    users.as_of_join(spends, left, how="full")  # type: ignore
    dead = OutputTag[DeadLetter]("dead")
    assert_type(users.as_of_join(spends, left, how="left", on_error=dead).side_output(dead), Stream[DeadLetter])
    users.as_of_join(spends, left, how="left", on_error=OutputTag[int]("dead"))  # type: ignore
    users.interval_join(spends, left, lower=-minute, upper=minute, how="left", on_error="drop")  # type: ignore
    minutes = TumblingWindows(minute)
    assert_type(
        users.window_join(spends, minutes, lambda one, other, window: (one.amount, other.count, window.end)),
        Stream[tuple[int, int, int]],
    )

    def either(one: Payment | None, other: Spend | None, window: Window) -> str:
        return f"{one} {other}"

    def with_left(one: Payment, other: Spend | None, window: Window) -> int:
        return one.amount

    def with_right(one: Payment | None, other: Spend, window: Window) -> int:
        return other.count

    assert_type(users.window_join(spends, minutes, either, how="full"), Stream[str])
    assert_type(users.window_join(spends, minutes, with_left, how="left"), Stream[int])
    assert_type(users.window_join(spends, minutes, with_right, how="right"), Stream[int])
    users.window_join(spends, minutes, with_left, how="right")  # type: ignore
    users.window_join(spends, minutes, with_right, how="left")  # type: ignore
    users.window_join(spends, minutes, left)  # type: ignore
    users.window_join(spends, minutes, lambda one, other, window: one.user, how="full")  # type: ignore
    payments.window_join(spends, minutes, either)  # type: ignore
    users.interval_join(spends, left, lower=-minute, upper=minute, how="full")  # type: ignore
    users.interval_join(payments, left, lower=-minute, upper=minute)  # type: ignore
    users.interval_join(payments.key_by(lambda one: one.amount), left, lower=-minute, upper=minute)  # type: ignore


def lookups() -> None:
    spends = payments.map(lambda one: Spend(one.user, 1))

    def left(one: Payment, other: Spend | None) -> int:
        return one.amount

    assert_type(
        payments.lookup_join(
            spends,
            lambda one, other: (one.amount, other.count),
            key=lambda one: one.user,
            table_key=lambda other: other.user,
            wait_for="nothing",
        ),
        Stream[tuple[int, int]],
    )
    by_amount = payments.key_by(lambda one: one.amount)
    assert_type(
        by_amount.lookup_join(
            spends,
            left,
            key=lambda one: one.amount if one.user else None,
            table_key=lambda other: other.count,
            is_removed=lambda other: not other.count,
            key_type=int,
            wait_for="watermark",
            how="left",
        ),
        Stream[int],
    )
    payments.lookup_join(spends, left, key=abs, table_key=lambda other: other.user, wait_for="end", how="left")  # type: ignore
    payments.lookup_join(spends, left, key=lambda one: one.user, table_key=lambda other: other.user)  # type: ignore
