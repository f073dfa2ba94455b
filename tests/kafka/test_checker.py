"""The checker that judges the soak sees what it must: every kind of wrong output."""

from __future__ import annotations

import json

import pytest

from tests.checker import Check, Record, check
from tests.kafka.broker import Kafka
from tests.kafka.reading import fill_topic
from tests.kafka.sink_driving import fresh

PAYMENTS = [("ann", 5), ("bob", 7), ("ann", 1), ("ann", 2)]
RIGHT = [("ann", 1, 5), ("bob", 1, 7), ("ann", 2, 6), ("ann", 3, 8)]


def outputs(spends: list[tuple[str, int, int]]) -> list[tuple[bytes, bytes]]:
    return [(u.encode(), json.dumps({"user": u, "count": c, "sum": s}).encode()) for u, c, s in spends]


def checked(spends: list[tuple[str, int, int]]) -> dict[str, int]:
    """What is wrong with these outputs, all in partition 0."""
    result = Check()
    for offset, (user, amount) in enumerate(PAYMENTS):
        result.fed(Record(0, offset, user.encode(), json.dumps({"user": user, "amount": amount}).encode()))
    for offset, (key, value) in enumerate(outputs(spends)):
        result.came(Record(0, offset, key, value))
    result.end()
    found = {name: getattr(result, name) for name in ("lost", "doubled", "out_of_order", "wrong")}
    assert result.is_exact is not any(found.values())
    return {name: count for name, count in found.items() if count}


def test_right_output_is_exact_however_users_interleave() -> None:
    assert checked(RIGHT) == {}
    assert checked([RIGHT[1], RIGHT[0], *RIGHT[2:]]) == {}


@pytest.mark.parametrize(
    ("spends", "found"),
    [
        (RIGHT[:3], {"lost": 1}),
        (RIGHT[:2], {"lost": 2}),
        ([*RIGHT, RIGHT[0]], {"doubled": 1}),
        ([*RIGHT[:3], RIGHT[2], RIGHT[3]], {"doubled": 1}),
        ([*RIGHT[:2], RIGHT[3], RIGHT[2]], {"out_of_order": 1}),
        ([*RIGHT[:2], RIGHT[3]], {"out_of_order": 1, "lost": 1}),
        ([*RIGHT[:3], ("ann", 3, 9)], {"wrong": 1, "lost": 1}),
        ([*RIGHT, ("eve", 1, 1)], {"wrong": 1}),
        ([*RIGHT, ("ann", 4, 9)], {"wrong": 1}),
    ],
)
def test_lost_doubled_misplaced_and_wrong_outputs_are_told_apart(
    spends: list[tuple[str, int, int]], found: dict[str, int]
) -> None:
    assert checked(spends) == found


@pytest.mark.kafka
def test_the_console_consumer_is_a_second_witness_that_sees_the_same(kafka: Kafka) -> None:
    payments, spends = fresh("payments"), fresh("spends")
    for topic in (payments, spends):
        kafka.create_topic(topic, 2)
    values = [(user.encode(), json.dumps({"user": user, "amount": amount}).encode()) for user, amount in PAYMENTS]
    fill_topic(kafka.bootstrap, payments, values)
    fill_topic(kafka.bootstrap, spends, outputs(RIGHT))
    said = check(kafka.bootstrap, payments, spends, console=True, seconds=60)
    assert said["exact"] and said["console_is_equal"], said
    assert said["outputs"] == len(RIGHT)

    fill_topic(kafka.bootstrap, spends, outputs(RIGHT[:1]))
    said = check(kafka.bootstrap, payments, spends, console=False, seconds=60)
    assert not said["exact"] and said["doubled"] == 1, said
