"""Finding leaders, and noticing what makes positions worthless: a topic that is gone, replaced, or cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from streamlet.connect import Clock, FinalError, StreamletError
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
from streamlet_connectors.kafka.reading.held_back import HeldBack
from streamlet_connectors.kafka.reading.partition_fetch import PartitionFetch
from streamlet_connectors.kafka.reading.records import Chunk

OutOfRange = Literal["fail", "earliest", "latest"]

_log = logging.getLogger("streamlet.kafka")
_LOOK_SECONDS = 10.0
_TRIES_BEFORE_A_WARNING = 4
_TRIES_OF_ANOTHER_VIEW = 6
_NO_ISOLATION = 0


class LeaderFinder:
    """Gives each lost part a leader; looks also now and then, for a topic may be replaced without any error.

    `found(node)` is called when partitions have got that leader.  It tries for ever, with pauses that grow to 2 s; what
    cannot get better becomes the part's failure.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Clock,
        partitions: Sequence[PartitionFetch],
        *,
        isolation: int,
        out_of_range: OutOfRange,
        found: Callable[[int], None],
        failed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._partitions = partitions
        self._isolation = isolation
        self._out_of_range = out_of_range
        self._found = found
        self._failed = failed
        self._wanted = asyncio.Event()
        self._away: set[int] = set()
        self.held_back = HeldBack(partitions, clock)

    def look_soon(self) -> None:
        """Says that there is a lost part."""
        self._wanted.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        await self._open()
        while True:
            lost = [part for part in self._partitions if part.is_lost]
            if lost:
                await asyncio.sleep(min(part.pause_seconds for part in lost))
            self._wanted.clear()
            await self._look()
            self._forget_brokers()
            self.held_back.look()
            for part in [part for part in self._partitions if part.is_out_of_range and part.failure is None]:
                await self._settle(part)
            if any(part.failure for part in self._partitions):
                self._failed()
            if not any(part.is_lost for part in self._partitions):
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
        partitions = [part for part in self._partitions if not part.is_fetched]
        if any(part.is_lost for part in partitions):
            return
        for node in self._away.difference(part.leader for part in partitions if part.leader is not None):
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
        topics = dict.fromkeys(part.topic for part in self._partitions)
        try:
            infos = await self._connection.look(topics)
        except TransportError as error:
            for part in self._partitions:
                if part.is_lost:
                    self.away(None, error)
                    part.tries += 1
            return
        for part in self._partitions:
            if part.failure is None:
                self._judge(part, infos)

    def _judge(self, part: PartitionFetch, infos: Mapping[str, TopicInfo]) -> None:
        info = infos.get(part.topic)
        if info is not None and info.error in codes.ACCESS_DENIED:
            part.failure = AccessDeniedError(
                f"{part}: {codes.code_name(info.error)}",
                remedy="give this user the ACLs Describe and Read on the topic",
            )
            return
        if info is None or info.error or part.partition >= len(info.leaders):
            self._missing(part, info)
            return
        if info.id.hex() != part.topic_id:
            raise replaced(part.topic, part.topic_id, info.id.hex())
        leader = info.leaders[part.partition]
        if not part.is_lost:
            return
        if leader < 0:
            self._try_on(part, "it has no leader")
        elif not part.is_out_of_range:
            part.leader = leader
            part.leader_epoch = info.epochs[part.partition] if info.epochs else UNKNOWN_EPOCH
            self._found(leader)

    def _missing(self, part: PartitionFetch, info: TopicInfo | None) -> None:
        now = self._clock.monotonic()
        if part.missing_since is None:
            part.missing_since = now
        limit = self._connection.options.topic_timeout_seconds
        if now - part.missing_since >= limit:
            part.failure = gone(part.topic, f"partition {part.partition} is not there", limit)
        elif part.is_lost:
            code = info.error if info is not None and info.error else codes.UNKNOWN_TOPIC_OR_PARTITION
            self._try_on(part, codes.code_name(code))

    def _try_on(self, part: PartitionFetch, reason: str) -> None:
        part.tries += 1
        if part.tries == _TRIES_BEFORE_A_WARNING:
            _log.warning("%s: %s; trying on", part, reason)

    # -- a position that the partition does not hold

    async def _settle(self, part: PartitionFetch) -> None:
        try:
            first = await self._offset(part, requests.EARLIEST, _NO_ISOLATION)
            end = await self._offset(part, requests.LATEST, _NO_ISOLATION)
            latest = await self._offset(part, requests.LATEST, self._isolation)
        except FinalError as error:
            part.failure = error
            return
        except StreamletError as error:
            self._try_on(part, error.message)
            return
        diverging, part.diverging, part.is_out_of_range = part.diverging, None, False
        if diverging is not None:
            cut_off, earliest = _cut_off(part, diverging), max(first, diverging.end)
        elif not first <= part.offset <= end:
            cut_off, earliest = _offset_gone(part, first, end), first
        elif part.epoch > UNKNOWN_EPOCH and part.tries >= _TRIES_OF_ANOTHER_VIEW:
            cut_off, earliest = _another_log(part), first
        else:
            part.tries += 1  # it was another broker's view for a moment: ask again
            return
        if self._out_of_range == "fail":
            part.failure = cut_off
            return
        target = earliest if self._out_of_range == "earliest" else latest
        _log.warning("%s; going on at offset %d (out_of_range=%r)", cut_off.message, target, self._out_of_range)
        part.add(Chunk.jump(part.offset, target))
        part.tries = 0

    async def _offset(self, part: PartitionFetch, which: int, isolation: int) -> int:
        found = await find_offsets(self._connection, part.topic, {part.partition: which}, isolation=isolation)
        return found[part.partition]


def _offset_gone(part: PartitionFetch, first: int, end: int) -> OffsetGoneError:
    position = part.offset
    if position < first:
        return OffsetGoneError(
            f"{part}: position {position} is gone, the first offset there is {first}: {first - position} offsets were "
            "deleted before they were read (retention, or DeleteRecords)",
            remedy='to go on without them: out_of_range="earliest" (or "latest"); raise retention.ms of the topic',
        )
    return OffsetGoneError(
        f"{part}: position {position} is not there, the topic ends at {end} (its first offset is {first}): it was "
        "truncated, or this is another cluster",
        remedy='check that the address names the same cluster as before; to go on anyway: out_of_range="latest" '
        '(or "earliest", which reads again)',
    )


def _cut_off(part: PartitionFetch, diverging: Diverging) -> OffsetGoneError:
    """The log was read further than its leader has it, in an epoch that ended sooner there."""
    return OffsetGoneError(
        f"{part}: the log was truncated: it was read to offset {part.offset} (leader epoch {part.epoch}), but its "
        f"leader has another one from offset {diverging.end} on (leader epoch {diverging.epoch}): "
        f"{part.offset - diverging.end} offsets that were read are gone, and others may be in their place (an unclean "
        "leader election, or a broker that lost its disk)",
        remedy='to go on where the logs part: out_of_range="earliest" (or "latest"); what was made of the lost records '
        "stays; unclean.leader.election.enable=false and min.insync.replicas=2 keep it from happening",
    )


def _another_log(part: PartitionFetch) -> OffsetGoneError:
    return OffsetGoneError(
        f"{part}: its leader knows nothing of leader epoch {part.epoch}, in which it was read to offset {part.offset}: "
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
