"""Garbage collection at times of our choosing.

The collector's own rule starts in the middle of batches, and costs most when a batch holds many objects.  While a job
runs it is therefore off, and young objects are collected between batches, a few times a second, which takes about a
millisecond.  Reference cycles that users' code makes and that grow old need a full collection: it happens when the
process has grown by half since the last one, so a leak is bounded and a stable process never pays.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

_YOUNG_SECONDS = 0.25
_MIDDLE_EVERY = 20
_GROWTH = 1.5
_GROWTH_BYTES = 64 << 20


@contextlib.asynccontextmanager
async def collected_at_chosen_times() -> AsyncIterator[None]:
    """Takes the collector over for the time of a job, and gives it back as it was."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    collecting = asyncio.create_task(_collect(), name="garbage")
    try:
        yield
    finally:
        collecting.cancel()
        await asyncio.wait([collecting])
        gc.unfreeze()
        if was_enabled:
            gc.enable()


async def _collect() -> None:
    after_full = resident_bytes()
    turn = 0
    while True:
        await asyncio.sleep(_YOUNG_SECONDS)
        turn += 1
        gc.collect(1 if turn % _MIDDLE_EVERY == 0 else 0)
        if turn % _MIDDLE_EVERY == 0 and resident_bytes() > max(after_full * _GROWTH, after_full + _GROWTH_BYTES):
            gc.collect()
            after_full = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
