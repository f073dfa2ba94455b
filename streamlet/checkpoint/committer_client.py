"""Asks committers, and asks again while an error or an unknown outcome may pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.restore_point import Answer, described, key_of
from streamlet.clock import Clock
from streamlet.errors import FinalError, OutputLostError, SinkError, StreamletError
from streamlet.sink import Committer, Outcome

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[object]]


class Patience(msgspec.Struct, frozen=True):
    """How long to ask again."""

    first_seconds: float = 0.1
    longest_seconds: float = 5.0
    give_up_seconds: float = 60.0
    """For errors that may pass: disconnected, timed out."""
    unknown_seconds: float = 30.0
    """For an outcome that cannot be told yet, for instance behind somebody else's open transaction."""


_PATIENCE = Patience()


class CommitterClient:
    """Asks committers again until they answer. Time comes from outside, so that tests need none."""

    def __init__(self, committers: Mapping[str, Committer], sleep: Sleep, clock: Clock, patience: Patience) -> None:
        self.committers = committers
        self._sleep = sleep
        self._clock = clock
        self._patience = patience
        self.refused: dict[tuple[str, str], str] = {}
        """Units whose commit was refused for good, and why."""

    async def commit(self, one: ListedCommittable) -> None:
        committer = self.committers[one.sink_uid]
        try:
            await self._ask(lambda: committer.commit(one.committable), f"committing {described(one)}")
        except OutputLostError as error:
            self.refused[key_of(one)] = error.message
            raise

    async def abort(self, one: ListedCommittable) -> None:
        committer = self.committers[one.sink_uid]
        await self._ask(lambda: committer.abort(one.committable), f"aborting {described(one)}")

    async def learn(self, unsettled: Sequence[ListedCommittable]) -> list[Answer]:
        """Gives every outcome; one that is unknown is asked for again, for a while.  What is said to be open, but
        could not be committed, is lost."""
        known: dict[tuple[str, str], Outcome] = {}
        started, delay = self._clock.monotonic(), self._patience.first_seconds
        asked = list(unsettled)
        while True:
            for uid in sorted({one.sink_uid for one in asked}):
                known.update(await self._outcomes(uid, [one for one in asked if one.sink_uid == uid]))
            asked = [one for one in asked if known[key_of(one)] is Outcome.UNKNOWN]
            if not asked or self._clock.monotonic() - started + delay > self._patience.unknown_seconds:
                return [(one, self._judged(one, known[key_of(one)])) for one in unsettled]
            await self._sleep(delay)
            delay = min(delay * 2, self._patience.longest_seconds)

    def _judged(self, one: ListedCommittable, said: Outcome) -> Outcome:
        return Outcome.LOST if said is Outcome.OPEN and key_of(one) in self.refused else said

    async def _outcomes(self, uid: str, mine: Sequence[ListedCommittable]) -> dict[tuple[str, str], Outcome]:
        committables = [one.committable for one in mine]
        committer = self.committers[uid]
        outcomes = await self._ask(lambda: committer.outcomes(committables), f"asking sink {uid} for its outcomes")
        if len(outcomes) != len(mine):
            raise SinkError(f"sink {uid} gave {len(outcomes)} outcomes for {len(mine)} committables")
        return {key_of(one): outcome for one, outcome in zip(mine, outcomes, strict=True)}

    async def _ask(self, action: Callable[[], Awaitable[T]], what: str) -> T:
        patience = self._patience
        started, delay = self._clock.monotonic(), patience.first_seconds
        while True:
            try:
                return await action()
            except FinalError:
                raise
            except Exception as error:
                if self._clock.monotonic() - started + delay > patience.give_up_seconds:
                    failed = SinkError(
                        f"{what} failed for {patience.give_up_seconds:g} seconds: {error}",
                        remedy="check that the sink's system is up and can be reached; nothing is lost, a restart "
                        "asks again",
                    )
                    failed.is_outage = isinstance(error, StreamletError) and error.is_outage
                    raise failed from error
            await self._sleep(delay)
            delay = min(delay * 2, patience.longest_seconds)
