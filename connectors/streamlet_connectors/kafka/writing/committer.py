"""KafkaCommitter: settles prepared transactions, from their committables alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from streamlet.connect import (
    Committable,
    FinalError,
    Outcome,
    OutputLostError,
    SinkContext,
    SinkError,
    TaskGroup,
    fault_point,
)
from streamlet_connectors.kafka.protocol import codes, requests
from streamlet_connectors.kafka.protocol.client import KafkaConnection, Pauses
from streamlet_connectors.kafka.protocol.errors import TransportError
from streamlet_connectors.kafka.writing.coordination import ask
from streamlet_connectors.kafka.writing.outcome import Finding, find
from streamlet_connectors.kafka.writing.spec import SinkSpec
from streamlet_connectors.kafka.writing.transaction import PROTOCOL, Prepared, initialise, refused
from streamlet_connectors.kafka.writing.transaction_pool import transactional_ids

T = TypeVar("T")
log = logging.getLogger(__name__)

_SECONDS = 60.0
_AT_ONCE = 16
_MISSING_TOPIC_SECONDS = 3.0
_ENDED = frozenset({codes.INVALID_PRODUCER_EPOCH, codes.INVALID_TXN_STATE, codes.INVALID_PRODUCER_ID_MAPPING})
"""EndTxn answers of a transaction that is not open under this identity: only the log can tell how it ended."""
_WAYS_ON = "`--from ID` with an older checkpoint writes it again; `--accept-lost-output` goes on without it"


class KafkaCommitter:
    """Commits and aborts by `(transactional id, producer id, epoch)`, as often as asked, from any process."""

    can_lose = True

    def __init__(self, spec: SinkSpec, context: SinkContext, *, seconds: float = _SECONDS) -> None:
        self._spec = spec
        self._context = context
        self._seconds = seconds
        self._connection: KafkaConnection | None = None
        self._opening = asyncio.Lock()

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        """Asks coordinator and log; "unknown" when neither can tell, "lost" when the topic is another one by now."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(committable: Committable) -> Outcome:
            async with limit:
                return await self._outcome(committable)

        return await _all(one(committable) for committable in committables)

    async def _outcome(self, committable: Committable) -> Outcome:
        """A transaction stays open without its topic, but what was written is gone: better known before any commit."""
        prepared = await self._read(committable)
        outcome = (await self._settled(prepared)).outcome
        if outcome is not Outcome.OPEN or (gone := await _gone(await self._connected(), prepared)) is None:
            return outcome
        if not gone.is_certain:
            return Outcome.UNKNOWN  # to be asked again
        log.warning("%s is lost: %s", _named(committable), gone)
        return Outcome.LOST

    async def commit(self, committable: Committable) -> None:
        """Commits; success when it is committed already."""
        prepared = await self._read(committable)
        await self._check_topics(committable, prepared)
        code = await self._end(prepared, commit=True)
        if code in _ENDED:
            finding = await self._settled(prepared)
            if finding.outcome is Outcome.OPEN:
                raise SinkError(
                    f"the transaction of {_named(committable)} could not be committed yet: {finding.reason}"
                )
            if finding.outcome is not Outcome.COMMITTED:
                raise _lost(committable, prepared, code, finding)
        elif code:
            raise refused(f"committing {_named(committable)}", code)

    async def abort(self, committable: Committable) -> None:
        """Aborts; success when it is aborted already."""
        prepared = await self._read(committable)
        code = await self._end(prepared, commit=False)
        if code in _ENDED:
            finding = await self._settled(prepared)
            if finding.outcome is Outcome.OPEN:
                raise SinkError(f"the transaction of {_named(committable)} could not be aborted yet: {finding.reason}")
            if finding.outcome is not Outcome.ABORTED:
                raise OutputLostError(
                    f"{_named(committable)} cannot be aborted: it is {finding.outcome.value} ({finding.reason})",
                    remedy="start again: a checkpoint that includes this output is restored, if there is one",
                )
        elif code:
            raise refused(f"aborting {_named(committable)}", code)

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None:
        """Takes every transactional id that these writers have used into use, which aborts what is open and shuts
        zombies out of it; they have no way to the ids of this attempt.  One that no broker knows is left alone: nothing
        is open under it, and brokers would keep it for days."""
        connection = await self._connected()
        spared = {Prepared.of(committable).transactional_id for committable in spare}
        of = self._context
        ids = [
            id
            for attempt in of.unfenced
            for subtask in range(parallelism)
            for id in transactional_ids(of.job, of.instance, of.uid, attempt, subtask)
        ]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(id: str) -> None:
            async with limit:
                if await self._is_known(connection, id):
                    await initialise(connection, id, self._spec.timeout_ms)

        await _all(one(id) for id in ids if id not in spared)

    async def _is_known(self, connection: KafkaConnection, id: str) -> bool:
        request = requests.describe_transaction(id)
        answer = await ask(connection, id, request, seconds=self._seconds, what=f"asking for {id!r}")
        return answer.error != codes.TRANSACTIONAL_ID_NOT_FOUND

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> KafkaConnection:
        async with self._opening:
            if self._connection is None:
                connection = KafkaConnection(
                    self._spec.options,
                    client_id=f"{self._spec.options.client_id}-commit",
                    outages=self._context.outages,
                )
                try:
                    await connection.open()
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
            return self._connection

    async def _read(self, committable: Committable) -> Prepared:
        prepared = Prepared.of(committable)
        if prepared.protocol != PROTOCOL:
            raise FinalError(
                f"{_named(committable)} was written with protocol {prepared.protocol}, this version knows {PROTOCOL}",
                remedy="settle it with the version of streamlet that wrote it",
            )
        connection = await self._connected()
        if prepared.cluster and connection.cluster and prepared.cluster != connection.cluster:
            raise FinalError(
                f"{_named(committable)} was written to Kafka cluster {prepared.cluster} ({prepared.bootstrap}), but "
                f"the sink names cluster {connection.cluster} ({connection.options.bootstrap})",
                remedy="start with the old address once, so that the output is settled, then stop and change it",
            )
        return prepared

    async def _end(self, prepared: Prepared, *, commit: bool) -> int:
        request = requests.end_transaction(
            prepared.transactional_id, prepared.producer_id, prepared.epoch, commit=commit
        )
        what = f"{'committing' if commit else 'aborting'} {prepared.where}"
        answer = await ask(
            await self._connected(),
            prepared.transactional_id,
            request,
            seconds=self._seconds,
            what=what,
            sent="end_txn_sent",
        )
        fault_point("end_txn_answered")
        return answer.error

    async def _settled(self, prepared: Prepared) -> Finding:
        """Finds the outcome. "Open" is believed only if the coordinator says it: in the log it may also mean that the
        marker is still being written."""
        connection = await self._connected()
        deadline = asyncio.get_running_loop().time() + self._seconds
        pauses = Pauses(0.01, 1.0)
        finding: Finding | None = None
        while True:
            try:
                finding = await find(connection, prepared, seconds=self._seconds)
                if finding.outcome is not Outcome.OPEN or finding.is_certain:
                    return finding
                reason = finding.reason
            except TransportError as error:
                reason = error.message
            if asyncio.get_running_loop().time() > deadline:
                raise SinkError(
                    f"what became of the transaction on {prepared.where} cannot be told after {self._seconds:g} s: "
                    f"{reason}",
                    remedy="see what the brokers do with it (kafka-transactions.sh describe --transactional-id "
                    f"{prepared.transactional_id}), then start again",
                )
            await pauses.pause()

    async def _check_topics(self, committable: Committable, prepared: Prepared) -> None:
        """Refuses to commit into a topic that is not there any more: the broker would say yes, and the records are
        gone with the old topic."""
        connection = await self._connected()
        deadline = asyncio.get_running_loop().time() + self._seconds
        missing_until = asyncio.get_running_loop().time() + _MISSING_TOPIC_SECONDS
        pauses = Pauses()
        while True:
            try:
                gone = await _gone(connection, prepared)
            except TransportError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise SinkError(f"committing {_named(committable)}: {error.message}") from error
            else:
                if gone is None:
                    return
                if gone.is_certain or asyncio.get_running_loop().time() > missing_until:
                    raise OutputLostError(f"{_named(committable)} cannot be committed: {gone}", remedy=_WAYS_ON)
            await pauses.pause()


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Does it side by side; the first failure cancels the rest and is raised."""
    try:
        async with TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class _Gone(NamedTuple):
    """A topic that is not the one that was written to."""

    topic: str
    is_certain: bool
    """False when it is only missing: a broker that has just started may not know it yet."""

    def __str__(self) -> str:
        again = " and created again" if self.is_certain else ""
        return f"topic {self.topic!r} was deleted{again} after the output was prepared, which is gone with it"


async def _gone(connection: KafkaConnection, prepared: Prepared) -> _Gone | None:
    topics = {topic: topic_id for topic, topic_id, _, _ in prepared.partitions}
    seen = await connection.look(topics)
    for topic, topic_id in topics.items():
        info = seen.get(topic)
        if info is None or info.error == codes.UNKNOWN_TOPIC_OR_PARTITION:
            return _Gone(topic, is_certain=False)
        if not info.error and info.id.hex() != topic_id:
            return _Gone(topic, is_certain=True)
    return None


def _named(committable: Committable) -> str:
    return f"{committable.records} records of {committable.description} (transaction {committable.id})"


def _lost(committable: Committable, prepared: Prepared, code: int, finding: Finding) -> OutputLostError:
    if finding.outcome is Outcome.ABORTED:
        return OutputLostError(
            f"{_named(committable)} were aborted by the broker before they could be committed "
            f"({codes.code_name(code)}; {finding.reason})",
            remedy="the job was away longer than transaction_timeout_seconds: raise it (and the brokers' "
            f"transaction.max.timeout.ms); {_WAYS_ON}",
        )
    return OutputLostError(
        f"{_named(committable)} cannot be proven committed ({codes.code_name(code)}; {finding.reason})",
        remedy="look into the topic: if the records are there, start with `--accept-lost-output` (nothing is lost "
        "then); if not, with `--from ID` of an older checkpoint, which writes them again",
    )
