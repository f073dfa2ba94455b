"""Garbage collection at times of our choosing.

The collector's own rule starts in the middle of batches and costs most where much is alive: every changed accumulator
is a young object that it looks at.  While a job runs it is therefore off.  Only reference cycles need it, and those
that users' code makes are found by their growth: when half as many memory blocks again are in use as after the last
collection, everything is collected.  So a leak of cycles is bounded, and a job that makes none pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator

_LOOK_SECONDS = 2.0
_GROWTH = 1.5
_GROWTH_BLOCKS = 500_000
"""About 50 MB of small objects."""


@contextlib.asynccontextmanager
async def collected_at_chosen_times(look_seconds: float = _LOOK_SECONDS) -> AsyncIterator[None]:
    """Takes the collector over for the time of a job, and gives it back as it was."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    collecting = asyncio.create_task(_collect(look_seconds), name="garbage")
    try:
        yield
    finally:
        collecting.cancel()
        await asyncio.wait([collecting])
        gc.unfreeze()
        if was_enabled:
            gc.enable()


async def _collect(look_seconds: float) -> None:
    after_last = sys.getallocatedblocks()
    while True:
        await asyncio.sleep(look_seconds)
        if sys.getallocatedblocks() > after_last * _GROWTH + _GROWTH_BLOCKS:
            gc.collect()
            after_last = sys.getallocatedblocks()
