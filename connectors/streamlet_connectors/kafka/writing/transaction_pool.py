"""The pool of transactional ids that a sink subtask's transactions come from."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from streamlet.connect import Clock, SinkError
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import NotAnsweredError, TransportError
from streamlet_connectors.kafka.writing.transaction import (
    ASK_SECONDS,
    Prepared,
    Transaction,
    cancel,
    cancelled,
    initialise,
)

POOL_SIZE = 8
_BUSY_SECONDS = 10.0


def transactional_ids(job: str, instance: str, uid: str, attempt: int, subtask: int) -> list[str]:
    """Names the pool of one sink subtask in one attempt. Dots separate, so dots inside a part are written `%2E`.

    Each attempt has ids of its own.  InitProducerId aborts whatever is open under an id, whoever asks: one that a dead
    process had sent, or that a process sends which was stopped and woke up, must not meet the ids of this attempt.
    """
    parts = [part.replace("%", "%25").replace(".", "%2E") for part in (job, instance, uid)]
    return [f"{'.'.join(parts)}.{attempt}.{subtask}.{k}" for k in range(POOL_SIZE)]


class TransactionPool:
    """Gives transactions. The next one is made ready before it is needed, never while a barrier waits."""

    def __init__(self, connection: KafkaConnection, clock: Clock, ids: Iterable[str], timeout_ms: int) -> None:
        self._connection = connection
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._free = deque(ids)
        self._held: dict[str, Transaction] = {}
        self._next: asyncio.Task[Transaction] | None = None

    async def take(self) -> Transaction:
        """Gives a fresh transaction; raises `SinkError` when no id is free."""
        if self._next is not None and self._next.done() and self._next.exception() is not None:
            self._next = None  # it failed while nobody waited: the reason may be gone
        self._make_ready()
        if self._next is None:
            raise SinkError(
                f"of the {POOL_SIZE} transactional ids of this sink {len(self._held)} belong to prepared transactions "
                "that no durable commit marker covers, and the others got no answer when they were taken into use",
                remedy="see why checkpoints do not complete or are not committed (an earlier error says it), and "
                "whether all brokers are up",
            )
        ready = self._next
        try:
            transaction = await asyncio.shield(ready)
        finally:
            if ready.done() and self._next is ready:
                self._next = None
        self._held[transaction.id] = transaction
        self._make_ready()
        return transaction

    def release(self, prepared: Prepared) -> None:
        """Frees the id of a settled transaction that no checkpoint names any more; others are not touched.

        It is the next to be taken: the brokers keep every id for days, so that the fewest are taken into use.
        """
        held = self._held.get(prepared.transactional_id)
        if held is not None and (held.producer_id, held.epoch) == (prepared.producer_id, prepared.epoch):
            del self._held[prepared.transactional_id]
            self._free.appendleft(prepared.transactional_id)

    def shut(self) -> None:
        """Ends the background work without waiting for its end."""
        cancel(self._next)

    async def close(self) -> None:
        """Ends the background work."""
        ready, self._next = self._next, None
        await cancelled(ready)

    def _make_ready(self) -> None:
        if self._next is None and self._free:
            self._next = asyncio.ensure_future(self._initialise())

    async def _initialise(self) -> Transaction:
        """Takes the next free id into use.

        InitProducerId without an answer may be done at any time, and then aborts what is open under its id.  So such an
        id is put aside until the next attempt, which has others, and the next one is tried; and so is one whose last
        transaction gets no markers, as a partition has no leader.
        """
        while True:
            id = self._free.popleft()  # at once: another one may be put before it meanwhile
            try:
                producer_id, epoch = await initialise(
                    self._connection,
                    id,
                    self._timeout_ms,
                    may_repeat=False,
                    seconds=_BUSY_SECONDS if self._free else ASK_SECONDS,
                )
            except (TransportError, NotAnsweredError) as error:
                if not self._free:
                    raise SinkError(
                        f"{id!r} was the last free transactional id of this attempt, and taking it into use got no "
                        f"answer: {error.message}",
                        remedy="check that all brokers are up; the next attempt has other ids",
                    ) from error
            except BaseException:
                self._free.appendleft(id)
                raise
            else:
                return Transaction(self._connection, self._clock, id, producer_id, epoch, self._timeout_ms)
