"""The settings of the simulated broker, under the names that Kafka gives them."""

from __future__ import annotations

from dataclasses import dataclass

NODE = 1
"""The broker of a cluster that has one."""


@dataclass(slots=True)
class BrokerSettings:
    """They may be changed while the broker runs; the defaults are Kafka's, but for the sweep, which is quicker."""

    transaction_max_timeout_ms: int = 900_000
    transactional_id_expiration_ms: int = 604_800_000
    sweep_interval_ms: int = 1_000
    """How often timed out transactions are aborted and unused transactional ids forgotten."""
    marker_delay_ms: int = 1
    """How long after its decision a transaction's markers are written; until then EndTxn answers 51."""
    auto_create_topics: bool = False
    num_partitions: int = 1
    fetch_max_bytes: int = 57_671_680

    def shown(self) -> dict[str, str]:
        """As DescribeConfigs gives them."""
        return {
            "auto.create.topics.enable": str(self.auto_create_topics).lower(),
            "default.replication.factor": "1",
            "fetch.max.bytes": str(self.fetch_max_bytes),
            "message.max.bytes": "1048588",
            "min.insync.replicas": "1",
            "num.partitions": str(self.num_partitions),
            "offsets.retention.minutes": "10080",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": str(self.sweep_interval_ms),
            "transaction.max.timeout.ms": str(self.transaction_max_timeout_ms),
            "transaction.remove.expired.transaction.cleanup.interval.ms": str(self.sweep_interval_ms),
            "transaction.state.log.replication.factor": "1",
            "transactional.id.expiration.ms": str(self.transactional_id_expiration_ms),
        }
