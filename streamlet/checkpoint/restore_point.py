"""The restore point: which checkpoint the outcomes of prepared output allow, and what each choice loses or doubles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.recovery import NOTHING, RecoveryPlan
from streamlet.errors import CheckpointDamagedError, FinalError, OutputLostError
from streamlet.sink import Outcome

Answer = tuple[ListedCommittable, Outcome]

_LINES = 20
_MISSING = frozenset({Outcome.ABORTED, Outcome.UNKNOWN, Outcome.LOST})
_VISIBLE = frozenset({Outcome.COMMITTED, Outcome.UNKNOWN})
_WAYS = 3


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
        return sum(one.committable.records for one in missing(answers, candidate))

    # Of equal ones the first: the newest.
    return min((candidate for candidate in candidates if allows(candidate)), key=lost_records, default=None)


def missing(answers: Sequence[Answer], candidate: int) -> list[ListedCommittable]:
    """What is lost for good where a candidate is restored."""
    return [one for one, outcome in answers if one.checkpoint_id <= candidate and outcome in _MISSING]


def doubled(answers: Sequence[Answer], candidate: int) -> list[ListedCommittable]:
    """What is, or may be, visible already and is written again where a candidate is restored."""
    return [one for one, outcome in answers if one.checkpoint_id > candidate and outcome in _VISIBLE]


def no_restore_point(
    plan: RecoveryPlan,
    candidates: Sequence[int],
    answers: Sequence[Answer],
    last: FinalError | None,
    refused: Mapping[tuple[str, str], str],
) -> FinalError:
    counts = {outcome: sum(1 for _, one in answers if one is outcome) for outcome in Outcome}
    said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    lines = [
        f"  {described(one)}: {outcome.value}" + (f" ({why})" if (why := refused.get(key_of(one))) else "")
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
        lost = counted(missing(answers, accepted))
        at = "" if accepted == NOTHING else f" from checkpoint {accepted}"
        ways.append(f"`--accept-lost-output` goes on{at} and loses {lost}")
    choices = [one for one in (*candidates, *plan.older) if one != NOTHING]
    unharmed = [one for one in choices if not missing(answers, one)]
    for one in unharmed[:_WAYS]:
        # What is settled before the oldest candidate is no longer listed.
        more = (
            "" if one in candidates else f" and all that was committed from there to checkpoint {plan.candidates[-1]}"
        )
        ways.append(f"`--from {one}` loses nothing and writes again {counted(doubled(answers, one))}{more}")
    if not unharmed:
        ways.append("`--from` has no checkpoint to go back to: none that is kept lies before what is missing")
    return "\n     ".join(ways)


def counted(listed: Sequence[ListedCommittable]) -> str:
    records = sum(one.committable.records for one in listed)
    sinks = ", ".join(sorted({one.sink_uid for one in listed}))
    return f"{records} records in {len(listed)} units of {sinks}" if listed else "nothing"


def described(one: ListedCommittable) -> str:
    return (
        f"checkpoint {one.checkpoint_id}, sink {one.sink_uid}[{one.subtask}], {one.committable.description}, "
        f"{one.committable.records} records"
    )


def key_of(one: ListedCommittable) -> tuple[str, str]:
    return one.sink_uid, one.committable.id
