"""What a start goes on from: facts in, a plan out. No I/O.

```text
infos --choose--> plan --(fence)--> settle(plan) -> marker -> start checkpoint, when the settlement asks for one -> run
```

A checkpoint's *chain* is itself and, by `parent`, those before it up to the newest marked one.  What a marked one
covers is committed, so only the unmarked part of the chain holds output whose fate is open, and only checkpoints of the
chain can be fallen back to.  Ids say nothing about that: after `--from 30` checkpoint 43 follows 30, and 31 to 42 are
a branch that was given up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import msgspec

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.retention import CheckpointInfo, foreign_instance
from streamlet.errors import CheckpointDamagedError, CheckpointError, ConfigError

Request = Literal["latest", "none"] | int | CheckpointInfo
"""`latest`; `none` (start empty, this once); an id of this state directory; a checkpoint found elsewhere."""

NOTHING = -1
"""In place of an id: none of this state directory's checkpoints. It is older than all of them."""


class JobFacts(msgspec.Struct, frozen=True):
    """What the job as it stands says about itself."""

    key_groups: int
    sinks: frozenset[str]
    """Uids of the sinks that have a committer."""
    dropped: frozenset[str] = frozenset()
    """Uids of sinks whose prepared output may be given up, though they are gone."""
    instance: str = ""
    """The uuid of the state directory; empty when it is of no interest."""


class RecoveryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on from if the outside agrees, and what has to be asked there first."""

    restore: CheckpointInfo | None
    """The checkpoint that is wanted; None for an empty start."""
    candidates: tuple[int, ...]
    """Ids that may be restored, newest first; the first is that of `restore`, or NOTHING if it is not of here."""
    unsettled: tuple[ListedCommittable, ...] = ()
    """Prepared output whose fate is open, oldest checkpoint first."""
    marked: frozenset[int] = frozenset()
    older: tuple[int, ...] = ()
    """Ids that lie before the candidates, by `parent`, newest first: they may be asked for."""
    newest: int | None = None
    """The newest checkpoint there is, whatever is restored."""
    is_forced: bool = False
    """The user chose: newer output is given up, even if it may be written twice."""
    needs_start: bool = False
    """A start checkpoint must be written in any case (see also `Settlement.needs_start`)."""
    damage: str | None = None
    """Why the newest checkpoint is passed over: the error if there is nothing to fall back to."""
    warnings: tuple[str, ...] = ()


def plan_start(
    infos: Sequence[CheckpointInfo],
    request: Request,
    job: JobFacts,
    *,
    has_history: bool,
    verify: Callable[[CheckpointInfo], None],
    accept_lost_output: bool = False,
) -> RecoveryPlan:
    """Chooses, has the choice verified, and chooses again without what turned out to be damaged.

    `verify` raises `CheckpointDamagedError`; nothing may be committed or aborted before this function returns.
    """
    damage: dict[int, str] = {}
    while True:
        plan = choose(
            infos, request, job, has_history=has_history, damage=damage, accept_lost_output=accept_lost_output
        )
        if plan.restore is None:
            return plan
        try:
            verify(plan.restore)
        except CheckpointDamagedError as error:
            if plan.restore.id in damage or isinstance(request, CheckpointInfo):
                raise
            damage[plan.restore.id] = error.message
        else:
            return plan


def choose(
    infos: Sequence[CheckpointInfo],
    request: Request,
    job: JobFacts,
    *,
    has_history: bool,
    damage: Mapping[int, str] | None = None,
    accept_lost_output: bool = False,
) -> RecoveryPlan:
    """Decides what a start goes on from. `damage` says what verifying has found so far.

    Raises `ConfigError` when there is no checkpoint of the id that was given, `CheckpointError` when nothing fits the
    request or the job does not fit the checkpoint, and `CheckpointDamagedError` when the checkpoint is damaged and
    falling back could lose or double output.
    """
    by_id = {info.id: info for info in infos}
    newest = max(by_id, default=None)
    found = damage or {}
    if isinstance(request, int) and request != newest:
        plan = _given_id(by_id, request, newest, found)
    elif isinstance(request, int) or (request == "latest" and newest is not None):
        plan = _newest(by_id, by_id[max(by_id)], found, may_fall_back=request == "latest")
    elif isinstance(request, CheckpointInfo):
        plan = _from_outside(by_id, request, newest)
    elif request == "latest" and has_history:
        raise CheckpointError(
            "this job has run on this state directory before, but there is no checkpoint left to go on from",
            remedy="put the state directory back from a backup, or start without state, this once, with `--from none`",
        )
    else:
        plan = _empty(by_id, newest)
    return _fitting(plan, job, accept_lost_output)


def chain(by_id: Mapping[int, CheckpointInfo], last: int) -> list[CheckpointInfo]:
    """Gives a checkpoint and, by `parent`, those before it up to and with the newest marked one.  It ends early at
    one that is gone or cannot be read."""
    found: list[CheckpointInfo] = []
    following: int | None = last
    while following is not None and following in by_id:
        info = by_id[following]
        if info.manifest is None:
            break
        found.append(info)
        following = None if info.is_marked else info.manifest.parent
    return found


def _before(by_id: Mapping[int, CheckpointInfo], info: CheckpointInfo) -> list[int]:
    """The ids of those that a checkpoint goes back to, as far as they are kept and can be read."""
    found: list[int] = []
    while info.manifest is not None and info.manifest.parent is not None and info.manifest.parent < info.id:
        before = by_id.get(info.manifest.parent)
        if before is None or before.manifest is None:
            break
        found.append(before.id)
        info = before
    return found


def unsettled_of(by_id: Mapping[int, CheckpointInfo], links: Sequence[CheckpointInfo]) -> list[ListedCommittable]:
    """Gives what the unmarked part of a chain lists and its marked end does not cover, each once, oldest first."""
    floor = _covered(by_id, links)
    unique: dict[tuple[str, str], ListedCommittable] = {}
    for info in reversed(links):
        if info.manifest is not None and not info.is_marked:
            for listed in info.manifest.committables:
                if listed.checkpoint_id > floor:
                    unique.setdefault((listed.sink_uid, listed.committable.id), listed)
    return sorted(unique.values(), key=lambda listed: listed.checkpoint_id)


def _covered(by_id: Mapping[int, CheckpointInfo], links: Sequence[CheckpointInfo]) -> int:
    """The newest id under a chain whose marker says that everything up to it is committed; a marker counts even where
    its manifest cannot be read."""
    for info in links:
        if info.is_marked:
            return info.id
        parent = None if info.manifest is None else info.manifest.parent
        if parent is not None and parent in by_id and by_id[parent].is_marked:
            return parent
    return NOTHING


def _newest(
    by_id: Mapping[int, CheckpointInfo], top: CheckpointInfo, damage: Mapping[int, str], *, may_fall_back: bool
) -> RecoveryPlan:
    _require_readable(top)
    links = chain(by_id, top.id)
    usable = [info for info in links if info.id not in damage]
    # A marked one ends its chain: damaged, it leaves nothing to fall back to.
    if not usable or (top.id in damage and not may_fall_back):
        raise _damaged(damage[top.id])
    return RecoveryPlan(
        restore=usable[0],
        candidates=tuple(info.id for info in usable),
        unsettled=tuple(unsettled_of(by_id, links)),
        marked=_marked(by_id.values()),
        older=tuple(_before(by_id, links[-1])),
        newest=top.id,
        needs_start=usable[0] is not top,
        damage=damage.get(top.id),
    )


def _given_id(
    by_id: Mapping[int, CheckpointInfo], wanted: int, newest: int | None, damage: Mapping[int, str]
) -> RecoveryPlan:
    info = by_id.get(wanted)
    if info is None:
        there = ", ".join(str(one) for one in sorted(by_id)) or "none"
        raise ConfigError(f"there is no checkpoint {wanted} to start from", remedy=f"there are: {there}")
    _require_readable(info)
    if wanted in damage:
        raise _damaged(damage[wanted])
    return _forced(by_id, newest, info, (wanted,), unsettled_of(by_id, chain(by_id, wanted)))


def _from_outside(by_id: Mapping[int, CheckpointInfo], info: CheckpointInfo, newest: int | None) -> RecoveryPlan:
    _require_readable(info)
    if not info.is_marked and info.manifest is not None and info.manifest.committables:
        raise CheckpointError(
            f"{info.path} has no marker: output that it prepared may still wait to be committed, and that can only be "
            "settled in the state directory where it was made",
            remedy="name a checkpoint with a marker, or start the job once in that state directory and stop it",
        )
    return _forced(by_id, newest, info, (NOTHING,), [])


def _empty(by_id: Mapping[int, CheckpointInfo], newest: int | None) -> RecoveryPlan:
    return _forced(by_id, newest, None, (NOTHING,), [])


def _forced(
    by_id: Mapping[int, CheckpointInfo],
    newest: int | None,
    restore: CheckpointInfo | None,
    candidates: tuple[int, ...],
    own: Sequence[ListedCommittable],
) -> RecoveryPlan:
    readable = max((info.id for info in by_id.values() if info.manifest is not None), default=None)
    given_up = [] if readable is None else unsettled_of(by_id, chain(by_id, readable))
    unique = {(listed.sink_uid, listed.committable.id): listed for listed in [*given_up, *own]}
    warnings: tuple[str, ...] = ()
    if newest is not None and by_id[newest].manifest is None:
        problem = by_id[newest].problem
        warnings = (f"output that checkpoint {newest} prepared cannot be looked up or aborted: {problem}",)
    return RecoveryPlan(
        restore=restore,
        candidates=candidates,
        unsettled=tuple(sorted(unique.values(), key=lambda listed: listed.checkpoint_id)),
        marked=_marked(by_id.values()),
        newest=newest,
        is_forced=True,
        needs_start=True,
        warnings=warnings,
    )


def _fitting(plan: RecoveryPlan, job: JobFacts, accept_lost_output: bool) -> RecoveryPlan:
    manifest = plan.restore.manifest if plan.restore is not None else None
    if plan.restore is not None and plan.candidates != (NOTHING,):
        _require_own(plan.restore, job)
    if manifest is not None and manifest.key_groups != job.key_groups:
        raise CheckpointError(
            f"checkpoint {manifest.checkpoint_id} has {manifest.key_groups} key groups, the job has {job.key_groups}",
            remedy=f"set key_groups={manifest.key_groups}: their number is fixed for the life of a job",
        )
    gone = [listed for listed in plan.unsettled if listed.sink_uid not in job.sinks]
    warnings = list(plan.warnings)
    if gone:
        text = _describe_gone(gone)
        lost = sorted({listed.sink_uid for listed in gone} - job.dropped)
        if lost and not accept_lost_output:
            raise CheckpointError(
                text,
                remedy="put the sink back under this uid, exactly-once, for one start (stop the job cleanly, then "
                f'remove it), say renamed_from="{lost[0]}" on the one that goes on from it, or give it up with '
                f"`--accept-lost-output` or `--allow-dropped-state {lost[0]}`",
            )
        warnings.append(f"{text}; given up as asked")
    return msgspec.structs.replace(
        plan,
        unsettled=tuple(listed for listed in plan.unsettled if listed.sink_uid in job.sinks),
        warnings=tuple(warnings),
        needs_start=plan.needs_start or bool(gone),
    )


def _require_own(info: CheckpointInfo, job: JobFacts) -> None:
    strange = foreign_instance(info, job.instance)
    if strange is None:
        return
    raise CheckpointDamagedError(
        strange,
        remedy="put both back from one backup, or start with `--from PATH` of a committed checkpoint in a new "
        "`--state-dir`",
    )


def _describe_gone(gone: Sequence[ListedCommittable]) -> str:
    uids = ", ".join(sorted({listed.sink_uid for listed in gone}))
    records = sum(listed.committable.records for listed in gone)
    ids = sorted({listed.checkpoint_id for listed in gone})
    return (
        f"the job has no exactly-once sink {uids} any more, but its output of checkpoint "
        f"{', '.join(map(str, ids))} is prepared and not committed: {records} records in {len(gone)} units"
    )


def _marked(infos: Collection[CheckpointInfo]) -> frozenset[int]:
    return frozenset(info.id for info in infos if info.is_marked)


def _require_readable(info: CheckpointInfo) -> None:
    if info.manifest is None and info.remedy is not None:
        raise CheckpointError(info.problem or f"{info.path} cannot be read", remedy=info.remedy)
    if info.manifest is None:
        raise _damaged(info.problem or f"{info.path} cannot be read")


def _damaged(what: str) -> CheckpointDamagedError:
    return CheckpointDamagedError(
        what,
        remedy="put the file back from a backup, or list the checkpoints with `streamlet checkpoints list` and start "
        "from an older one with `--from ID`: output written since then comes twice",
    )
