"""What a run has left: in the topics of its output, and in its state directory."""

from __future__ import annotations

from pathlib import Path

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.ports import Disk
from streamlet.testing.kafka.simulated import SimulatedKafka
from streamlet_connectors.kafka.protocol.offsets import position_parts, split_parts
from tests.simulation.kafka_oracle import check_topic
from tests.simulation.kafka_outside import KafkaOutside
from tests.simulation.kafka_scenario import KafkaScenario
from tests.simulation.oracle import WrongOutput


def check_topics(one: KafkaScenario, kafka: SimulatedKafka, outside: KafkaOutside) -> None:
    """Raises `WrongOutput` unless every topic is exact and no transaction is left open in it."""
    if kafka.loop.unhandled:
        raise WrongOutput(f"at the broker: {kafka.loop.unhandled[0]}")
    for topic in one.sinks:
        found = kafka.broker.topics.get(topic)
        assert found is not None
        check_topic(one, topic, outside.values(topic))
        for partition, log in enumerate(found.partitions):
            if log.last_stable_offset != log.end_offset:
                raise WrongOutput(f"{topic}, partition {partition}: a transaction is open for ever")


def read_offsets(root: Path, disk: Disk) -> dict[int, int]:
    """Partition of the input -> the offset before which nobody needs it: a marked checkpoint is behind it."""
    marked = [one for one in CheckpointStorage(root, "simulated", disk).checkpoints() if one.is_marked]
    newest = max((one for one in marked if one.manifest is not None), key=lambda one: one.id, default=None)
    if newest is None or newest.manifest is None:
        return {}
    positions = newest.manifest.positions["source"]
    return {split_parts(split)[1]: position_parts(position).offset for split, position in positions.items()}


def written(one: KafkaScenario, kafka: SimulatedKafka) -> list[list[bytes]]:
    """Every byte of the output."""
    topics = [kafka.broker.topics.get(name) for name in one.sinks]
    return [
        [log.read(log.start_offset, 1 << 30, committed=False, is_first=True).records for log in topic.partitions]
        for topic in topics
        if topic is not None
    ]
