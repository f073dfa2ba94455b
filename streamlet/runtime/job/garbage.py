"""Garbage collection at times of our choosing.

The collector's own rule starts in the middle of batches and costs most where much is alive: every changed accumulator
is a young object that it looks at.  While a job runs it is therefore off.  Only reference cycles need it, and those
that users' code makes are found by their growth: when half as many memory blocks again are in use as after the last
collection, everything is collected.  Keyed state grows too, and holds no cycles: its blocks do not count, or a job that
meets new keys would stand still again and again to look at all of them.  So a leak of cycles is bounded, and a job that
makes none pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable

_LOOK_SECONDS = 2.0
_GROWTH = 1.5
_GROWTH_BLOCKS = 500_000
"""About 50 MB of small objects."""
_BLOCKS_PER_KEY = 5
"""The key, its slot, its stored form, and a small value of two."""


@contextlib.asynccontextmanager
async def collected_at_chosen_times(
    keys_in_memory: Callable[[], int] = lambda: 0, look_seconds: float = _LOOK_SECONDS
) -> AsyncIterator[None]:
    """Takes the collector over for the time of a job, and gives it back as it was.

    `keys_in_memory`: how many keys have their state in the memory of this process.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    collecting = asyncio.create_task(_collect(keys_in_memory, look_seconds), name="garbage")
    try:
        yield
    finally:
        collecting.cancel()
        await asyncio.wait([collecting])
        gc.unfreeze()
        if was_enabled:
            gc.enable()


async def _collect(keys_in_memory: Callable[[], int], look_seconds: float) -> None:
    def blocks() -> int:
        return max(0, sys.getallocatedblocks() - _BLOCKS_PER_KEY * keys_in_memory())

    after_last = blocks()
    while True:
        await asyncio.sleep(look_seconds)
        if blocks() > after_last * _GROWTH + _GROWTH_BLOCKS:
            gc.collect()
            after_last = blocks()
