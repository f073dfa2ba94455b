"""Finding leaders, and noticing what makes positions worthless: a topic that is gone, replaced, or cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from streamlet import StreamletError
from streamlet.connect import Clock, FinalError
from streamlet_connectors.kafka.protocol import codes, requests
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import (
    AccessDeniedError,
    BrokersUnreachableError,
    OffsetGoneError,
    TopicGoneError,
    TopicReplacedError,
    TransportError,
)
from streamlet_connectors.kafka.protocol.fetch_api import UNKNOWN_EPOCH, Diverging
from streamlet_connectors.kafka.protocol.offsets import find_offsets
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.reading.feed import Feed
from streamlet_connectors.kafka.reading.held_back import HeldBack
from streamlet_connectors.kafka.reading.records import Chunk

OutOfRange = Literal["fail", "earliest", "latest"]

_log = logging.getLogger("streamlet.kafka")
_LOOK_SECONDS = 10.0
_TRIES_BEFORE_A_WARNING = 4
_TRIES_OF_ANOTHER_VIEW = 6
_NO_ISOLATION = 0


class LeaderFinder:
    """Gives each lost feed a leader; looks also now and then, for a topic may be replaced without any error.

    `found(node)` is called when feeds have got that leader.  It tries for ever, with pauses that grow to 2 s; what
    cannot get better becomes the feed's failure.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Clock,
        feeds: Sequence[Feed],
        *,
        isolation: int,
        out_of_range: OutOfRange,
        found: Callable[[int], None],
        failed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._feeds = feeds
        self._isolation = isolation
        self._out_of_range = out_of_range
        self._found = found
        self._failed = failed
        self._wanted = asyncio.Event()
        self._away: set[int] = set()
        self.held_back = HeldBack(feeds, clock)

    def look_soon(self) -> None:
        """Says that there is a lost feed."""
        self._wanted.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        await self._open()
        while True:
            lost = [feed for feed in self._feeds if feed.is_lost]
            if lost:
                await asyncio.sleep(min(feed.pause_seconds for feed in lost))
            self._wanted.clear()
            await self._look()
            self._forget_brokers()
            self.held_back.look()
            for feed in [feed for feed in self._feeds if feed.is_out_of_range and feed.failure is None]:
                await self._settle(feed)
            if any(feed.failure for feed in self._feeds):
                self._failed()
            if not any(feed.is_lost for feed in self._feeds):
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    pass

    # -- absences

    def away(self, node: int | None, error: StreamletError) -> None:
        """Says that a broker (None: every one) does not answer."""
        if node is not None:
            self._away.add(node)
        self._connection.outages.away(self._name(node), error.message)

    def back(self, node: int) -> None:
        """Says that a broker answered a fetch."""
        self._away.discard(node)
        for one in (node, None):
            self._connection.outages.back(self._name(one))

    def close(self) -> None:
        """Nobody looks any more: what this one has told of single brokers is not known any longer."""
        for node in self._away:
            self._connection.outages.over(self._name(node))
        self._away.clear()

    def _forget_brokers(self) -> None:
        """A broker that leads nothing that is read here may stay away for good."""
        feeds = [feed for feed in self._feeds if not feed.is_fetched]
        if any(feed.is_lost for feed in feeds):
            return
        for node in self._away.difference(feed.leader for feed in feeds if feed.leader is not None):
            self._away.discard(node)
            self._connection.outages.over(self._name(node), "other brokers lead its partitions now")

    def _name(self, node: int | None) -> str:
        name = self._connection.name
        return name if node is None else f"broker {node} of {name}"

    # -- looking

    async def _open(self) -> None:
        while True:
            try:
                await self._connection.open()
                return
            except BrokersUnreachableError as error:
                self.away(None, error)

    async def _look(self) -> None:
        topics = dict.fromkeys(feed.topic for feed in self._feeds)
        try:
            infos = await self._connection.look(topics)
        except TransportError as error:
            for feed in self._feeds:
                if feed.is_lost:
                    self.away(None, error)
                    feed.tries += 1
            return
        for feed in self._feeds:
            if feed.failure is None:
                self._judge(feed, infos)

    def _judge(self, feed: Feed, infos: Mapping[str, TopicInfo]) -> None:
        info = infos.get(feed.topic)
        if info is not None and info.error in codes.ACCESS_DENIED:
            feed.failure = AccessDeniedError(
                f"{feed}: {codes.code_name(info.error)}",
                remedy="give this user the ACLs Describe and Read on the topic",
            )
            return
        if info is None or info.error or feed.partition >= len(info.leaders):
            self._missing(feed, info)
            return
        if info.id.hex() != feed.topic_id:
            raise replaced(feed.topic, feed.topic_id, info.id.hex())
        leader = info.leaders[feed.partition]
        if not feed.is_lost:
            return
        if leader < 0:
            self._try_on(feed, "it has no leader")
        elif not feed.is_out_of_range:
            feed.leader = leader
            feed.leader_epoch = info.epochs[feed.partition] if info.epochs else UNKNOWN_EPOCH
            self._found(leader)

    def _missing(self, feed: Feed, info: TopicInfo | None) -> None:
        now = self._clock.monotonic()
        if feed.missing_since is None:
            feed.missing_since = now
        limit = self._connection.options.topic_timeout_seconds
        if now - feed.missing_since >= limit:
            feed.failure = gone(feed.topic, f"partition {feed.partition} is not there", limit)
        elif feed.is_lost:
            code = info.error if info is not None and info.error else codes.UNKNOWN_TOPIC_OR_PARTITION
            self._try_on(feed, codes.code_name(code))

    def _try_on(self, feed: Feed, reason: str) -> None:
        feed.tries += 1
        if feed.tries == _TRIES_BEFORE_A_WARNING:
            _log.warning("%s: %s; trying on", feed, reason)

    # -- a position that the partition does not hold

    async def _settle(self, feed: Feed) -> None:
        try:
            first = await self._offset(feed, requests.EARLIEST, _NO_ISOLATION)
            end = await self._offset(feed, requests.LATEST, _NO_ISOLATION)
            latest = await self._offset(feed, requests.LATEST, self._isolation)
        except FinalError as error:
            feed.failure = error
            return
        except StreamletError as error:
            self._try_on(feed, error.message)
            return
        diverging, feed.diverging, feed.is_out_of_range = feed.diverging, None, False
        if diverging is not None:
            cut_off, earliest = _cut_off(feed, diverging), max(first, diverging.end)
        elif not first <= feed.offset <= end:
            cut_off, earliest = _offset_gone(feed, first, end), first
        elif feed.epoch > UNKNOWN_EPOCH and feed.tries >= _TRIES_OF_ANOTHER_VIEW:
            cut_off, earliest = _another_log(feed), first
        else:
            feed.tries += 1  # it was another broker's view for a moment: ask again
            return
        if self._out_of_range == "fail":
            feed.failure = cut_off
            return
        target = earliest if self._out_of_range == "earliest" else latest
        _log.warning("%s; going on at offset %d (out_of_range=%r)", cut_off.message, target, self._out_of_range)
        feed.add(Chunk.jump(feed.offset, target))
        feed.tries = 0

    async def _offset(self, feed: Feed, which: int, isolation: int) -> int:
        found = await find_offsets(self._connection, feed.topic, {feed.partition: which}, isolation=isolation)
        return found[feed.partition]


def _offset_gone(feed: Feed, first: int, end: int) -> OffsetGoneError:
    position = feed.offset
    if position < first:
        return OffsetGoneError(
            f"{feed}: position {position} is gone, the first offset there is {first}: {first - position} offsets were "
            "deleted before they were read (retention, or DeleteRecords)",
            remedy='to go on without them: out_of_range="earliest" (or "latest"); raise retention.ms of the topic',
        )
    return OffsetGoneError(
        f"{feed}: position {position} is not there, the topic ends at {end} (its first offset is {first}): it was "
        "truncated, or this is another cluster",
        remedy='check that the address names the same cluster as before; to go on anyway: out_of_range="latest" '
        '(or "earliest", which reads again)',
    )


def _cut_off(feed: Feed, diverging: Diverging) -> OffsetGoneError:
    """The log was read further than its leader has it, in an epoch that ended sooner there."""
    return OffsetGoneError(
        f"{feed}: the log was truncated: it was read to offset {feed.offset} (leader epoch {feed.epoch}), but its "
        f"leader has another one from offset {diverging.end} on (leader epoch {diverging.epoch}): "
        f"{feed.offset - diverging.end} offsets that were read are gone, and others may be in their place (an unclean "
        "leader election, or a broker that lost its disk)",
        remedy='to go on where the logs part: out_of_range="earliest" (or "latest"); what was made of the lost records '
        "stays; unclean.leader.election.enable=false and min.insync.replicas=2 keep it from happening",
    )


def _another_log(feed: Feed) -> OffsetGoneError:
    return OffsetGoneError(
        f"{feed}: its leader knows nothing of leader epoch {feed.epoch}, in which it was read to offset {feed.offset}: "
        "it is another log (restored, or of another cluster)",
        remedy="check that the address names the same cluster as before; to go on anyway: "
        'out_of_range="latest" (or "earliest", which reads again)',
    )


def replaced(topic: str, old_id: str, new_id: str) -> TopicReplacedError:
    """The error for a topic whose id is not the one of the positions that are held."""
    return TopicReplacedError(
        f"topic {topic} was deleted and created again (its id was {old_id}, now it is {new_id}): the positions held "
        "belong to the old one, and records of it that were not read are lost",
        remedy="to read the new topic from its beginning, give the source another uid or the job a new state directory",
    )


def gone(topic: str, what: str, seconds: float) -> TopicGoneError:
    """The error for a topic, or a partition of it, that has not been there for `seconds`."""
    return TopicGoneError(
        f"topic {topic}: {what}, for {seconds:g} s",
        remedy=f"was it deleted? Create it (kafka-topics.sh --create --topic {topic}), or mend its name in the job",
    )
