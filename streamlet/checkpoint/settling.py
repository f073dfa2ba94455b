"""Settling: at a start, what a dead attempt prepared is committed or aborted, as a whole, before anything runs.

```text
learn every outcome -> find the restore point -> abort what lies above it, commit what lies below -> marker, restore
        ^                                                    |
        +---------- the outside has changed its mind --------+
```

**The question.**  A sink prepares output in *committables*: for Kafka a transaction that is flushed and not ended, for
files a part file under a hidden name.  A checkpoint's manifest names every committable that was prepared up to its
barrier and is not yet known to be committed.  The process that wrote the manifest is dead.  Which committables are to
be committed, which are to be aborted, and from which checkpoint does the job go on?

**Outcomes.**  The outside answers, never a file of ours: our own marker may be older than what was done.

```text
OPEN       prepared; it can be committed and it can be aborted
COMMITTED  readers see it, for good
ABORTED    no reader will see it, for good
UNKNOWN    the outside cannot tell now: asked again for `unknown_seconds`, then taken for missing and for visible
LOST       the outside has it no more; also an OPEN one whose commit was refused for good (`CommitterClient.refused`)
```

**The restore point** is the newest checkpoint m such that all output prepared up to m is, or can be, committed and all
output prepared after m is, or can be, aborted.  To restore m then continues a run without failures.  Candidates are
the newest checkpoint and those before it by `parent`, down to the newest that has a marker: everything up to a marker
is committed.  Nothing is committed or aborted before every outcome is known: one commit too early, and no such m may be
left.  In the usual case m is the newest checkpoint: nothing is aborted, what is open is committed.

**The order of the acts.**  First every abort above m, oldest checkpoint first, then every commit up to m in the same
order.  A commit that the dead attempt has sent may still be on its way, and may be done between our question and our
act.  Its attempt committed in order and stopped at the first failure.  So when our abort of the oldest unit succeeds,
the late commits behind it fail; when it is refused because the late commit came first, no other abort was done yet.
Then `OutputLostError` leads back to the question, and the answer COMMITTED moves the restore point up.  Within one
checkpoint what the outside can lose (a transaction with a deadline) comes before what it cannot (a rename), so that a
loss is found while the rest can still be aborted.  `commit_ordered` keeps this order in normal work too.

**Rounds.**  Each further round needs a candidate that turned out damaged, or a unit whose outcome has changed for good;
outcomes change for good at most once.  So there are at most `units + candidates + 1` rounds.

**Fencing** is around settling, in `runtime.job.restoring`.  A writer of a dead attempt may still be alive: a process
that was stopped and wakes up.  Before the first question, `Committer.fence` ends everything that earlier attempts may
have left open and shuts their writers out, except the units that are to be settled (Kafka: InitProducerId for every
transactional id of these attempts that no unsettled unit names).  After settling, or once the start checkpoint is
durable where one is needed, the same is done without exception.  Which attempts have opened writers and were not fenced
since is listed on disk, before any writer opens.

**What a crash leaves**, at each step of a settling; the next start begins from the first line again:

```text
while outcomes are asked for      nothing was changed
between two aborts                some units above m are ABORTED instead of OPEN: the same m is allowed
between two commits               some units up to m are COMMITTED instead of OPEN: m is allowed, and nothing older than
                                  these units is
before the marker                 all outcomes are final; the next start learns them and writes the marker
behind the marker of m            where m is the newest: settled; else m is chosen again until the start checkpoint,
                                  which follows it, is durable
```

**Lost output.**  When no candidate is allowed, some unit up to each one is missing, or some unit above it is visible.
The start fails with `OutputLostError`, which names the units and the ways on.  `--accept-lost-output` takes the
candidate that loses the fewest records, the newest of equal ones; newer visible output still excludes a candidate.
`--from ID` takes one candidate, whatever is visible above it: that output is written again.  There the newer units are
not aborted before the start checkpoint is durable: a start that is cut off must leave the newest checkpoint whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from streamlet.checkpoint.committer_client import CommitterClient, Patience, Sleep
from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.recovery import NOTHING, RecoveryPlan
from streamlet.checkpoint.restore_point import Answer, counted, doubled, missing, no_restore_point, restore_point
from streamlet.clock import Clock
from streamlet.errors import CheckpointDamagedError, FinalError, OutputLostError
from streamlet.sink import Committer, Outcome

_PATIENCE = Patience()


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
    await _commit_all(listed, CommitterClient(committers, sleep, clock, patience))


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
    for one in plan.warnings:
        warn(one)
    candidates = list(plan.candidates)
    client = CommitterClient(committers, sleep, clock, patience)
    rounds = len(plan.unsettled) + len(candidates) + 1
    last: FinalError | None = None
    for _ in range(rounds):
        answers = await client.learn(plan.unsettled)
        point = _point(plan, answers, candidates, accept_lost_output)
        if point is None:
            raise no_restore_point(plan, candidates, answers, last, client.refused)
        try:
            if point != plan.candidates[0]:
                await verify(point)
            await _act(answers, point, client, is_forced=plan.is_forced)
        except CheckpointDamagedError as error:
            candidates.remove(point)
            last = error
        except OutputLostError as error:
            last = error
        else:
            return _settlement(plan, answers, point, warn)
    raise last or OutputLostError("settling came to no end")


def _point(
    plan: RecoveryPlan, answers: Sequence[Answer], candidates: Sequence[int], accept_lost_output: bool
) -> int | None:
    """A point that loses nothing goes before one that does."""
    point = restore_point(answers, candidates, is_forced=plan.is_forced)
    if point is None and accept_lost_output:
        return restore_point(answers, candidates, is_forced=plan.is_forced, accept_lost=True)
    return point


async def _act(answers: Sequence[Answer], point: int, client: CommitterClient, *, is_forced: bool) -> None:
    # A commit of an attempt that is dead may still be on its way.  It stops at the first that fails: so in this order
    # either nothing behind an abort can be committed any more, or that abort fails before there was any other.
    waiting = commit_order((one for one, outcome in answers if outcome is Outcome.OPEN), client.committers)
    for one in waiting:
        # Where a person chose an older checkpoint, the newer one may be committed in part.  It must stay as it is until
        # the start checkpoint is durable: a start that comes in between goes on from it.  The last fence ends the rest.
        if one.checkpoint_id > point and not is_forced:
            await client.abort(one)
    await _commit_all((one for one in waiting if one.checkpoint_id <= point), client)


async def _commit_all(listed: Iterable[ListedCommittable], client: CommitterClient) -> None:
    for one in commit_order(listed, client.committers):
        await client.commit(one)


def _settlement(plan: RecoveryPlan, answers: Sequence[Answer], point: int, warn: Callable[[str], None]) -> Settlement:
    below = [(one, outcome) for one, outcome in answers if one.checkpoint_id <= point]
    above = [(one, outcome) for one, outcome in answers if one.checkpoint_id > point]
    lost, repeated = tuple(missing(answers, point)), tuple(doubled(answers, point))
    if not plan.is_forced and not lost and point != plan.newest:
        reason = plan.damage or "the outside has aborted output that was prepared after it"
        warn(f"going back from checkpoint {plan.newest} to {point}, which loses and doubles nothing: {reason}")
    if lost:
        back = "" if point == plan.newest or plan.is_forced else f", by going back to checkpoint {point}"
        warn(f"output is lost, as accepted: {counted(lost)}{back}")
    if repeated:
        warn(f"output will be written a second time, because an older state was asked for: {counted(repeated)}")
    return Settlement(
        restore_id=None if point == NOTHING else point,
        needs_marker=point != NOTHING and point not in plan.marked,
        needs_start=plan.needs_start or point != plan.newest or bool(lost),
        committed=tuple(one for one, outcome in below if outcome in (Outcome.OPEN, Outcome.COMMITTED)),
        aborted=tuple(one for one, outcome in above if outcome in (Outcome.OPEN, Outcome.ABORTED, Outcome.LOST)),
        lost=lost,
        doubled=repeated,
    )
