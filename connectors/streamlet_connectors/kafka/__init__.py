"""Apache Kafka: an exactly-once source and a transactional sink, on the wire protocol.

`source` reads splits (partitions) from positions; `sink` writes in transactions whose fate the checkpoint decides.
"""

from streamlet_connectors.kafka.reading.decoding import BadRecord, KafkaRecord
from streamlet_connectors.kafka.reading.source import KafkaSource
from streamlet_connectors.kafka.writing.sink import KafkaSink

__all__ = ["BadRecord", "KafkaRecord", "KafkaSink", "KafkaSource"]
