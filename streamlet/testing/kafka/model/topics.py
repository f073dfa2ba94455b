"""Topics: names, ids, partitions, settings."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.log import PartitionLog
from streamlet.testing.kafka.model.settings import NODE

TOPIC_SETTINGS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
}
"""Those that clients ask for. Retention and compaction do not run by themselves."""

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(slots=True)
class Topic:
    """A topic. One that is created again under the same name has another id."""

    name: str
    id: uuid.UUID
    partitions: list[PartitionLog]
    settings: dict[str, str]

    def setting(self, name: str) -> str:
        return self.settings.get(name, TOPIC_SETTINGS[name])

    @property
    def is_compacted(self) -> bool:
        return "compact" in self.setting("cleanup.policy")


class Topics:
    """The topics of the cluster, by name and by id."""

    def __init__(self, randomness: random.Random) -> None:
        self._randomness = randomness
        self.nodes = [NODE]
        """The brokers that lead new partitions, in turn."""
        self._by_name: dict[str, Topic] = {}

    def names(self) -> list[str]:
        return sorted(self._by_name)

    def get(self, name: str) -> Topic | None:
        return self._by_name.get(name)

    def by_id(self, id: uuid.UUID | None) -> Topic | None:
        return next((topic for topic in self._by_name.values() if topic.id == id), None)

    def log(self, name: str, partition: int) -> PartitionLog | None:
        """The log of a partition, or None when there is no such topic or partition."""
        topic = self._by_name.get(name)
        if topic is None or not 0 <= partition < len(topic.partitions):
            return None
        return topic.partitions[partition]

    def create(self, name: str, partitions: int, settings: Mapping[str, str], *, only_check: bool = False) -> int:
        """Gives an error code."""
        if not _NAME.fullmatch(name) or name in (".", ".."):
            return codes.INVALID_TOPIC
        if name in self._by_name:
            return codes.TOPIC_ALREADY_EXISTS
        if partitions < 1:
            return codes.INVALID_PARTITIONS
        if not only_check:
            id = uuid.UUID(int=self._randomness.getrandbits(128), version=4)
            logs = [self._log(number) for number in range(partitions)]
            self._by_name[name] = Topic(name, id, logs, dict(settings))
        return codes.NONE

    def delete(self, name: str) -> int:
        """Gives an error code; the topic's records are gone at once."""
        return codes.NONE if self._by_name.pop(name, None) is not None else codes.UNKNOWN_TOPIC_OR_PARTITION

    def grow(self, name: str, total: int, *, only_check: bool = False) -> int:
        """Adds partitions up to `total`; gives an error code."""
        topic = self._by_name.get(name)
        if topic is None:
            return codes.UNKNOWN_TOPIC_OR_PARTITION
        if total <= len(topic.partitions):
            return codes.INVALID_PARTITIONS
        if not only_check:
            topic.partitions.extend(self._log(number) for number in range(len(topic.partitions), total))
        return codes.NONE

    def leave(self, node: int) -> None:
        """A broker is away: others lead what it led, one after the other."""
        if len(self.nodes) > 1 and node in self.nodes:
            self.nodes.remove(node)
            logs = [log for topic in self._by_name.values() for log in topic.partitions if log.leader == node]
            for number, log in enumerate(logs):
                log.change_leader(self.nodes[number % len(self.nodes)])

    def _log(self, partition: int) -> PartitionLog:
        return PartitionLog(self.nodes[partition % len(self.nodes)])
