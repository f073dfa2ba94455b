"""What a start would find, told before it: the plan of a job against a checkpoint, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.recovery import JobFacts, Request, plan_start
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import SourceError, StreamletError
from streamlet.graph.plan import ExecutionPlan
from streamlet.outages import is_outage
from streamlet.runtime.job.renaming import former_sinks, under_present_names
from streamlet.runtime.job.restored import compare_with
from streamlet.state.evolution.findings import Finding

_SECONDS = 10.0
"""Longest time for the question which splits a source has."""
_SPLITS = 5


def foreseen_restore(
    storage: CheckpointStorage, request: Request, plan: ExecutionPlan, *, accept_lost_output: bool = False
) -> CheckpointInfo | None:
    """Gives the checkpoint that a start would go on from if everything outside agrees; raises what it would be refused
    with.  Nothing is verified, settled or written."""
    sinks = frozenset({*plan.sinks, *former_sinks(plan)})
    return plan_start(
        storage.checkpoints(),
        request,
        JobFacts(plan.config.key_groups, sinks),
        has_history=storage.has_history(),
        verify=lambda info: None,
        accept_lost_output=accept_lost_output,
    ).restore


def findings_of(plan: ExecutionPlan, manifest: Manifest, *, is_settled: bool = False) -> list[Finding]:
    """Compares a checkpoint with the job as it is: nothing but the manifest is looked at."""
    return compare_with(plan, under_present_names(plan, manifest), is_settled=is_settled)


def lines_of(findings: Sequence[Finding]) -> Iterator[str]:
    """Gives a line for each finding, and below a refusal the edit that makes it go on."""
    width = max((len(f"{one.kind} {one.address}") for one in findings), default=0)
    for one in findings:
        what = f"  {one.what}" if one.what else ""
        where = f" ({one.place})" if one.place and one.verdict != "kept" else ""
        yield f"{one.verdict:<9}{f'{one.kind} {one.address}':<{width}}{what}{where}".rstrip()
        if one.verdict == "refused" and one.remedy:
            yield f"{'':<9}-> {one.remedy}"


def deadlines_of(manifest: Manifest) -> Iterator[str]:
    """Says until when output that a checkpoint has prepared can be committed, where that ends."""
    nearest: dict[str, int] = {}
    for listed in manifest.committables:
        deadline = listed.committable.deadline_ms
        if deadline is not None:
            nearest[listed.sink_uid] = min(deadline, nearest.get(listed.sink_uid, deadline))
    for uid, deadline in nearest.items():
        until = datetime.fromtimestamp(deadline / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        yield f"what sink {uid} has prepared can be committed until {until}"


async def splits_of(plan: ExecutionPlan, manifest: Manifest) -> list[Finding]:
    """Asks each source that the checkpoint knows which splits it has by now."""
    known = under_present_names(plan, manifest).positions
    return [
        await _splits(uid, node.made, known[uid], str(node.place))
        for uid, (_, node) in plan.sources.items()
        if uid in known
    ]


async def _splits(uid: str, source: object, known: dict[str, object], place: str) -> Finding:
    try:
        async with asyncio.timeout(_SECONDS):
            found = await source.discover(known)  # type: ignore[attr-defined]
    except SourceError as error:
        if not is_outage(error):
            return Finding("refused", "source", uid, "", "", error.message, error.remedy or "", place)
        return Finding("kept", "source", uid, what=f"its splits cannot be seen now: {error.message}", place=place)
    except (StreamletError, OSError, TimeoutError) as error:
        why = error.message if isinstance(error, StreamletError) else str(error) or type(error).__name__
        return Finding("kept", "source", uid, what=f"its splits cannot be seen now: {why}", place=place)
    new = sorted(found.keys() - known.keys())
    more = f" and {len(new) - _SPLITS} more" if len(new) > _SPLITS else ""
    told = f", {len(new)} new: {', '.join(new[:_SPLITS])}{more}" if new else ", none new"
    return Finding("kept", "source", uid, what=f"{len(known)} splits go on{told}", place=place)
