"""Sliding windows over shared panes: one accumulator per key and pane, however many windows a record is in.

A pane is as long as the greatest common divisor of size and slide.  When a window's end has come its panes are merged.
What is in the state: per key, the panes that an open window needs (an accumulator each), a tuple that says which these
are and up to where windows were put out, and about one timer.  A pane is freed when the last window that has it closes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Any

from streamlet.elements import MAX_TIMESTAMP
from streamlet.errors import JobDefinitionError
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.timer_service import named
from streamlet.operators.user_code.raised import RAISED
from streamlet.operators.windows.assigners import SlidingWindows, Window, WindowResult, bounded
from streamlet.operators.windows.contents import Contents
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.panes import RunningMerges
from streamlet.operators.windows.tumbling import AlignedWindows
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import WindowState
from streamlet.state.memory.cells import ABSENT, Slot
from streamlet.state.memory.timers import Due


class SlidingPanes(AlignedWindows):
    """Each stretch is a pane. Where a batch is late or on time is decided per pane."""

    kept = "pane"

    def __init__(self, policy: WindowPolicy, contents: Contents) -> None:
        assert isinstance(policy.assigner, SlidingWindows)
        self.size_ms, self.slide_ms = policy.assigner.size_ms, policy.assigner.slide_ms
        super().__init__(policy, contents, gcd(self.size_ms, self.slide_ms))
        if contents.merge is None:
            raise JobDefinitionError(
                "sliding windows merge the accumulators of their parts, and a function has no merge",
                remedy=contents.merge_remedy,
            )
        self.merges = RunningMerges(contents.merge, self.size_ms // self.length_ms)

    def declared_states(self) -> Mapping[str, Descriptor]:
        return {**super().declared_states(), "panes": WindowState(tuple[int, ...])}

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self.lists = self.store.value_cells(context.states["panes"])

    def is_closed(self, stretch: Window) -> bool:
        return self._free_time(stretch.start) <= self.progress

    def is_put_out(self, stretch: Window) -> bool:
        return self.lateness_ms > 0 and self._first_start(stretch.start) + self.size_ms - 1 <= self.progress

    def opened(self, slots: Sequence[Slot], stretch: Window) -> None:
        for slot in slots:
            self._opened(slot, stretch)

    def put_out_again(self, stretch: Window, slot: Slot, out: Emit) -> None:
        pane, progress = stretch.start, self.progress
        self.merges.forget(slot.key)
        _, *panes = self.lists.value(slot)
        for start in range(self._first_start(pane), self._last_start(pane) + 1, self.slide_ms):
            if start + self.size_ms - 1 <= progress < self._close_at(start):
                self.put_out_in_order(self._made(slot, panes, start), out)

    def drop_caches(self) -> None:
        super().drop_caches()
        self.merges.forget_all()

    def fold_into(self, stretch: Window, slots: Sequence[Slot], each: Iterator[Slot], inputs: Any) -> None:
        if stretch.end - 1 <= self.progress and self.merges.is_in_use:
            # It may be in a window that was put out: what was merged with this pane is no longer true.
            for slot in slots:
                self.merges.forget(slot.key)
        super().fold_into(stretch, slots, each, inputs)

    def fire(self, slots: Sequence[Slot], due: Sequence[Due], until: int, out: Emit) -> None:
        self.forget_closed()
        fired: list[tuple[Slot, Window, Any]] = []
        freed: list[tuple[Slot, Any]] = []
        for slot in dict.fromkeys(slots):
            known = self.lists.value(slot)
            if known is ABSENT:
                continue
            done, *panes = known
            for start in self._starts(done, until, panes):
                fired += self._made(slot, panes, start)
            freed += self._free(slot, panes, until)
            cell = self.lists.cell(slot)
            if panes:
                self.lists.change(cell, (max(done, until), *panes))
                self._set_timer(slot, max(done, until), panes)
            else:
                self.lists.change(cell, ABSENT)
                self.merges.forget(slot.key)
        self.put_out_in_order(fired, out)
        for slot, value in freed:
            self.contents.free(slot, value)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _opened(self, slot: Slot, stretch: Window) -> None:
        known = self.lists.value(slot)
        done, *panes = (self.progress,) if known is ABSENT else known
        if not self.is_by_clock:
            # What ended by now was put out without this record; by the clock it may not have been put out yet.
            done = max(done, self.progress)
        if stretch.start not in panes:
            insort(panes, stretch.start)
        self.lists.change(self.lists.cell(slot), (done, *panes))
        self._set_timer(slot, done, panes)

    def _starts(self, done: int, until: int, panes: Sequence[int]) -> Iterator[int]:
        """Where the windows begin that end behind `done`, up to `until`, and have one of these panes."""
        size, slide = self.size_ms, self.slide_ms
        least = self._first_start(done + 1)
        at = bisect_left(panes, least)
        while at < len(panes):
            start = max(least, self._first_start(panes[at]))
            if min(start + size, MAX_TIMESTAMP) - 1 > until:
                return
            yield start
            least = start + slide
            at = bisect_left(panes, least, at)

    def _made(self, slot: Slot, panes: Sequence[int], start: int) -> list[tuple[Slot, Window, Any]]:
        """A window with what its panes make together.  Nothing where merging them fails and the policy leaves it out:
        what they keep is the value of the dead letter."""
        window = self._window(start)
        inside = panes[bisect_left(panes, start) : bisect_left(panes, start + self.size_ms)]
        try:
            return [(slot, window, self.merges.of(slot.key, inside, lambda pane: self._pane(slot, pane)))]
        except RAISED as error:
            self.merges.forget(slot.key)
            parts = [self.contents.shown(slot, self._pane(slot, pane)) for pane in inside]
            lost = WindowResult(slot.key, window, parts)
            text = f"window {window.start} to {window.end} ms of key {slot.key!r}"
            self.leave_out(error, named(text, lost, window.end - 1, slot), 0)
            return []

    def _pane(self, slot: Slot, pane: int) -> Any:
        return self.value_of(self.cells.cell(slot, self._stretch(pane).namespace))

    def _free(self, slot: Slot, panes: list[int], until: int) -> list[tuple[Slot, Any]]:
        """Forgets the panes that no window needs any more; takes them out of `panes`."""
        gone = 0
        while gone < len(panes) and self._free_time(panes[gone]) <= until:
            gone += 1
        freed = []
        for pane in panes[:gone]:
            cell = self.cells.cell(slot, self._stretch(pane).namespace)
            freed.append((slot, self.value_of(cell)))
            self.cells.change(cell, ABSENT)
        del panes[:gone]
        return freed

    def _set_timer(self, slot: Slot, done: int, panes: Sequence[int]) -> None:
        """One for the next window to put out, or the next pane to free."""
        times = [self._free_time(panes[0])]
        following = next(self._starts(done, MAX_TIMESTAMP, panes), None)
        if following is not None:
            times.append(min(following + self.size_ms, MAX_TIMESTAMP) - 1)
        self.timers.set(slot, min(times))

    def _stretch(self, pane: int) -> Window:
        return bounded(pane, pane + self.length_ms)

    def _window(self, start: int) -> Window:
        return bounded(start, start + self.size_ms)

    def _last_start(self, time: int) -> int:
        """Where the last window with this time begins."""
        return time - (time - self.offset_ms) % self.slide_ms

    def _first_start(self, time: int) -> int:
        """Where the first window with this time begins."""
        earliest = time - self.size_ms + 1
        return earliest + (self.offset_ms - earliest) % self.slide_ms

    def _close_at(self, start: int) -> int:
        return min(start + self.size_ms - 1 + self.lateness_ms, MAX_TIMESTAMP)

    def _free_time(self, pane: int) -> int:
        return self._close_at(self._last_start(pane))
