"""A Kafka transaction of the sink; `transaction_pool` gives them.

Each transaction has a (producer id, epoch) of its own, because a commit is repeated after a crash: were the pair used
again, the repeated commit of one transaction would commit the next, half-written one.

```text
EMPTY --join--> OPEN --prepare--> PREPARED      what follows is the committer's: COMMITTED, ABORTED or LOST
                  \\--abandon--> ABANDONED
```
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Collection, Iterable
from typing import Annotated, Any

import msgspec

from streamlet.connect import Clock, Committable, ConfigError, FinalError, SinkError
from streamlet_connectors.kafka.protocol import codes, requests
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import AccessDeniedError
from streamlet_connectors.kafka.protocol.requests import TopicInfo
from streamlet_connectors.kafka.writing.coordination import ask

PROTOCOL = 1
"""Says that EndTxn version 0 is spoken, whose rules for repeated commits differ from later versions."""
ASK_SECONDS = 60.0
_Partition = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
_Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Prepared(msgspec.Struct, frozen=True):
    """The payload of a committable: everything needed to settle the transaction from another process."""

    protocol: int
    transactional_id: Annotated[str, msgspec.Meta(max_length=8_000)]
    producer_id: Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1)]
    epoch: Annotated[int, msgspec.Meta(ge=-1, le=(1 << 15) - 1)]
    partitions: list[tuple[str, str, _Partition, _Offset]]
    """(topic, topic id in hex, partition, first offset)."""
    bootstrap: str
    cluster: str
    first_add_ms: int

    def payload(self) -> dict[str, Any]:
        result: dict[str, Any] = msgspec.to_builtins(self)
        return result

    @classmethod
    def of(cls, committable: Committable) -> Prepared:
        """Reads what `payload` wrote, also when it came back from msgpack; refuses what no KafkaSink has written."""
        try:
            return msgspec.convert(committable.payload, cls)
        except msgspec.ValidationError as error:
            raise FinalError(
                f"committable {committable.id} ({committable.description}) is not one of a KafkaSink: {error}",
                remedy="did the sink's uid belong to a sink of another kind? Settle it with the job that wrote it, "
                "then give the new sink a uid of its own",
            ) from error

    @property
    def where(self) -> str:
        """Names the topics and partitions, for messages."""
        topics: dict[str, list[int]] = {}
        for topic, _, partition, _ in self.partitions:
            topics.setdefault(topic, []).append(partition)
        return "; ".join(f"topic {topic}, partitions {_ranges(sorted(ps))}" for topic, ps in topics.items())


class TransactionState(enum.Enum):
    EMPTY = "empty"
    OPEN = "open"
    PREPARED = "prepared"
    ABANDONED = "abandoned"


_STEPS: dict[TransactionState, Collection[TransactionState]] = {
    TransactionState.EMPTY: {TransactionState.OPEN, TransactionState.ABANDONED},
    TransactionState.OPEN: {TransactionState.PREPARED, TransactionState.ABANDONED},
    TransactionState.PREPARED: (),
    TransactionState.ABANDONED: (),
}


class Transaction:
    """One transaction: which partitions joined it, and where its first record lies in each."""

    def __init__(
        self, connection: KafkaConnection, clock: Clock, id: str, producer_id: int, epoch: int, timeout_ms: int
    ) -> None:
        self.id = id
        self.producer_id = producer_id
        self.epoch = epoch
        self.state = TransactionState.EMPTY
        self.records = 0
        self.first_add_ms: int | None = None
        self.first_offsets: dict[int, int] = {}
        self._connection = connection
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._joined: set[int] = set()
        self._wanted: set[int] = set()
        self._joining: asyncio.Task[None] | None = None

    def transition_to(self, state: TransactionState) -> None:
        if state not in _STEPS[self.state]:
            raise AssertionError(f"transaction {self.id} cannot go from {self.state.value} to {state.value}")
        self.state = state

    def want(self, topic: str, partitions: Iterable[int]) -> None:
        """Starts to join partitions in the background, so that it is done when their records are sent."""
        self._wanted.update(partition for partition in partitions if partition not in self._joined)
        if self._joining is not None and self._joining.done() and self._joining.exception() is not None:
            return  # `join` will raise it
        if self._wanted and (self._joining is None or self._joining.done()):
            if self.state is TransactionState.EMPTY:
                self.transition_to(TransactionState.OPEN)
                self.first_add_ms = self._clock.now_ms()
            self._joining = asyncio.ensure_future(self._join(topic))

    async def join(self, topic: str, partition: int) -> None:
        """Returns when the partition belongs to the transaction; raises if the broker refuses it."""
        while partition not in self._joined:
            self.want(topic, [partition])
            assert self._joining is not None
            await asyncio.shield(self._joining)

    async def _join(self, topic: str) -> None:
        is_renewed = False
        while self._wanted:
            partitions = sorted(self._wanted)
            request = requests.add_partitions(self.id, self.producer_id, self.epoch, topic, partitions)
            answer = await ask(
                self._connection, self.id, request, seconds=ASK_SECONDS, what=f"writing to topic {topic!r}"
            )
            if answer.error == codes.INVALID_PRODUCER_ID_MAPPING and not self._joined and not is_renewed:
                await self._renew()
                is_renewed = True
                continue
            if answer.error:
                raise refused(f"adding {topic!r}, partitions {_ranges(partitions)}, to a transaction", answer.error)
            self._joined.update(partitions)
            self._wanted.difference_update(partitions)

    async def _renew(self) -> None:
        """Takes the id into use again, which the broker has forgotten while nothing was written for longer than its
        `transactional.id.expiration.ms`.

        That is right only for this answer and only before the first partition: nothing has been sent under the old
        identity.  An epoch that is not ours any more would mean that somebody has shut this writer out.
        """
        self.producer_id, self.epoch = await initialise(self._connection, self.id, self._timeout_ms, may_repeat=False)

    def prepare(self, topic: TopicInfo, cluster: str) -> Committable:
        """Closes the transaction for writing and describes it. Every record must have been acknowledged."""
        self.transition_to(TransactionState.PREPARED)
        assert self.first_add_ms is not None
        partitions = [(topic.name, topic.id.hex(), p, offset) for p, offset in sorted(self.first_offsets.items())]
        bootstrap = self._connection.options.bootstrap
        prepared = Prepared(
            PROTOCOL, self.id, self.producer_id, self.epoch, partitions, bootstrap, cluster, self.first_add_ms
        )
        return Committable(
            id=f"{self.id}/{self.producer_id}/{self.epoch}",
            payload=prepared.payload(),
            records=self.records,
            description=prepared.where,
            deadline_ms=self.first_add_ms + self._timeout_ms,
        )

    def shut(self) -> None:
        """Ends the background work without waiting for its end."""
        cancel(self._joining)

    async def abandon(self) -> None:
        """Aborts what is not prepared, so that readers need not wait for the time-out. Tries once."""
        joining, self._joining = self._joining, None
        await cancelled(joining)
        was_open = self.state is TransactionState.OPEN
        self.transition_to(TransactionState.ABANDONED)
        if was_open:
            request = requests.end_transaction(self.id, self.producer_id, self.epoch, commit=False)
            await self._connection.send_to_coordinator(requests.TRANSACTION_COORDINATOR, self.id, request)


def cancel(work: asyncio.Task[Any] | None) -> None:
    """Ends background work without waiting for it; nobody is to ask for its error."""
    if work is not None and not work.cancel() and not work.cancelled():
        work.exception()


async def cancelled(work: asyncio.Task[Any] | None) -> None:
    """Ends background work and returns when it has ended."""
    cancel(work)
    if work is not None and not work.done():
        await asyncio.wait([work])
        cancel(work)


async def initialise(
    connection: KafkaConnection, id: str, timeout_ms: int, *, may_repeat: bool = True, seconds: float = ASK_SECONDS
) -> tuple[int, int]:
    """Takes an id into use: aborts what is open under it, shuts out whoever used it, and gives a new identity."""
    request = requests.init_producer_id(id, timeout_ms)
    what = "starting a transaction"
    answer = await ask(connection, id, request, seconds=seconds, what=what, may_repeat=may_repeat)
    if answer.error:
        raise refused(f"taking transactional id {id!r} into use (time-out {timeout_ms} ms)", answer.error)
    return answer.producer_id, answer.epoch


def refused(what: str, code: int) -> Exception:
    """Makes an error of a coordinator's or broker's final refusal."""
    if code in codes.ACCESS_DENIED:
        remedy = "give this user the ACLs Write and Describe on the topic and the transactional id (prefix: job name)"
        return AccessDeniedError(f"{what}: {codes.code_name(code)}", remedy=remedy)
    if code == codes.INVALID_TRANSACTION_TIMEOUT:
        remedy = "lower transaction_timeout_seconds, or raise transaction.max.timeout.ms on the brokers"
        return ConfigError(f"{what}: {codes.code_name(code)}", remedy=remedy)
    remedies = {
        codes.INVALID_PRODUCER_EPOCH: "the transaction timed out, or another process took its id over",
        codes.INVALID_TXN_STATE: "the transaction ended at the broker, most likely by its time-out",
        codes.INVALID_PRODUCER_ID_MAPPING: "the broker forgot the transactional id (transactional.id.expiration.ms)",
    }
    otherwise = "the next attempt writes it anew; if it comes again, the broker's log says why"
    return SinkError(f"{what}: the broker answered {codes.code_name(code)}", remedy=remedies.get(code, otherwise))


def _ranges(numbers: Iterable[int]) -> str:
    """Writes [0, 1, 2, 5] as `0-2, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
