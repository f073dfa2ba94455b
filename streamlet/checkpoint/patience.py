"""How long the coordinator waits: for an event, and a stop for barriers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamlet.checkpoint.pending import PendingCheckpoint
from streamlet.clock import Clock

BARRIER_SECONDS = 3.0
"""All barriers together, beginning with the one that is on its way when the stop is asked for."""

_LOOK_SECONDS = 0.25


async def is_set_within(seconds: float, event: asyncio.Event) -> bool:
    """Waits for an event; False when it was not set in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def until_barriers_are_late(pending: Callable[[], PendingCheckpoint | None], clock: Clock) -> PendingCheckpoint:
    """Returns when barriers were waited for so long; gives the checkpoint whose they are.

    Only the time counts in which one has not come through: writing, sinks and commits may take what they take.
    """
    waited, before = 0.0, clock.monotonic()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        now = clock.monotonic()
        checkpoint = pending()
        if checkpoint is not None and checkpoint.is_on_its_way:
            waited += now - before
            if waited >= BARRIER_SECONDS:
                return checkpoint
        before = now
