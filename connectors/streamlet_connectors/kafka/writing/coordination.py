"""Asks a transaction coordinator, and asks again while that can help."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from streamlet_connectors.kafka.protocol import codes, requests, wire
from streamlet_connectors.kafka.protocol.client import KafkaConnection, Pauses
from streamlet_connectors.kafka.protocol.errors import NotAnsweredError, NotSentError, TransportError

__all__ = ["ask"]


class Answer(Protocol):
    """What a coordinator says: 0 or an error."""

    @property
    def error(self) -> int: ...


A = TypeVar("A", bound=Answer)


async def ask(
    connection: KafkaConnection,
    transactional_id: str,
    request: wire.Request[A],
    *,
    seconds: float,
    what: str,
    sent: str | None = None,
    may_repeat: bool = True,
) -> A:
    """Gives the first answer that is not "ask again" (14, 15, 16, 51, no answer); the caller judges its error.

    Every request of ours to a coordinator may be repeated: its answer to the second is that to the first, or 51 while
    the first is being done.  Raises `NotAnsweredError` when there is no such answer within `seconds`, and
    `TransportError` at the first one that was sent and not answered when it may not be repeated.
    """
    last = "it was never reached"
    busy, away = Pauses(0.003, 0.1), Pauses(0.05, 1.0)
    try:
        async with asyncio.timeout(seconds):
            while True:
                pauses = away
                try:
                    answer = await connection.send_to_coordinator(
                        requests.TRANSACTION_COORDINATOR, transactional_id, request, sent=sent
                    )
                except TransportError as error:
                    if not may_repeat and not isinstance(error, NotSentError):
                        raise
                    last = error.message
                    connection.outages.away(connection.name, last)
                else:
                    connection.outages.back(connection.name)
                    if answer.error not in codes.COORDINATOR_BUSY:
                        return answer
                    last = codes.code_name(answer.error)
                    if answer.error in codes.ELSEWHERE:
                        connection.forget_coordinator(requests.TRANSACTION_COORDINATOR, transactional_id)
                    elif answer.error == codes.CONCURRENT_TRANSACTIONS:
                        pauses = busy
                await pauses.pause()
    except TimeoutError:
        raise NotAnsweredError(
            f"{what}: the coordinator of transactional id {transactional_id!r} at {connection.options.bootstrap} "
            f"gave no final answer within {seconds:g} s; the last was: {last}",
            remedy="check that all brokers are up and that __transaction_state has leaders",
        ) from None
