"""What a topic must hold at the end, found by plain Python from the input alone."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from streamlet.testing.kafka.model.log import PartitionLog
from tests.simulation.functions import REPLAY
from tests.simulation.kafka_scenario import RAW, KafkaScenario
from tests.simulation.oracle import WrongOutput

STRANGER = "stranger"
"""Key of records that are not the job's."""


def visible(log: PartitionLog) -> dict[int, Any]:
    """The job's own values in a partition by their offset, as a read_committed reader sees them."""
    values = {record.offset: json.loads(record.value or b"null") for record in log.committed_records()}
    return {offset: value for offset, value in values.items() if value[0] != STRANGER}


def check_topic(one: KafkaScenario, topic: str, partitions: list[list[Any]]) -> None:
    """Raises `WrongOutput` unless the topic is what some run without failures gives."""
    inputs = one.inputs()
    expected = Counter(record for records in inputs for record in records)
    found = Counter((value[0], value[1]) for values in partitions for value in values)
    if found != expected:
        lost, more = expected - found, found - expected
        raise WrongOutput(f"{topic}: lost {sorted(lost.elements())[:8]}, too many {sorted(more.elements())[:8]}")
    homes: dict[int, int] = {}
    for partition, values in enumerate(partitions):
        by_key: dict[int, list[Any]] = {}
        for value in values:
            if homes.setdefault(value[0], partition) != partition:
                raise WrongOutput(f"{topic}: key {value[0]} is in partitions {homes[value[0]]} and {partition}")
            by_key.setdefault(value[0], []).append(value)
        for key, mine in by_key.items():
            _check_key(one, topic, key, mine, inputs)


def _check_key(one: KafkaScenario, topic: str, key: int, values: list[Any], inputs: list[list[Any]]) -> None:
    ids = [value[1] for value in values]
    if one.keyed is not None and topic != RAW and [(v[2], v[3]) for v in values] != REPLAY[one.keyed](ids):
        raise WrongOutput(f"{topic}: key {key} came as {values}, which no order of its input gives")
    for partition, records in enumerate(inputs):
        wanted = [id for of, id in records if of == key]
        mine = set(wanted)
        if [id for id in ids if id in mine] != wanted:
            raise WrongOutput(f"{topic}: key {key} has the records of input partition {partition} out of order")
