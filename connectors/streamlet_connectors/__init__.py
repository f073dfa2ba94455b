"""Connectors of streamlet. Import each by its module: `from streamlet_connectors.kafka import KafkaSource`."""
