"""Settling: at a start, what a dead attempt prepared is committed or aborted, as a whole, before anything runs.

```text
learn every outcome -> find the restore point -> abort what lies above it, commit what lies below -> marker, restore
        ^                                                    |
        +---------- the outside has changed its mind --------+
```

The *restore point* is the newest checkpoint m such that all output prepared up to m is, or can be, committed and all
output prepared after m is, or can be, aborted.  Restoring m then continues a run without failures.  Nothing is decided
before everything is known: one commit too early and no such m may be left.

The same order of commits serves normal work (`commit_ordered`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.recovery import NOTHING, RecoveryPlan
from streamlet.clock import Clock
from streamlet.errors import CheckpointDamagedError, FinalError, OutputLostError, SinkError, StreamletError
from streamlet.sink import Committer, Outcome

T = TypeVar("T")

Answer = tuple[ListedCommittable, Outcome]
Sleep = Callable[[float], Awaitable[object]]

_LINES = 20
_MISSING = frozenset({Outcome.ABORTED, Outcome.UNKNOWN, Outcome.LOST})
_VISIBLE = frozenset({Outcome.COMMITTED, Outcome.UNKNOWN})
_WAYS = 3


class Patience(msgspec.Struct, frozen=True):
    """How long to ask again."""

    first_seconds: float = 0.1
    longest_seconds: float = 5.0
    give_up_seconds: float = 60.0
    """For errors that may pass: disconnected, timed out."""
    unknown_seconds: float = 30.0
    """For an outcome that cannot be told yet, for instance behind somebody else's open transaction."""


_PATIENCE = Patience()


class _Asker:
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
            await self._ask(lambda: committer.commit(one.committable), f"committing {_name(one)}")
        except OutputLostError as error:
            self.refused[_key(one)] = error.message
            raise

    async def abort(self, one: ListedCommittable) -> None:
        committer = self.committers[one.sink_uid]
        await self._ask(lambda: committer.abort(one.committable), f"aborting {_name(one)}")

    async def learn(self, unsettled: Sequence[ListedCommittable]) -> list[Answer]:
        """Gives every outcome; one that is unknown is asked for again, for a while.  What is said to be open, but
        could not be committed, is lost."""
        known: dict[tuple[str, str], Outcome] = {}
        started, delay = self._clock.monotonic(), self._patience.first_seconds
        asked = list(unsettled)
        while True:
            for uid in sorted({one.sink_uid for one in asked}):
                known.update(await self._outcomes(uid, [one for one in asked if one.sink_uid == uid]))
            asked = [one for one in asked if known[_key(one)] is Outcome.UNKNOWN]
            if not asked or self._clock.monotonic() - started + delay > self._patience.unknown_seconds:
                return [(one, self._judged(one, known[_key(one)])) for one in unsettled]
            await self._sleep(delay)
            delay = min(delay * 2, self._patience.longest_seconds)

    def _judged(self, one: ListedCommittable, said: Outcome) -> Outcome:
        return Outcome.LOST if said is Outcome.OPEN and _key(one) in self.refused else said

    async def _outcomes(self, uid: str, mine: Sequence[ListedCommittable]) -> dict[tuple[str, str], Outcome]:
        committables = [one.committable for one in mine]
        committer = self.committers[uid]
        outcomes = await self._ask(lambda: committer.outcomes(committables), f"asking sink {uid} for its outcomes")
        if len(outcomes) != len(mine):
            raise SinkError(f"sink {uid} gave {len(outcomes)} outcomes for {len(mine)} committables")
        return {_key(one): outcome for one, outcome in zip(mine, outcomes, strict=True)}

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


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and where to go on."""

    restore_id: int | None
    """The checkpoint of this state directory to restore; None for an empty start or one from elsewhere."""
    needs_marker: bool
    """Write the marker of `restore_id` now, before anything else."""
    needs_start: bool
    """Write a start checkpoint before sources start."""
    committed: tuple[ListedCommittable, ...] = ()
    aborted: tuple[ListedCommittable, ...] = ()
    """Aborted, or given up to the last fence."""
    lost: tuple[ListedCommittable, ...] = ()
    """Given up with `--accept-lost-output`: the outside has aborted it, cannot tell, or has it no more."""
    doubled: tuple[ListedCommittable, ...] = ()
    """Committed, or perhaps committed, though the restored checkpoint is older: it will be written again, as asked."""


def restore_point(
    answers: Sequence[Answer], candidates: Iterable[int], *, is_forced: bool = False, accept_lost: bool = False
) -> int | None:
    """Gives the newest candidate that the outside allows, None when there is none.

    `is_forced`: newer output does not matter.  `accept_lost`: older output may be aborted, unknown or lost, and of the
    candidates that are left it is the one that loses the fewest records.
    """

    def allows(candidate: int) -> bool:
        for listed, outcome in answers:
            if outcome is Outcome.OPEN:
                continue
            if listed.checkpoint_id <= candidate:
                if outcome is not Outcome.COMMITTED and not accept_lost:
                    return False
            elif outcome is not Outcome.ABORTED and not is_forced:
                return False
        return True

    def lost_records(candidate: int) -> int:
        return sum(one.committable.records for one in _missing(answers, candidate))

    # Of equal ones the first: the newest.
    return min((candidate for candidate in candidates if allows(candidate)), key=lost_records, default=None)


def _missing(answers: Sequence[Answer], candidate: int) -> list[ListedCommittable]:
    """What is lost for good where a candidate is restored."""
    return [one for one, outcome in answers if one.checkpoint_id <= candidate and outcome in _MISSING]


def _doubled(answers: Sequence[Answer], candidate: int) -> list[ListedCommittable]:
    """What is, or may be, visible already and is written again where a candidate is restored."""
    return [one for one, outcome in answers if one.checkpoint_id > candidate and outcome in _VISIBLE]


def commit_order(listed: Iterable[ListedCommittable], committers: Mapping[str, Committer]) -> list[ListedCommittable]:
    """Sorts for committing: oldest checkpoint first; within one what the outside can lose, nearest deadline first;
    what cannot be lost comes last, so that it is still open if the others fail."""

    def rank(one: ListedCommittable) -> tuple[int, bool, float]:
        deadline = one.committable.deadline_ms
        can_lose = committers[one.sink_uid].can_lose
        return one.checkpoint_id, not can_lose, float("inf") if deadline is None else deadline

    return sorted(listed, key=rank)


async def commit_ordered(
    listed: Iterable[ListedCommittable],
    committers: Mapping[str, Committer],
    *,
    sleep: Sleep,
    clock: Clock,
    patience: Patience = _PATIENCE,
) -> None:
    """Commits in order, one after the other, and stops at the first that fails for good; what is behind it stays
    prepared.  Committing again what is committed does no harm."""
    await _commit_all(listed, _Asker(committers, sleep, clock, patience))


async def settle(
    plan: RecoveryPlan,
    committers: Mapping[str, Committer],
    *,
    verify: Callable[[int], Awaitable[None]],
    warn: Callable[[str], None],
    sleep: Sleep,
    clock: Clock,
    patience: Patience = _PATIENCE,
    accept_lost_output: bool = False,
) -> Settlement:
    """Settles everything that the plan lists. May be cut off anywhere and begun again: it comes to the same end.

    `verify` is asked before a candidate other than the first (which was verified already) is settled for; it raises
    `CheckpointDamagedError`.  Raises `OutputLostError` when there is no restore point, and `CheckpointDamagedError`
    when there is none because a damaged checkpoint cannot be restored.
    """
    candidates = list(plan.candidates)
    for one in plan.warnings:
        warn(one)
    asker = _Asker(committers, sleep, clock, patience)
    # Each further round needs a damaged candidate or a unit whose outcome has changed for good.
    rounds = len(plan.unsettled) + len(candidates) + 1
    last: FinalError | None = None
    for _ in range(rounds):
        answers = await asker.learn(plan.unsettled)
        point = restore_point(answers, candidates, is_forced=plan.is_forced)
        if point is None and accept_lost_output:
            point = restore_point(answers, candidates, is_forced=plan.is_forced, accept_lost=True)
        if point is None:
            raise _no_restore_point(plan, candidates, answers, last, asker.refused)
        try:
            if point != plan.candidates[0]:
                await verify(point)
            await _act(answers, point, asker, is_forced=plan.is_forced)
        except CheckpointDamagedError as error:
            candidates.remove(point)
            last = error
        except OutputLostError as error:
            last = error
        else:
            return _settlement(plan, answers, point, warn)
    raise last or OutputLostError("settling came to no end")


async def _act(answers: Sequence[Answer], point: int, asker: _Asker, *, is_forced: bool) -> None:
    # A commit of an attempt that is dead may still be on its way.  It stops at the first that fails: so in this order
    # either nothing behind an abort can be committed any more, or that abort fails before there was any other.
    waiting = commit_order((one for one, outcome in answers if outcome is Outcome.OPEN), asker.committers)
    for one in waiting:
        # Where a person chose an older checkpoint, the newer one may be committed in part.  It must stay as it is until
        # the start checkpoint is durable: a start that comes in between goes on from it.  The last fence ends the rest.
        if one.checkpoint_id > point and not is_forced:
            await asker.abort(one)
    await _commit_all((one for one in waiting if one.checkpoint_id <= point), asker)


async def _commit_all(listed: Iterable[ListedCommittable], asker: _Asker) -> None:
    for one in commit_order(listed, asker.committers):
        await asker.commit(one)


def _settlement(plan: RecoveryPlan, answers: Sequence[Answer], point: int, warn: Callable[[str], None]) -> Settlement:
    below = [(one, outcome) for one, outcome in answers if one.checkpoint_id <= point]
    above = [(one, outcome) for one, outcome in answers if one.checkpoint_id > point]
    lost, doubled = tuple(_missing(answers, point)), tuple(_doubled(answers, point))
    if not plan.is_forced and not lost and point != plan.newest:
        reason = plan.damage or "the outside has aborted output that was prepared after it"
        warn(f"going back from checkpoint {plan.newest} to {point}, which loses and doubles nothing: {reason}")
    if lost:
        back = "" if point == plan.newest or plan.is_forced else f", by going back to checkpoint {point}"
        warn(f"output is lost, as accepted: {_sum(lost)}{back}")
    if doubled:
        warn(f"output will be written a second time, because an older state was asked for: {_sum(doubled)}")
    return Settlement(
        restore_id=None if point == NOTHING else point,
        needs_marker=point != NOTHING and point not in plan.marked,
        needs_start=plan.needs_start or point != plan.newest or bool(lost),
        committed=tuple(one for one, outcome in below if outcome in (Outcome.OPEN, Outcome.COMMITTED)),
        aborted=tuple(one for one, outcome in above if outcome in (Outcome.OPEN, Outcome.ABORTED, Outcome.LOST)),
        lost=lost,
        doubled=doubled,
    )


def _no_restore_point(
    plan: RecoveryPlan,
    candidates: Sequence[int],
    answers: Sequence[Answer],
    last: FinalError | None,
    refused: Mapping[tuple[str, str], str],
) -> FinalError:
    counts = {outcome: sum(1 for _, one in answers if one is outcome) for outcome in Outcome}
    said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    lines = [
        f"  {_name(one)}: {outcome.value}" + (f" ({why})" if (why := refused.get(_key(one))) else "")
        for one, outcome in answers[:_LINES]
    ]
    if len(answers) > _LINES:
        lines.append(f"  and {len(answers) - _LINES} more")
    head = f"checkpoint {plan.candidates[0]} cannot be restored without losing or doubling output"
    message = "\n".join([f"{head}: of {len(answers)} prepared units, {said}", *lines])
    if plan.damage is not None or isinstance(last, CheckpointDamagedError):
        damage = plan.damage or (last.message if last is not None else "")
        return CheckpointDamagedError(
            f"{damage}\n{message}", remedy=f"put the file back from a backup; or {_ways_on(plan, candidates, answers)}"
        )
    return OutputLostError(message, remedy=_ways_on(plan, candidates, answers))


def _ways_on(plan: RecoveryPlan, candidates: Sequence[int], answers: Sequence[Answer]) -> str:
    """Names the options that let the job start all the same, and what each costs."""
    ways = []
    accepted = restore_point(answers, candidates, is_forced=plan.is_forced, accept_lost=True)
    if accepted is not None:
        lost = _sum(_missing(answers, accepted))
        at = "" if accepted == NOTHING else f" from checkpoint {accepted}"
        ways.append(f"`--accept-lost-output` goes on{at} and loses {lost}")
    choices = [one for one in (*candidates, *plan.older) if one != NOTHING]
    unharmed = [one for one in choices if not _missing(answers, one)]
    for one in unharmed[:_WAYS]:
        # What is settled before the oldest candidate is no longer listed.
        more = (
            "" if one in candidates else f" and all that was committed from there to checkpoint {plan.candidates[-1]}"
        )
        ways.append(f"`--from {one}` loses nothing and writes again {_sum(_doubled(answers, one))}{more}")
    if not unharmed:
        ways.append("`--from` has no checkpoint to go back to: none that is kept lies before what is missing")
    return "\n     ".join(ways)


def _sum(listed: Sequence[ListedCommittable]) -> str:
    records = sum(one.committable.records for one in listed)
    sinks = ", ".join(sorted({one.sink_uid for one in listed}))
    return f"{records} records in {len(listed)} units of {sinks}" if listed else "nothing"


def _name(one: ListedCommittable) -> str:
    return (
        f"checkpoint {one.checkpoint_id}, sink {one.sink_uid}[{one.subtask}], {one.committable.description}, "
        f"{one.committable.records} records"
    )


def _key(one: ListedCommittable) -> tuple[str, str]:
    return one.sink_uid, one.committable.id
