"""Tumbling windows: one accumulator per key and window.

What is in the state: per key and open window what its records made, and one timer; both are freed when the window
closes, at its end plus the allowed lateness.  A batch is handled window by window - mostly it lies in one - and per
record there is one lookup by window in its slot, and the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from streamlet.elements import Batch
from streamlet.operators.operator import Emit
from streamlet.operators.user_code.raised import RAISED
from streamlet.operators.windows.assigners import SlidingWindows, TumblingWindows, Window, bounded
from streamlet.operators.windows.contents import Contents
from streamlet.operators.windows.operator import WindowOperator, WindowPolicy
from streamlet.state.memory.cells import ABSENT, Cell, Slot
from streamlet.state.memory.timers import Due


class AlignedWindows(WindowOperator):
    """Takes records into stretches of time of one length: windows, or the panes that windows are made of."""

    def __init__(self, policy: WindowPolicy, contents: Contents, length_ms: int) -> None:
        """`length_ms` is 0 where stretches have lengths of their own."""
        super().__init__(policy, contents)
        assert isinstance(policy.assigner, TumblingWindows | SlidingWindows)
        self.length_ms = length_ms
        self.offset_ms = policy.assigner.offset_ms
        self._open: dict[int, OpenCells] = {}
        self._evictions = 0

    def take(self, batch: Batch[Any], times: Sequence[int], out: Emit) -> None:
        slots: Sequence[Slot] = batch.keys or ()
        inputs = self.contents.inputs(batch)
        first = self.stretch(min(times))
        if max(times) < first.end:
            late = self._take_one(first, batch, range(len(batch)), slots, inputs, out)
            if late:
                self.put_late(batch, late)
            return
        groups: dict[int, list[int]] = {}
        for row, start in enumerate(self.starts(times)):
            groups.setdefault(start, []).append(row)
        column = list(inputs)
        late_rows: list[int] = []
        for start in sorted(groups):
            rows = groups[start]
            some = [slots[row] for row in rows]
            taken = [column[row] for row in rows]
            late_rows += self._take_one(self.stretch(start), batch, rows, some, taken, out)
        if late_rows:
            self.put_late(batch, sorted(late_rows))

    def stretch(self, time: int) -> Window:
        """The stretch that holds this time."""
        start = time - (time - self.offset_ms) % self.length_ms
        return bounded(start, start + self.length_ms)

    def starts(self, times: Sequence[int]) -> Sequence[int]:
        """Where the stretches of these times begin."""
        length, offset = self.length_ms, self.offset_ms
        return [time - (time - offset) % length for time in times]

    def is_closed(self, stretch: Window) -> bool:
        """True when a record for this stretch is late."""
        return self.close_time(stretch) <= self.progress

    def is_put_out(self, stretch: Window) -> bool:
        """True when a window of which this is a part was put out, but waits for late records still."""
        return self.lateness_ms > 0 and stretch.end - 1 <= self.progress

    def opened(self, slots: Sequence[Slot], stretch: Window) -> None:
        """First records of these keys came into the stretch."""
        raise NotImplementedError

    def put_out_again(self, stretch: Window, slot: Slot, out: Emit) -> None:
        """Puts out again what holds one more record of a stretch that was put out."""
        raise NotImplementedError

    def drop_caches(self) -> None:
        self._open.clear()

    def _take_one(
        self,
        stretch: Window,
        batch: Batch[Any],
        rows: Sequence[int],
        slots: Sequence[Slot],
        inputs: Iterable[Any],
        out: Emit,
    ) -> Sequence[int]:
        """Gives the rows that are late: all of them, or none."""
        if self.is_closed(stretch):
            return rows
        if self.is_put_out(stretch):
            for row, slot, value in zip(rows, slots, inputs, strict=False):
                try:
                    self.fold_into(stretch, [slot], iter([slot]), [value])
                except RAISED as error:
                    raise self.failure(error, batch, row) from error
                self.put_out_again(stretch, slot, out)
        else:
            each = iter(slots)
            try:
                self.fold_into(stretch, slots, each, inputs)
            except RAISED as error:
                done = len(slots) - each.__length_hint__() - 1  # type: ignore[attr-defined]
                raise self.failure(error, batch, rows[max(0, done)]) from error
        return ()

    def fold_into(self, stretch: Window, slots: Sequence[Slot], each: Iterator[Slot], inputs: Iterable[Any]) -> None:
        """Takes records into a stretch; `each` goes over the slots, so that it tells how far it came."""
        namespace = stretch.namespace
        cells = self._cells_of(slots, stretch, namespace)
        contents = self.contents
        if contents.fold is None or self.cells.holds_bytes or not contents.is_trusted:
            self._fold_checked(cells, each, inputs, namespace)
            return
        store, fold = self.store, contents.fold
        interval, mark_dirty, keeps_old = store.interval, store.dirty.append, store.is_packing
        for cell, slot, value in zip(cells, each, inputs, strict=False):
            old = cell.value
            new = contents.first(slot, namespace, value) if old is ABSENT else fold(old, value)
            if cell.interval != interval:
                if keeps_old:
                    cell.old = old
                cell.interval = interval
                mark_dirty(cell)
            cell.value = new

    def _fold_checked(self, cells: list[Cell], each: Iterator[Slot], inputs: Iterable[Any], bucket: bytes) -> None:
        contents, change = self.contents, self.cells.change
        for cell, slot, value in zip(cells, each, inputs, strict=False):
            old = self.value_of(cell)
            new = contents.first(slot, bucket, value) if old is ABSENT else contents.add(slot, old, value)
            change(cell, self.stored(new))

    def _cells_of(self, slots: Sequence[Slot], stretch: Window, namespace: bytes) -> list[Cell]:
        """The cell of each row, loaded; tells of those that begin."""
        if self.store.evictions != self._evictions:
            # What left memory must not be kept here.
            self._open.clear()
            self._evictions = self.store.evictions
        known = self._open.get(stretch.start)
        if known is None:
            known = self._open[stretch.start] = OpenCells(stretch)
        known.make = self.cells.maker(namespace)
        found = list(map(known.__getitem__, slots))
        if known.fresh:
            fresh, known.fresh = known.fresh, []
            self.cells.load_all([cell for _, cell in fresh])
            if first := [slot for slot, cell in fresh if cell.value is ABSENT]:
                self.opened(first, stretch)
        return found

    def forget_closed(self) -> None:
        """Lets go of the cells of stretches into which nothing comes any more."""
        for start in [start for start, known in self._open.items() if self.is_over(known.stretch)]:
            del self._open[start]

    def is_over(self, stretch: Window) -> bool:
        """True when its cells may have been freed."""
        return self.is_closed(stretch)


class OpenCells(dict[Slot, Cell]):
    """The cells of one stretch by slot, so that a batch asks one dictionary. What is made anew is in `fresh` once."""

    make: Callable[[Slot], Cell]
    """Gives the cell of a key, in the batch in hand."""

    def __init__(self, stretch: Window) -> None:
        super().__init__()
        self.stretch = stretch
        self.fresh: list[tuple[Slot, Cell]] = []

    def __missing__(self, slot: Slot) -> Cell:
        cell = self[slot] = self.make(slot)
        self.fresh.append((slot, cell))
        return cell


class Tumbling(AlignedWindows):
    """Each window is one stretch."""

    def __init__(self, policy: WindowPolicy, contents: Contents) -> None:
        assert isinstance(policy.assigner, TumblingWindows)
        super().__init__(policy, contents, policy.assigner.size_ms)
        self.calendar = policy.assigner.calendar

    def stretch(self, time: int) -> Window:
        return super().stretch(time) if self.calendar is None else Window(*self.calendar.around(time))

    def starts(self, times: Sequence[int]) -> Sequence[int]:
        if self.calendar is None:
            return super().starts(times)
        around = self.calendar.around
        return [around(time)[0] for time in times]

    def is_over(self, stretch: Window) -> bool:
        return stretch.end - 1 <= self.progress

    def opened(self, slots: Sequence[Slot], stretch: Window) -> None:
        at = stretch.end - 1
        self.timers.set_all(slots, at if at > self.progress else self.close_time(stretch), stretch.namespace)

    def put_out_again(self, stretch: Window, slot: Slot, out: Emit) -> None:
        self.forget_closed()
        cell = self.cells.cell(slot, stretch.namespace)
        kept = self.value_of(cell)
        self.put_out([slot], [stretch], [kept], out)
        if not self.policy.is_accumulating:
            self.cells.change(cell, ABSENT)
            self.contents.free(slot, kept)

    def fire(self, slots: Sequence[Slot], due: Sequence[Due], until: int, out: Emit) -> None:
        self.forget_closed()
        known = {namespace: _Ending(self, Window.of(namespace)) for namespace in {one.namespace for one in due}}
        cells = [known[namespace].make(slot) for slot, (_, _, namespace) in zip(slots, due, strict=True)]
        self.cells.load_all(cells)
        is_accumulating, holds_bytes, decode = self.policy.is_accumulating, self.cells.holds_bytes, self.cells.decode
        fired: list[Slot] = []
        windows: list[Window] = []
        kept: list[Any] = []
        freed: list[tuple[Slot, Any]] = []
        for slot, cell, (time, _, namespace) in zip(slots, cells, due, strict=True):
            value = cell.value
            if value is ABSENT:
                continue
            if holds_bytes:
                value = decode(value)
            ending = known[namespace]
            if time == ending.final:
                fired.append(slot)
                windows.append(ending.window)
                kept.append(value)
            # Behind it where lateness was longer when the timer was set.
            if time >= ending.closes or not is_accumulating:
                self.cells.free(slot, cell)
                freed.append((slot, value))
            else:
                self.timers.set(slot, ending.closes, namespace)
        self.put_out(fired, windows, kept, out)
        for slot, value in freed:
            self.contents.free(slot, value)


class _Ending:
    """A window some of whose timers are due."""

    __slots__ = ("closes", "final", "make", "window")

    def __init__(self, operator: Tumbling, window: Window) -> None:
        self.window = window
        self.final = window.end - 1
        self.closes = operator.close_time(window)
        self.make = operator.cells.maker(window.namespace)
