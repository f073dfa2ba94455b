"""What an API's function is given and gives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from streamlet.testing.kafka.apis.wire import Answer
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.broker import SimulatedBroker
from streamlet.testing.kafka.model.transactions import Place

T = TypeVar("T")

Waiting = Generator[int, int, Answer]
"""A request that cannot be answered yet: it yields the time at which it wants to be asked again at the latest, and is
sent the time whenever something has changed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    broker: SimulatedBroker
    version: int
    request: Any
    client_id: str
    node: int
    """The broker that is asked."""
    now_ms: int

    def fenced(self, error: int, since: int) -> int:
        """Versions before `since` do not know the code for fenced producers."""
        is_old = self.version < since and error == codes.PRODUCER_FENCED
        return codes.INVALID_PRODUCER_EPOCH if is_old else error


Serve = Callable[[Call], "Answer | Waiting | None"]


class Api(NamedTuple):
    """An API and the versions of it that are offered. None is given when the client wants no answer."""

    key: int
    name: str
    first: int
    last: int
    serve: Serve


def by_topic(values: Mapping[Place, T]) -> Iterable[tuple[str, list[tuple[int, T]]]]:
    """Groups what is said about partitions by topic, as answers do."""
    topics: dict[str, list[tuple[int, T]]] = {}
    for (topic, partition), value in values.items():
        topics.setdefault(topic, []).append((partition, value))
    return topics.items()
