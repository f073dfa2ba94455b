"""What the programs of the Kafka-to-Kafka benchmarks do: the input, how much comes out of it, and the check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import payments, words
from tests.benchmarks.payments import Output
from tests.kafka.broker import Kafka


@dataclass(frozen=True)
class Workload:
    """One kind of work over `count` records of input."""

    name: str
    fill: Callable[[Kafka, str, int], None]
    """Makes a topic with that many records."""
    outputs: Callable[[int], int]
    """How many records must come out."""
    check: Callable[[Output, int], None]
    """Raises `AssertionError` unless exactly the right records came out."""


def _large_enough(count: int) -> int:
    return sum(one.amount >= payments.LEAST_AMOUNT for one in payments.payments(count))


WORKLOADS = {
    one.name: one
    for one in (
        Workload("spend", payments.fill, lambda count: count, payments.check_spend),
        Workload("pass_through", payments.fill, lambda count: count, payments.check_passed),
        Workload("parse_map_filter", payments.fill, _large_enough, payments.check_parsed),
        Workload("word_count", words.fill, lambda count: words.WORDS_PER_LINE * count, words.check),
    )
}
"""`spend` is a keyed running count and sum, `word_count` a fan-out of eight before a keyed count."""
