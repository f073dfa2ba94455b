"""What all window operators share: time, timers, late records, and putting windows out.

Event time: a window [start, end) is put out when the watermark comes to end - 1, and is freed `lateness` later; from
then on a record for it is late.  Processing time: the same with the clock, whose "watermark" is the millisecond
before the present one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP, Batch, OutputTag
from streamlet.errors import StreamletError, UserFunctionError
from streamlet.operators.functions import CallingOperator
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.user_code.place import function_error
from streamlet.operators.user_code.raised import RAISED
from streamlet.operators.windows.assigners import GlobalWindows, Window, WindowAssigner, WindowResult
from streamlet.operators.windows.contents import Contents
from streamlet.operators.windows.settings import judge, settings_of
from streamlet.operators.windows.triggers import AtEnd, Trigger
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import TimerState, WindowState
from streamlet.state.evolution.schema import Schema
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, Cell, Slot
from streamlet.state.memory.timers import Due, Timers

log = logging.getLogger("streamlet.operators")

AT_END = AtEnd()
PIECE = 256
"""Windows that are put out as one batch."""
PIECES = 8
"""Batches put out before others get a turn."""


@dataclass(frozen=True)
class WindowPolicy:
    """What the job says of its windows, whatever they hold."""

    assigner: WindowAssigner[Any]
    trigger: Trigger[Any] = AT_END
    lateness_ms: int = 0
    late: tuple[OutputTag[Any] | None, ...] = (None,)
    """Where late records go, input by input."""
    is_accumulating: bool = True


class WindowOperator(CallingOperator):
    """Takes records into windows and puts windows out when their time has come."""

    kept = "window"
    """The name of the state that holds what windows keep."""

    def __init__(self, policy: WindowPolicy, contents: Contents) -> None:
        self.policy = policy
        self.contents = contents
        self.lateness_ms = policy.lateness_ms
        self.is_by_clock = policy.assigner.time == "processing"
        is_timeless = self.is_by_clock or isinstance(policy.assigner, GlobalWindows)
        self.uses_time = policy.trigger.uses_event_time or not is_timeless
        self._has_told_late = False
        self._now_ms = MIN_TIMESTAMP + 1
        self.clock: Timers | None = None
        """The timers by processing time that a trigger sets on windows of event time."""

    def kept_type(self) -> Any:
        """The declared type of the cells."""
        return self.contents.kept_type

    def kept_schema(self, kept: Schema) -> Schema:
        """What the cells hold, by the schema of what the contents keep."""
        return kept

    @property
    def side_outputs(self) -> Collection[OutputTag[Any]]:
        return [tag for tag in self.policy.late if tag is not None]

    @property
    def may_use_clock(self) -> bool:
        """True when its trigger may set timers by processing time on windows of event time."""
        return False

    def declared_states(self) -> Mapping[str, Descriptor]:
        contents = self.contents
        kept = WindowState(self.kept_type()).told_by(contents.type_option).made_by(contents.made_by)
        if contents.schema is not None:
            kept = kept.keeping(self.kept_schema(contents.schema))
        states: dict[str, Descriptor] = {
            self.kept: kept.evolving(contents.renamed, contents.upgrade).under(
                settings_of(self.policy, type(self).__name__), judge
            ),
            "timers": TimerState(),
            **contents.declared_states(),
        }
        return {**states, "clock": TimerState()} if self.may_use_clock else states

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.store = context.store
        self.cells = context.store.value_cells(context.states[self.kept])
        self.timers = context.store.timers(context.states["timers"])
        self.clock = context.store.timers(context.states["clock"]) if self.may_use_clock else None
        self.contents.open(context)

    @property
    def progress(self) -> int:
        """No record of this time or before is expected any more."""
        return self._now_ms - 1 if self.is_by_clock else self.context.event_time.watermark

    def process(self, batch: Batch[Any], out: Emit) -> None:
        if not batch.values:
            return
        if self.is_by_clock:
            self._look_at_clock(self.context.now_ms())
            times: Sequence[int] = [self._now_ms] * len(batch)
        else:
            times = batch.timestamps if batch.timestamps is not None else [0] * len(batch)
        self.take(batch, times, out)

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        self.contents.input = index
        self.process(batch, out)

    def take(self, batch: Batch[Any], times: Sequence[int], out: Emit) -> None:
        """Takes a batch into windows; `times` are those by which windows go."""
        raise NotImplementedError

    def fire(self, slots: Sequence[Slot], due: Sequence[Due], until: int, out: Emit) -> None:
        """Handles timers that are due, in the order of time. What they were about may be gone."""
        raise NotImplementedError

    def on_watermark(self, timestamp: int, out: Emit) -> bool | None:
        if self.is_by_clock and timestamp != MAX_TIMESTAMP:
            return None
        return self.advance(timestamp, out)

    def fire_by_clock(self, slots: Sequence[Slot], due: Sequence[Due], out: Emit) -> None:
        """Handles timers of the trigger that are due by processing time. What they were about may be gone."""
        raise NotImplementedError

    def next_clock_ms(self) -> int | None:
        by_clock = self.clock.next_time() if self.clock is not None else None
        if self.is_by_clock and (at := self.timers.next_time()) is not None:
            return min(at + 1, MAX_TIMESTAMP, by_clock or MAX_TIMESTAMP)
        return by_clock

    def on_clock(self, now_ms: int, out: Emit) -> None:
        if self.is_by_clock:
            self._look_at_clock(now_ms)
            self.advance(self.progress, out)
        if self.clock is not None:
            due = self.clock.pop_some(now_ms, PIECE * PIECES)
            if due:
                self.fire_by_clock(self.store.lookup([one.key for one in due]), due, out)

    def advance(self, until: int, out: Emit) -> bool:
        """Fires what is due; True when there may be more."""
        for _ in range(PIECES):
            due = self.timers.pop_some(until, PIECE)
            if not due:
                return False
            try:
                self.fire(self.store.lookup([one.key for one in due]), due, until, out)
            except RAISED as error:
                if isinstance(error, StreamletError):
                    raise
                raise function_error(error, self.context.place, subtask=self.context.subtask) from error
        return True

    def put_out(self, slots: list[Slot], windows: list[Window], kept: list[Any], out: Emit) -> None:
        """Emits the results of windows, each with the last millisecond of its window as time."""
        if kept:
            is_timed = all(window.end > window.start for window in windows)
            times = [window.end - 1 for window in windows] if is_timed else None
            self._put_out_most(Batch(kept, times, slots), windows, out)

    def _put_out_most(self, fired: Batch[Any], windows: list[Window], out: Emit) -> None:
        """Where a function fails for a window, what comes before and behind it is put out without it."""
        ahead: list[tuple[Batch[Any], list[Window]] | UserFunctionError] = [(fired, windows)]
        while ahead:
            one = ahead.pop()
            if isinstance(one, UserFunctionError):
                self.context.leave_out(one, True)
                continue
            batch, those = one
            try:
                self.contents.put_out(batch, those, out)
            except UserFunctionError as error:
                if error.batch is not batch:
                    raise
                row = error.row
                if row + 1 < len(batch):
                    ahead.append((batch.part(row + 1, len(batch)), those[row + 1 :]))
                ahead.append(self._named(error, batch, those[row]))
                if row:
                    ahead.append((batch.part(0, row), those[:row]))

    def _named(self, error: UserFunctionError, batch: Batch[Any], window: Window) -> UserFunctionError:
        """The error of a window; its record is what the window holds."""
        lost = batch.take((error.row,))
        (slot,) = lost.keys or (None,)
        lost.values[0] = WindowResult(slot.key, window, self.contents.shown(slot, lost.values[0])) if slot else None
        error.batch, error.row = lost, 0
        return error

    def put_out_in_order(self, fired: list[tuple[Slot, Window, Any]], out: Emit) -> None:
        """The same for windows that were found key by key: in the order of time, then of keys."""
        fired.sort(key=_time_and_key)
        self.put_out([one[0] for one in fired], [one[1] for one in fired], [one[2] for one in fired], out)

    def put_late(self, batch: Batch[Any], rows: Sequence[int]) -> None:
        """Gives late records to their side output, or drops and counts them."""
        tag = self.policy.late[self.contents.input]
        if tag is not None:
            self.context.side(tag, batch.take(rows))
            self.context.count("late put aside", len(rows))
            return
        self.context.count("late dropped", len(rows))
        if not self._has_told_late:
            self._has_told_late = True
            log.warning(
                "%s: a record came after its window had closed and was dropped (more are counted only); %s: %s",
                self.context.place,
                self.contents.late_remedy,
                batch.describe_row(rows[0]) or f"time {batch.timestamps[rows[0]] if batch.timestamps else None} ms",
            )

    def stored(self, value: Any) -> Any:
        """What a cell holds for a value that is kept."""
        cells = self.cells
        if type(value) in cells.plain or (self.contents.is_trusted and not cells.holds_bytes):
            return value
        return cells.encode(value)

    def value_of(self, cell: Cell) -> Any:
        """What is kept in a cell, or ABSENT."""
        if cell.value is NOT_LOADED:
            self.cells.load(cell)
        value = cell.value
        return self.cells.decode(value) if self.cells.holds_bytes and value is not ABSENT else value

    def close_time(self, window: Window) -> int:
        """The time at which a window is freed: a record for it is late from then on."""
        return self.close_after(window.end - 1)

    def close_after(self, final: int) -> int:
        """The time at which a window is freed whose end has come at `final`."""
        return min(final + self.lateness_ms, MAX_TIMESTAMP)

    def snapshot(self) -> Any:
        return self._now_ms if self.is_by_clock else None

    def restore(self, snapshots: list[Any]) -> None:
        if any(type(one) is not int for one in snapshots):
            super().restore(snapshots)  # of another operator that had this uid: refused
        # Event time may have taken the place of the clock: nothing asks for it then.
        self._now_ms = max(self._now_ms, *snapshots)

    def close(self) -> None:
        self.contents.close()

    def _look_at_clock(self, now_ms: int) -> None:
        # A clock that is set back does not open windows again, nor does one that was set back between two starts.
        self._now_ms = max(self._now_ms, now_ms)


def _time_and_key(fired: tuple[Slot, Window, Any]) -> tuple[int, bytes]:
    return fired[1].end, fired[0].stored[4:]


def keeps(contents: Contents) -> Any:
    """The type of what is kept, where it is part of another one: without a declared type only scalars, and no bytes,
    which could not be told from str."""
    return None | bool | int | float | str if contents.kept_type is Any else contents.kept_type
