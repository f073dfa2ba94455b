"""Apache Kafka: an exactly-once source and a transactional sink, on the wire protocol.

`source` reads splits (partitions) from positions; `sink` writes in transactions whose fate the checkpoint decides.
"""

from streamlet_connectors.kafka.decoding import BadRecord, KafkaRecord
from streamlet_connectors.kafka.sink import KafkaSink
from streamlet_connectors.kafka.source import KafkaSource

__all__ = ["BadRecord", "KafkaRecord", "KafkaSink", "KafkaSource"]
