"""Who holds the event loop, and room to breathe for everything else after one that held it long.

Work for a checkpoint, for other processes and for connectors goes through several turns of the loop.  Were each of
these turns to have a slow record of some subtask in it, a barrier would take many records' time to go one step.
"""

from __future__ import annotations

import asyncio

_LONG_SECONDS = 0.005
_TURNS = 12
"""A trigger, from the coordinator's timer to the gates of the next task, needs fewer."""


class LoopTurns:
    """After a batch, or whatever else comes in pieces, that held the loop long, the next one waits some turns.  All
    batches of a process share one."""

    def __init__(self) -> None:
        self.held_seconds = 0.0
        """By all batches together."""
        self._left = 0
        self._resting: list[asyncio.Future[None]] = []

    @property
    def is_resting(self) -> bool:
        """True while no batch should begin."""
        return self._left > 0

    def held(self, seconds: float) -> None:
        """Tells how long a batch has just held the loop."""
        self.held_seconds += seconds
        if seconds >= _LONG_SECONDS:
            if not self._left:
                asyncio.get_running_loop().call_soon(self._turn)
            self._left = _TURNS

    async def rest(self) -> None:
        """Lets others run.  When it returns, a batch may begin at once, but not after another wait."""
        await asyncio.sleep(0)
        while self._left:
            # All are woken at once; where the first goes on with a long batch, the others find that here.
            rested = asyncio.get_running_loop().create_future()
            self._resting.append(rested)
            await rested

    def _turn(self) -> None:
        self._left -= 1
        if self._left:
            asyncio.get_running_loop().call_soon(self._turn)
            return
        resting, self._resting = self._resting, []
        for rested in resting:
            if not rested.done():
                rested.set_result(None)
