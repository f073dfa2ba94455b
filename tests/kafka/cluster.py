"""Three real brokers of one cluster, each of which may be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.cimpl import NewTopic

from tests.kafka.broker import Kafka, KafkaBroker, new_cluster_id

NODES = 3
_SETTINGS: dict[str, str | int] = {
    "offsets_topic_replication_factor": NODES,
    "transaction_state_log_replication_factor": NODES,
    "transaction_state_log_min_isr": 2,
    "share_coordinator_state_topic_replication_factor": NODES,
    "share_coordinator_state_topic_min_isr": 2,
    "min_insync_replicas": 2,
    "replica_lag_time_max_ms": 4000,
    "broker_session_timeout_ms": 4000,
    "controller_quorum_fetch_timeout_ms": 4000,
    "auto_leader_rebalance_enable": "false",  # leaders move when a test says so
}
_SECONDS = 60.0


class KafkaCluster(Kafka):
    """A cluster of three, each both broker and controller: with one of them away everything goes on.

    Nodes are numbered from 1.  They die with the thread that called `start`.
    """

    replicas = NODES

    def __init__(self) -> None:
        self.nodes = {number: KafkaBroker(is_proxied=False, **_SETTINGS) for number in range(1, NODES + 1)}
        cluster = new_cluster_id()
        controllers = [node.controller for node in self.nodes.values()]
        for number, node in self.nodes.items():
            node.join(cluster, number, controllers)
        super().__init__(",".join(node.bootstrap for node in self.nodes.values()))

    def start(self) -> None:
        """Returns when all of them answer."""
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.start()
        self._until(lambda: len(self.admin().list_topics(timeout=10).brokers) == NODES, "all brokers are there")

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()

    def create_topic_on(self, nodes: Sequence[int], name: str, **configs: str | int) -> None:
        """A topic of one partition, which these nodes have; the first of them leads it."""
        config = {key.replace("_", "."): str(value) for key, value in configs.items()}
        topic = NewTopic(name, num_partitions=1, replica_assignment=[list(nodes)], config=config)
        admin = self.admin()
        admin.create_topics([topic])[name].result(30)
        self.wait_for_leader(name, nodes[0])

    def leaders(self, topic: str) -> list[int]:
        """The node that leads each partition, -1 for none."""
        partitions = self.admin().list_topics(topic, timeout=10).topics[topic].partitions
        return [partitions[number].leader for number in sorted(partitions)]

    def in_sync(self, topic: str, partition: int = 0) -> set[int]:
        """The nodes that have everything of a partition."""
        return set(self.admin().list_topics(topic, timeout=10).topics[topic].partitions[partition].isrs)

    def wait_for_in_sync(self, topic: str, nodes: set[int], partition: int = 0) -> None:
        """Returns when exactly these have everything."""
        self._until(lambda: self.in_sync(topic, partition) == nodes, f"{nodes} are in sync")

    def wait_for_leader(self, topic: str, node: int, partition: int = 0) -> None:
        """Returns when that node leads the partition."""
        self._until(lambda: self.leaders(topic)[partition] == node, f"{node} leads")

    def move_leaders(self, topic: str) -> None:
        """Gives each partition to the broker that should lead it, if that one can."""
        admin = self.admin()
        partitions = [TopicPartition(topic, number) for number in range(len(self.leaders(topic)))]
        try:
            admin.elect_leaders(ElectionType.PREFERRED, partitions).result(30)
        except KafkaException:
            pass  # the broker that should lead is away

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                if condition():
                    return
            except KafkaException:
                pass  # nobody answers just now
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {_SECONDS:g} s: {what}")
            time.sleep(0.05)
