"""Asks sources for new splits while the job runs, and gives each to the subtask that has the fewest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from streamlet.checkpoint.messages import AddSplits
from streamlet.graph.plan import ExecutionPlan
from streamlet.runtime.assembly import Assembly, Surroundings
from streamlet.runtime.source_subtask import SourceSubtask
from streamlet.source import Source


def discover_on(plan: ExecutionPlan, assembly: Assembly, around: Surroundings) -> Iterator[Coroutine[Any, Any, None]]:
    """One loop for each source that wants to be asked."""
    for uid, (_, node) in plan.sources.items():
        source = node.made
        readers = [one for one in assembly.subtasks if isinstance(one, SourceSubtask) and one.plan.name == uid]
        if isinstance(source, Source) and source.discovery_interval_seconds is not None:
            yield _discover(uid, source, source.discovery_interval_seconds, readers, around)


async def _discover(
    uid: str, source: Source[Any], seconds: float, readers: list[SourceSubtask], around: Surroundings
) -> None:
    known = {split: position for reader in readers for split, position in reader.positions.items()}
    count = {reader.subtask: len(reader.positions) for reader in readers}
    while True:
        await asyncio.sleep(seconds)
        for split, position in sorted((await source.discover(known)).items()):
            known[split] = position
            subtask = min(count, key=lambda one: (count[one], one))
            count[subtask] += 1
            around.control.tell((uid, subtask), AddSplits({split: position}))
