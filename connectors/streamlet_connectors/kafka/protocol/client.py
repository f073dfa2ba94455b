"""KafkaConnection: finds the broker for a request, and keeps one socket per broker and group.

There is no background task: addresses and leaders are asked for when they are missing or proved wrong, so nothing can
die silently, and `close` has only sockets to close.  Whoever sends decides what a failure means: `send` and its kin
try once and raise `TransportError`; `open`, `wait_for_topic` and `coordinator` try on until a deadline, then say what
is wrong.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from streamlet.connect import FinalError, Outages, SystemClock
from streamlet_connectors.kafka.protocol import codes, requests, wire
from streamlet_connectors.kafka.protocol.errors import (
    AccessDeniedError,
    BrokerAnswerError,
    BrokersUnreachableError,
    NotSentError,
    TopicMissingError,
    TopicUnknownError,
    TransportError,
)
from streamlet_connectors.kafka.protocol.greeting import require_same_protocol
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.protocol.requests import TopicInfo

T = TypeVar("T")

_log = logging.getLogger("streamlet.kafka")
_FIRST_PAUSE_SECONDS = 0.05
_QUIET_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 2.0
_CLOSE_SECONDS = 2.0
_MISSING_SECONDS = 5.0
_PROBED = 3
_TOPIC, _BROKER = 2, 4


class Group(enum.IntEnum):
    """A broker serves one request per socket at a time, so what may wait long (Fetch) has a socket of its own."""

    CONTROL = 0
    COORDINATION = 1
    PRODUCE = 2
    FETCH = 3
    OFFSETS = 4


class Pauses:
    """Pauses between tries: each twice the last, up to a limit.  When they add up, a warning says once what is
    waited for."""

    def __init__(self, first: float = _FIRST_PAUSE_SECONDS, longest: float = _LONGEST_PAUSE_SECONDS) -> None:
        self._next = first
        self._longest = longest
        self._quiet_seconds = _QUIET_SECONDS

    async def pause(self, waiting_for: str = "") -> None:
        pause, self._next = self._next, min(self._next * 2, self._longest)
        if waiting_for and 0 < self._quiet_seconds <= pause:
            _log.warning("waiting for %s", waiting_for)
        self._quiet_seconds -= pause
        await asyncio.sleep(pause)


class KafkaConnection:
    """The way to one cluster for one task or a few; not to be shared between event loops."""

    def __init__(self, options: KafkaOptions, *, client_id: str | None = None, outages: Outages | None = None) -> None:
        self.options = options
        self.outages = outages or Outages(SystemClock())
        self.name = f"Kafka at {options.bootstrap}"
        self._client_id = client_id or options.client_id
        self._socket_options: Mapping[str, Any] = {}
        # Bootstrap addresses are nodes -1, -2 ...: asked only while no real broker answers.
        self._bootstrap = {-1 - index: address for index, address in enumerate(options.servers)}
        self._brokers: dict[int, tuple[str, int]] = {}
        self._sockets: dict[tuple[int, int], wire.Socket] = {}
        self._opening: dict[tuple[int, int], asyncio.Lock] = {}
        self._topics: dict[str, TopicInfo] = {}
        self._looking: dict[str, asyncio.Task[TopicInfo]] = {}
        self._coordinators: dict[tuple[int, str], int] = {}
        self.cluster = ""
        """The cluster's id, once it was reached."""
        self._is_closed = False
        self._closing: list[asyncio.Future[Any]] = []

    # -- life

    async def open(self) -> None:
        """Reaches the cluster, or raises `BrokersUnreachableError` after `connect_timeout_seconds`."""
        wire.warn_if_slow()
        self._socket_options = self.options.socket_options()
        limit = self.options.connect_timeout_seconds
        last: Exception | None = None
        pauses, tries = Pauses(), 0
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        await self.look([])
                        return
                    except TransportError as error:
                        last = error
                        if tries < _PROBED:
                            await require_same_protocol(self.options)
                        tries += 1
                        self.outages.away(self.name, error.message)
                        await pauses.pause()
        except TimeoutError:
            raise self._unreachable(limit, last) from last

    def _unreachable(self, seconds: float, last: Exception | None) -> BrokersUnreachableError:
        reason = last.message if isinstance(last, TransportError) else f"no answer within {seconds:g} s"
        return BrokersUnreachableError(
            f"no Kafka broker of {self.options.bootstrap} could be reached in {seconds:g} s: {reason}",
            remedy="check that the address is right, that the broker runs and listens there, and security_protocol",
        )

    def shut(self) -> None:
        """Closes every socket at once; what waits for an answer fails."""
        self._is_closed = True
        for task in self._looking.values():
            task.cancel()
        self._closing += self._looking.values()
        self._closing += [closed for socket in self._sockets.values() if (closed := socket.close()) is not None]
        self._sockets.clear()

    async def close(self) -> None:
        """Shuts it, and waits at most about 2 s until everything is gone. May be called twice."""
        self.shut()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS)

    # -- sending

    async def send(
        self, node: int, request: wire.Request[T], *, group: int = Group.CONTROL, sent: str | None = None
    ) -> T:
        """Sends to one broker, once; raises `TransportError` when no answer came.

        `sent` names a fault point that is passed when the request is on its way and its answer was not read.
        """
        socket = self._sockets.get((node, group))
        if socket is None or not socket.is_connected:
            socket = await self._connect(node, group)
        return await socket.send(request, sent=sent)

    async def send_to_leader(
        self,
        topic: str,
        partition: int,
        request: wire.Request[T],
        *,
        group: int = Group.CONTROL,
        sent: str | None = None,
    ) -> T:
        """Sends to the broker that led the partition when last seen; `forget_leaders` makes the next call look."""
        return await self.send(await self.leader(topic, partition), request, group=group, sent=sent)

    async def send_to_coordinator(
        self,
        kind: int,
        key: str,
        request: wire.Request[T],
        *,
        group: int = Group.COORDINATION,
        sent: str | None = None,
    ) -> T:
        """Sends to the coordinator of a group or transactional id. On 15, 16 or an error: `forget_coordinator`."""
        node = await self.coordinator(kind, key)
        try:
            return await self.send(node, request, group=group, sent=sent)
        except TransportError:
            self.forget_coordinator(kind, key)
            raise

    async def send_to_any(self, request: wire.Request[T]) -> T:
        """Sends to the first broker that answers; raises `TransportError` when none does."""
        last: TransportError | None = None
        for node in [*self._brokers, *self._bootstrap]:
            try:
                return await self.send(node, request)
            except TransportError as error:
                last = error
        raise last or TransportError("no broker is known")

    async def _connect(self, node: int, group: int) -> wire.Socket:
        key = (node, group)
        async with self._opening.setdefault(key, asyncio.Lock()):
            socket = self._sockets.get(key)
            if socket is not None and socket.is_connected:
                return socket
            address = self._brokers.get(node) or self._bootstrap.get(node)
            if self._is_closed or address is None:
                raise NotSentError("the connection is closed" if self._is_closed else f"broker {node} is not known")
            host, port = address
            opened = await wire.connect(
                host,
                port,
                client_id=self._client_id,
                max_answer_bytes=self.options.max_answer_bytes,
                timeout_seconds=min(self.options.request_timeout_seconds, self.options.connect_timeout_seconds),
                options=self._socket_options,
            )
            if self._is_closed:
                opened.close()
                raise NotSentError("the connection is closed")
            self._sockets[key] = opened
            return opened

    # -- brokers, topics, leaders

    @property
    def nodes(self) -> tuple[int, ...]:
        """The brokers that are known."""
        return tuple(self._brokers)

    async def look(self, topics: Iterable[str]) -> Mapping[str, TopicInfo]:
        """Asks the cluster once for these topics and for its brokers; a topic's `error` says if it is not there."""
        answer = await self.send_to_any(requests.metadata(topics))
        self.outages.back(self.name)
        if answer.brokers:
            moved = {node for node, address in self._brokers.items() if answer.brokers.get(node) != address}
            for key in [key for key in self._sockets if key[0] in moved or key[0] < 0]:
                self._sockets.pop(key).close()
            self._brokers = dict(answer.brokers)
            self.cluster = answer.cluster
        self._topics.update(answer.topics)
        return answer.topics

    async def topic(self, name: str) -> TopicInfo:
        """Gives a topic as it was last seen, or waits for it (see `wait_for_topic`)."""
        known = self._topics.get(name)
        return known if known is not None and not known.error else await self.wait_for_topic(name)

    async def wait_for_topic(self, name: str, *, at_start: bool = False) -> TopicInfo:
        """Looks until the topic is there and each partition has a leader; raises `TopicMissingError` after
        `topic_timeout_seconds`.  `at_start` a topic that the brokers do not know raises `TopicUnknownError` after 5 s:
        it is most likely misspelt."""
        limit = self.options.topic_timeout_seconds
        missing_until = asyncio.get_running_loop().time() + min(limit, _MISSING_SECONDS)
        pauses = Pauses()
        seen: TopicInfo | None = None
        last: TransportError | None = None
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        seen = await self._look_together(name)
                        last = None
                        if not seen.error and seen.leaders and min(seen.leaders) >= 0:
                            return seen
                        _refuse_denied(seen)
                        is_unknown = seen.error == codes.UNKNOWN_TOPIC_OR_PARTITION and bool(self._brokers)
                        if at_start and is_unknown and asyncio.get_running_loop().time() >= missing_until:
                            raise self._unknown(name)
                    except TransportError as error:
                        last = error
                    await pauses.pause(f"topic {name!r} at {self.options.bootstrap}, at most {limit:g} s")
        except TimeoutError:
            if at_start and seen is not None and seen.error == codes.UNKNOWN_TOPIC_OR_PARTITION:
                raise self._unknown(name) from last
            raise self._missing(name, seen, last, limit) from last

    def _unknown(self, name: str) -> TopicUnknownError:
        return TopicUnknownError(
            f"there is no topic {name!r} at {self.options.bootstrap}",
            remedy="mend its name, or create the topic: kafka-topics.sh --bootstrap-server "
            f"{self.options.bootstrap} --create --topic {name} --partitions 4",
        )

    async def _look_together(self, name: str) -> TopicInfo:
        """Looks at a topic once, together with everybody else who looks at it now."""
        task = self._looking.get(name)
        if task is None:
            task = self._looking[name] = asyncio.ensure_future(self._look_at(name))
            task.add_done_callback(lambda _: self._looking.pop(name, None))
        return await asyncio.shield(task)

    async def _look_at(self, name: str) -> TopicInfo:
        found = (await self.look([name])).get(name)
        return found or TopicInfo(name, codes.UNKNOWN_TOPIC_OR_PARTITION, bytes(16), ())

    def _missing(self, name: str, seen: TopicInfo | None, last: TransportError | None, seconds: float) -> Exception:
        if seen is None:
            return self._unreachable(seconds, last)
        if seen.error:
            return TopicMissingError(
                f"topic {name!r} at {self.options.bootstrap}: {codes.code_name(seen.error)}, for {seconds:g} s",
                remedy=f"create the topic (kafka-topics.sh --create --topic {name} --partitions 4), or mend its name",
            )
        without = [partition for partition, leader in enumerate(seen.leaders) if leader < 0]
        return TopicMissingError(
            f"topic {name!r} at {self.options.bootstrap}: no leader for partitions {without} for {seconds:g} s",
            remedy="see which brokers are down: kafka-topics.sh --describe --unavailable-partitions",
        )

    async def leader(self, topic: str, partition: int) -> int:
        """Gives the node that leads a partition, as last seen; looks if it is not known."""
        known = self._topics.get(topic)
        if known is None or partition >= len(known.leaders) or known.leaders[partition] < 0:
            known = await self.wait_for_topic(topic)
        if partition >= len(known.leaders):
            raise TopicMissingError(
                f"topic {topic!r} has {len(known.leaders)} partitions, so there is no partition {partition}",
                remedy="was the topic deleted and created again with fewer partitions? Then start from a new one",
            )
        return known.leaders[partition]

    def forget_leaders(self, topic: str) -> None:
        """Makes the next request for the topic look again."""
        self._topics.pop(topic, None)

    # -- coordinators

    async def coordinator(self, kind: int, key: str) -> int:
        """Gives the coordinator's node; looks for it if it is not known, until `connect_timeout_seconds`."""
        known = self._coordinators.get((kind, key))
        if known is not None:
            return known
        limit = self.options.connect_timeout_seconds
        pauses = Pauses()
        last: Exception | None = None
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        return await self._find_coordinator(kind, key)
                    except (TransportError, BrokerAnswerError) as error:
                        last = error
                    await pauses.pause()
        except TimeoutError:
            if isinstance(last, BrokerAnswerError):
                raise last from None
            raise self._unreachable(limit, last) from last

    async def _find_coordinator(self, kind: int, key: str) -> int:
        found = await self.send_to_any(requests.find_coordinator(kind, key))
        what = f"looking for the coordinator of {key!r}"
        if found.error in codes.ACCESS_DENIED:
            raise AccessDeniedError(
                f"{what}: {codes.code_name(found.error)}", remedy="allow this user Write and Describe on it"
            )
        if found.error:
            raise BrokerAnswerError(
                what,
                found.error,
                remedy="on a single broker transaction.state.log.replication.factor, transaction.state.log.min.isr "
                "and offsets.topic.replication.factor must be 1",
            )
        self._brokers[found.node] = (found.host, found.port)
        self._coordinators[kind, key] = found.node
        return found.node

    def forget_coordinator(self, kind: int, key: str) -> None:
        """Makes the next request look for the coordinator again."""
        self._coordinators.pop((kind, key), None)

    # -- settings

    async def broker_setting(self, name: str) -> str | None:
        """Reads a setting of a broker, or None when it is not shown or this user may not ask."""
        for node in self._brokers:
            values = await self._settings(node, _BROKER, str(node), [name])
            if name in values:
                return values[name]
        return None

    async def topic_settings(self, topic: str, names: Sequence[str]) -> Mapping[str, str]:
        """Reads settings of a topic; without those that are not shown, or that this user may not ask for."""
        for node in self._brokers:
            values = await self._settings(node, _TOPIC, topic, names)
            if values:
                return values
        return {}

    async def _settings(self, node: int, kind: int, owner: str, names: Sequence[str]) -> Mapping[str, str]:
        try:
            answer = await self.send(node, requests.describe_configs(kind, owner, names))
        except (TransportError, FinalError):
            return {}
        return {} if answer.error else {name: value for name, value in answer.values.items() if value is not None}


def _refuse_denied(topic: TopicInfo) -> None:
    if topic.error in codes.ACCESS_DENIED:
        raise AccessDeniedError(
            f"topic {topic.name!r}: {codes.code_name(topic.error)}",
            remedy="give this user the ACLs Describe and Read (source) or Write (sink) on the topic",
        )
    if topic.error == 17:
        raise AccessDeniedError(
            f"{topic.name!r} is not a valid topic name", remedy="use letters, digits, '.', '_', '-'"
        )
