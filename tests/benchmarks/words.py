"""Lines of words: input that is always the same, and what must come out of counting the words."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from tests.benchmarks.output_topic import PARTITIONS
from tests.benchmarks.payments import LARGE, Output
from tests.kafka.broker import Kafka
from tests.kafka.reading import fill_topic

WORDS_PER_LINE = 8
_VOCABULARY = 20_000
_SEED = 5


def lines(count: int) -> Iterator[str]:
    """The first `count` lines of one fixed text; the word of rank r comes with a weight of 1/r (Zipf)."""
    pick = random.Random(_SEED)
    words = [f"w{number}" for number in range(_VOCABULARY)]
    weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
    for _ in range(count):
        yield " ".join(pick.choices(words, cum_weights=weights, k=WORDS_PER_LINE))


def fill(kafka: Kafka, topic: str, count: int) -> None:
    """Makes the input topic."""
    kafka.create_topic(topic, PARTITIONS)
    fill_topic(kafka.bootstrap, topic, (line.encode() for line in lines(count)), options=LARGE)


def check(output: Output, count: int) -> None:
    """Each word has the counts 1..n, in order, in one partition, and nothing else is there. Raises `AssertionError`."""
    wanted = Counter(word for line in lines(count) for word in line.split())
    seen: Counter[str] = Counter()
    places: dict[str, int] = {}
    for partition, value in output:
        record = json.loads(value)
        word = record["word"]
        seen[word] += 1
        assert record["count"] == seen[word], f"{record} is wrong or out of order"
        assert places.setdefault(word, partition) == partition, f"{record} is in partition {partition}"
    assert seen == wanted, "words are missing, or there are too many"
