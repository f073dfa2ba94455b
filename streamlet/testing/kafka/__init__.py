"""A Kafka broker for tests, in memory.

`model` is the broker as a pure state machine, which imports nothing with I/O; `apis` and `protocol` give it the wire
format, `service` an event loop and a clock, `server` a socket, `embedded` a thread. `faults` is trouble on purpose.
"""

from streamlet.testing.kafka.embedded import EmbeddedKafka
from streamlet.testing.kafka.faults import Fault, Faults, Trouble
from streamlet.testing.kafka.model.broker import SimulatedBroker
from streamlet.testing.kafka.model.settings import BrokerSettings
from streamlet.testing.kafka.service import KafkaService

__all__ = ["BrokerSettings", "EmbeddedKafka", "Fault", "Faults", "KafkaService", "SimulatedBroker", "Trouble"]
