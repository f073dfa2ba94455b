"""From the bytes of a request to the bytes of its answer, without a socket."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any

from streamlet.testing.kafka.apis import authentication, cluster, groups, records, transactions
from streamlet.testing.kafka.apis.call import Api, Call, Waiting
from streamlet.testing.kafka.apis.wire import API_VERSIONS, Answer, Head, read_head, read_request, write_answer
from streamlet.testing.kafka.errors import NotKafkaError
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.broker import SimulatedBroker

_NEWEST_API_VERSIONS = 3


def _api_versions(call: Call) -> Answer:
    keys = [{"api_key": api.key, "min_version": api.first, "max_version": api.last} for api in OFFERED.values()]
    return {"api_keys": keys}


OFFERED: Mapping[int, Api] = {
    api.key: api
    for api in sorted(
        (
            *records.APIS,
            *cluster.APIS,
            *authentication.APIS,
            *groups.APIS,
            *transactions.APIS,
            Api(API_VERSIONS, "ApiVersions", 0, _NEWEST_API_VERSIONS, _api_versions),
        )
    )
}
"""What clients may ask. Transactions are those of clients before Kafka 4.0: epochs stay when a transaction ends."""

READING = frozenset({
    "Fetch", "ListOffsets", "OffsetForLeaderEpoch", "Metadata", "DescribeCluster", "DescribeConfigs", "OffsetFetch",
    "FindCoordinator", "ApiVersions", "DescribeGroups", "ListGroups", "DescribeProducers", "DescribeTransactions",
    "ListTransactions", "SaslHandshake", "SaslAuthenticate",
})  # fmt: skip
"""Requests after which nobody who waits needs to look again."""


class Exchange:
    """A request that was read; `apply` does what it says, until there is an answer."""

    def __init__(self, api: Api, head: Head, request: Any) -> None:
        self.api = api
        self.head = head
        self.request = request
        self.wake_at_ms: int | None = None
        """When `go_on` is due at the latest, while the request waits; None when it is done."""
        self.answer: bytes | None = None
        """None when done: the client wants no answer."""
        self._waiting: Waiting | None = None

    def apply(self, broker: SimulatedBroker, node: int, now_ms: int) -> None:
        call = Call(broker, self.head.version, self.request, self.head.client_id, node, now_ms)
        served = self.api.serve(call)
        if served is None or isinstance(served, Mapping):
            self._done(served)
        else:
            self._waiting = served
            self.go_on(None)

    def go_on(self, now_ms: int | None) -> None:
        """Looks again whether there is an answer."""
        assert self._waiting is not None
        try:
            self.wake_at_ms = next(self._waiting) if now_ms is None else self._waiting.send(now_ms)
        except StopIteration as done:
            self.wake_at_ms = None
            self._done(done.value)

    def _done(self, answer: Answer | None) -> None:
        self.answer = None if answer is None else write_answer(self.head, answer)


class Protocol:
    """Reads requests; counts them by name, for tests that must know what was asked."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def read(self, frame: bytes) -> Exchange:
        """Raises `NotKafkaError` where a broker closes the connection. A too new ApiVersions is answered at once."""
        try:
            head = read_head(frame)
            api = OFFERED.get(head.api)
            if api is None:
                raise NotKafkaError(f"request {head.api} is not offered")
            self.counts[api.name] += 1
            if api.first <= head.version <= api.last:
                return Exchange(api, head, read_request(frame, head))
        except (struct.error, ValueError, IndexError, TypeError) as error:
            raise NotKafkaError(f"not a Kafka request: {error}") from error
        if api.key != API_VERSIONS:
            raise NotKafkaError(f"{api.name} is not offered in version {head.version}")
        unsupported = Api(api.key, api.name, 0, 0, _unsupported)
        return Exchange(unsupported, head._replace(version=0), None)


def _unsupported(call: Call) -> Answer:
    return {**_api_versions(call), "error_code": codes.UNSUPPORTED_VERSION}
