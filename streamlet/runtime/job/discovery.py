"""Asks sources for new splits while the job runs, and gives each to the subtask that has the fewest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from streamlet.checkpoint.messages import AddSplits
from streamlet.errors import SourceError
from streamlet.graph.plan import ExecutionPlan
from streamlet.operators.user_code.place import Place, connector_at
from streamlet.runtime.job.assembly import Splits
from streamlet.runtime.task.control import ControlChannel
from streamlet.runtime.task.placement import splits_of
from streamlet.source import Source

_SHOWN = 5


def discover_on(plan: ExecutionPlan, positions: Splits, control: ControlChannel) -> Iterator[Coroutine[Any, Any, None]]:
    """One loop for each source that wants to be asked; `positions` are those that the attempt began with."""
    for uid, (task, node) in plan.sources.items():
        source = node.made
        if isinstance(source, Source) and source.discovery_interval_seconds is not None:
            known = dict(positions[uid])
            owner = {split: one for one in range(task.parallelism) for split in splits_of(known, one, task.parallelism)}
            count = {one: len(splits_of(known, one, task.parallelism)) for one in range(task.parallelism)}
            yield _discover(uid, node.place, source, source.discovery_interval_seconds, known, owner, count, control)


async def _discover(
    uid: str,
    place: Place,
    source: Source[Any],
    seconds: float,
    known: dict[str, Any],
    owner: dict[str, int],
    count: dict[int, int],
    control: ControlChannel,
) -> None:
    while True:
        await asyncio.sleep(seconds)
        with connector_at(place):
            found = await source.discover(known)
        for split, position in sorted(found.items()):
            known[split] = position
            near = owner.get(source.near(split, position) or "")
            subtask = near if near is not None else min(count, key=lambda one: (count[one], one))
            owner[split] = subtask
            count[subtask] += 1
            control.tell((uid, subtask), AddSplits({split: position}))


async def new_input(plan: ExecutionPlan, positions: Splits) -> list[str]:
    """Says what came for the sources of a job that has finished, and how to have it read."""
    told = []
    for uid, (_, node) in plan.sources.items():
        source = node.made
        if not isinstance(source, Source):
            continue
        try:
            new = sorted(await source.unread(positions.get(uid, {})))
        except SourceError:
            continue  # what was read may be gone by now
        if new:
            names = ", ".join(new[:_SHOWN]) + (", ..." if len(new) > _SHOWN else "")
            told.append(
                f"source {uid!r} has new input, which a job that has finished does not read: {names}\n"
                "  -> read it by a job of another name, or all of it again with --from none; "
                "follow=True keeps a job waiting for files"
            )
    return told
