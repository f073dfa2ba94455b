"""PCT: the task of the highest random priority runs, and few changes of priority are drawn in advance.

Each task gets a random priority when it is first seen.  Of k picks, d - 1 are drawn in advance; at each of them the
task that would run gets a priority of its own below all that are random, and another runs.  A bug that needs d events
in one order is found with a probability of at least 1 / (n k^(d - 1)), with n tasks (Burckhardt et al., "A Randomized
Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).

The paper's programs end.  A loop does not, and a task of it that is always ready would keep all others waiting for
ever; so after k picks another round begins, with new priorities, k and d.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

ROUND_PICKS = (30, 100, 300, 1000)
"""How many picks among several callbacks a small job makes from one of its decisions to another, or in all."""
MOST_DEPTH = 4
"""Bugs of schedules need few events in one order; the paper has found none that needs more."""


class Priorities:
    """Who has the highest priority; one of these for one loop."""

    def __init__(self, randomness: random.Random) -> None:
        self._random = randomness
        self._of: dict[int, float] = {}
        self._lowers: dict[int, int] = {}
        """Pick -> the priority that the task gets which would run there."""
        self._picks = self._round = 0

    def highest(self, ready: Sequence[asyncio.Handle]) -> int:
        """The place of what runs next."""
        if self._picks == self._round:
            self._begin()
        owners = [_owner(handle) for handle in ready]
        for owner in owners:
            if owner not in self._of:
                self._of[owner] = self._random.random()
        lowered = self._lowers.get(self._picks)
        self._picks += 1
        if lowered is not None:
            self._of[max(owners, key=self._of.__getitem__)] = lowered
        return max(range(len(owners)), key=lambda place: self._of[owners[place]])

    def _begin(self) -> None:
        self._of.clear()
        self._picks, self._round = 0, self._random.choice(ROUND_PICKS)
        depth = self._random.randint(1, MOST_DEPTH)
        places = self._random.sample(range(self._round), depth - 1)
        self._lowers = {place: -number for number, place in enumerate(places, start=1)}


def _owner(handle: asyncio.Handle) -> int:
    """The task, by number: addresses differ from run to run. All that belongs to no task is one."""
    number: int = getattr(getattr(handle._callback, "__self__", None), "_number", 0)  # type: ignore[attr-defined]
    return number
