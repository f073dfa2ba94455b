"""The merge of a moving row of panes in a few steps per move, by two stacks.

The front holds the merges of each older pane with all that follow it up to a point; the back is one running merge of
what came behind that point.  A window is the merge of one entry of the front and of the back.  Each pane is merged
about three times however many windows it is in (Tangwongsan, Hirzel, Schneider: "Low-Latency Sliding-Window
Aggregation in Worst-Case Constant Time", DEBS 2017, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

WORTH_PANES = 8
"""With fewer panes per window, merging them all is as quick."""
MOST_KEYS = 20_000
"""Keys whose stacks are kept; the others are merged anew each time."""


class _Stacks(msgspec.Struct):
    front_panes: list[int]
    """From the latest to the earliest, so that the earliest is at the end."""
    front: list[Any]
    """Merges of a pane with all later ones of the front."""
    back: Any
    last: int
    """The latest pane that is in it."""
    has_back: bool = False


class RunningMerges:
    """Merges per key. It remembers only what can be made anew from the panes, so it is in no checkpoint."""

    def __init__(self, merge: Callable[[Any, Any], Any], panes: int) -> None:
        self._merge = merge
        self.is_in_use = panes >= WORTH_PANES
        self._stacks: dict[Any, _Stacks] = {}

    def forget(self, key: Any) -> None:
        """Says that a pane which was merged has changed, or that none is left."""
        self._stacks.pop(key, None)

    def forget_all(self) -> None:
        """Says that any pane may have changed."""
        self._stacks.clear()

    def of(self, key: Any, panes: Sequence[int], value: Callable[[int], Any]) -> Any:
        """The merge of these panes, which are in the order of time; `value` gives what a pane keeps."""
        if not self.is_in_use:
            return self._all([value(pane) for pane in panes])
        stacks = self._stacks.get(key)
        if stacks is None:
            if len(self._stacks) >= MOST_KEYS:
                return self._all([value(pane) for pane in panes])
            stacks = self._stacks[key] = _Stacks([], [], None, panes[0] - 1)
        elif stacks.last > panes[-1]:
            # A window before one that was merged already: put out again for a late record.
            return self._all([value(pane) for pane in panes])
        return self._moved(stacks, panes, value)

    def _moved(self, stacks: _Stacks, panes: Sequence[int], value: Callable[[int], Any]) -> Any:
        first, merge = panes[0], self._merge
        while stacks.front_panes and stacks.front_panes[-1] < first:
            stacks.front_panes.pop()
            stacks.front.pop()
        if not stacks.front_panes:
            self._turn(stacks, panes, value)
        else:
            for pane in panes[_after(panes, stacks.last) :]:
                stacks.back = merge(stacks.back, value(pane)) if stacks.has_back else value(pane)
                stacks.has_back = True
        stacks.last = panes[-1]
        oldest = stacks.front[-1]
        return merge(oldest, stacks.back) if stacks.has_back else oldest

    def _turn(self, stacks: _Stacks, panes: Sequence[int], value: Callable[[int], Any]) -> None:
        """All panes become the front."""
        merge = self._merge
        stacks.front_panes, stacks.front, stacks.has_back, stacks.back = [], [], False, None
        for pane in reversed(panes):
            kept = value(pane)
            stacks.front.append(merge(kept, stacks.front[-1]) if stacks.front else kept)
            stacks.front_panes.append(pane)

    def _all(self, values: list[Any]) -> Any:
        merge, merged = self._merge, values[0]
        for value in values[1:]:
            merged = merge(merged, value)
        return merged


def _after(panes: Sequence[int], last: int) -> int:
    """The place of the first pane behind `last`; near the end, where new panes are."""
    at = len(panes)
    while at and panes[at - 1] > last:
        at -= 1
    return at
