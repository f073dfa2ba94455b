"""What connectors are told beside the work: nothing of a job waits for how long they take to hear it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Notices:
    """Tells one listener of durable checkpoints, one at a time.

    While it listens to one, later ones wait, and of those only the last is told: it covers the others.
    """

    def __init__(self, tell: Callable[[int], Awaitable[None]]) -> None:
        self._tell = tell
        self._newest: int | None = None
        self._is_there = asyncio.Event()

    def add(self, checkpoint_id: int) -> None:
        """Has the listener told soon."""
        self._newest = checkpoint_id
        self._is_there.set()

    async def run(self) -> None:
        """Tells, for ever; raises what the listener raises."""
        while True:
            await self._is_there.wait()
            self._is_there.clear()
            newest, self._newest = self._newest, None
            if newest is not None:
                await self._tell(newest)
