"""Windows with triggers, of custom assigners, of counts, and global ones: the general way, window by window.

What is in the state: per key and open window, how many records came since it was put out, their earliest and latest
time, and what they made; what the trigger remembers; a timer for the window's end and those of the trigger.  All are
freed when the window closes, at its end plus the allowed lateness; global windows when the input ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamlet.elements import MAX_TIMESTAMP, Batch
from streamlet.errors import JobDefinitionError, UserFunctionError
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.timer_service import named_timer
from streamlet.operators.user_code.raised import RAISED
from streamlet.operators.windows.assigners import GlobalWindows, TimeDomain, Window, not_windows
from streamlet.operators.windows.contents import Contents
from streamlet.operators.windows.operator import PIECE, WindowOperator, WindowPolicy, keeps
from streamlet.operators.windows.triggers import TriggerContext
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import WindowState
from streamlet.state.evolution.schema import INT, Row, Schema
from streamlet.state.memory.cells import ABSENT, Slot
from streamlet.state.memory.timers import Due

_TRIGGER = b"t"
"""Behind the window in the namespace of a trigger's timer."""
_BOUNDS = 16


class Fired:
    """Windows to be put out as one batch, and what must be freed behind it."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.windows: list[Window] = []
        self.kept: list[Any] = []
        self.freed: list[tuple[Slot, Any]] = []


class TriggeredWindows(WindowOperator):
    """Asks assigner and trigger for each record."""

    def __init__(self, policy: WindowPolicy, contents: Contents) -> None:
        super().__init__(policy, contents)
        self.trigger = policy.trigger
        self.is_global = isinstance(policy.assigner, GlobalWindows)
        if self.is_by_clock and self.trigger.uses_event_time:
            raise JobDefinitionError(
                f"{type(self.trigger).__name__} by event time cannot be a trigger of windows by processing time",
                remedy='give it time="processing"',
            )

    @property
    def may_use_clock(self) -> bool:
        return True

    def kept_type(self) -> Any:
        return tuple[int, int, int, keeps(self.contents)]  # type: ignore[misc]

    def kept_schema(self, kept: Schema) -> Schema:
        return Row((INT, INT, INT, kept))

    def declared_states(self) -> Mapping[str, Descriptor]:
        return {**super().declared_states(), "trigger": WindowState(int)}

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.remembered = context.store.value_cells(context.states["trigger"])
        self.hand = TriggerContext(context.now_ms, self._set_timer)

    def take(self, batch: Batch[Any], times: Sequence[int], out: Emit) -> None:
        assign = self.policy.assigner.assign
        has_times = batch.timestamps is not None or self.is_by_clock
        fired, late, row, given = Fired(), [], 0, None
        inputs = self.contents.inputs(batch)
        try:
            for row, (slot, time, taken) in enumerate(zip(batch.keys or (), times, inputs, strict=False)):
                value = batch.values[row]
                given = assign(value, time)
                windows = list(given)
                span = Window(time, time + has_times)
                # A record is late when all its windows have closed.
                if windows and not sum(self._take_one(slot, one, span, taken, value, fired) for one in windows):
                    late.append(row)
                elif fired.slots and (self.contents.fold is None or len(fired.slots) >= PIECE):
                    # At once: where records are kept, those that are discarded may be begun anew by the next one.
                    self._finish(fired, out)
                    fired = Fired()
        except UserFunctionError:
            raise
        except RAISED as error:
            raise self.failure(not_windows(given, error) or error, batch, row) from error
        self._finish(fired, out)
        if late:
            self.put_late(batch, late)

    def _take_one(self, slot: Slot, window: Window, span: Window, taken: Any, value: Any, fired: Fired) -> bool:
        """False when the window has closed."""
        final, progress = self.trigger.closes_at(window), self.progress
        if self.close_after(final) <= progress and window.end > window.start:
            return False
        namespace = window.namespace
        cell = self.cells.cell(slot, namespace)
        known = self.value_of(cell)
        if known is ABSENT:
            if window.end <= window.start:
                raise ValueError(
                    f"the assigner gave {window}, which holds no time: give an end that is after the start"
                )
            self.timers.set(slot, final if final > progress else self.close_after(final), namespace)
            entry = (1, span.start, span.end, self.contents.first(slot, namespace, taken))
        else:
            count, start, end, kept = known
            entry = (count + 1, min(start, span.start), max(end, span.end), self.contents.add(slot, kept, taken))
        is_due = self._ask(slot, window, entry[0], value, span.start)
        if is_due or final <= progress:
            self._fire_one(slot, window, entry, fired)
        else:
            self.cells.change(cell, self.stored(entry))
        return True

    def fire(self, slots: Sequence[Slot], due: Sequence[Due], until: int, out: Emit) -> None:
        fired = Fired()
        domain: TimeDomain = "processing" if self.is_by_clock else "event"
        for slot, (time, _, namespace) in zip(slots, due, strict=True):
            window = Window.of(namespace)
            cell = self.cells.cell(slot, window.namespace)
            entry = self.value_of(cell)
            count = 0 if entry is ABSENT else entry[0]
            if len(namespace) > _BOUNDS:
                if self._is_timer_due(slot, window, count, time + self.is_by_clock, domain) and count:
                    self._fire_one(slot, window, entry, fired)
                continue
            final = self.trigger.closes_at(window)
            if time == final and count:
                self._fire_one(slot, window, entry, fired)
                entry = self.value_of(cell)
            if time >= self.close_after(final):  # behind it where lateness was longer when the timer was set
                if entry is not ABSENT:
                    self.cells.change(cell, ABSENT)
                    fired.freed.append((slot, entry[3]))
                self._remember(slot, window, None)
            else:
                self.timers.set(slot, self.close_after(final), namespace)
        self._finish(fired, out)

    def fire_by_clock(self, slots: Sequence[Slot], due: Sequence[Due], out: Emit) -> None:
        fired = Fired()
        for slot, (time, _, namespace) in zip(slots, due, strict=True):
            window = Window.of(namespace)
            entry = self.value_of(self.cells.cell(slot, window.namespace))
            count = 0 if entry is ABSENT else entry[0]
            if self._is_timer_due(slot, window, count, time, "processing") and count:
                self._fire_one(slot, window, entry, fired)
        self._finish(fired, out)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _fire_one(self, slot: Slot, window: Window, entry: Any, fired: Fired) -> None:
        _, start, end, kept = entry
        fired.slots.append(slot)
        fired.windows.append(Window(start, end) if self.is_global else window)
        fired.kept.append(kept)
        cell = self.cells.cell(slot, window.namespace)
        if self.policy.is_accumulating:
            self.cells.change(cell, self.stored((0, start, end, kept)))
            return
        self.cells.change(cell, ABSENT)
        fired.freed.append((slot, kept))
        if self.remembered.value(slot, window.namespace) is ABSENT:
            self.timers.delete(slot, self.trigger.closes_at(window), window.namespace)

    def _finish(self, fired: Fired, out: Emit) -> None:
        self.put_out(fired.slots, fired.windows, fired.kept, out)
        for slot, kept in fired.freed:
            self.contents.free(slot, kept)

    def _ask(self, slot: Slot, window: Window, count: int, value: Any, time: int) -> bool:
        hand = self._hold(slot, window, count)
        is_due = self.trigger.on_record(value, time, hand)
        self._remember(slot, window, hand.state)
        return is_due

    def _is_timer_due(self, slot: Slot, window: Window, count: int, time: int, domain: TimeDomain) -> bool:
        """False also where the trigger raises and the policy leaves out what does: the window waits for what is next
        to put it out."""
        hand, undo_log = self._hold(slot, window, count), self.context.undo_log
        if undo_log is not None:
            undo_log.restart()
        try:
            is_due = bool(self.trigger.on_timer(time, hand))
            self._remember(slot, window, hand.state)
        except RAISED as error:
            self.leave_out_alone(error, named_timer(domain, time, slot, window))
            is_due = False
        if undo_log is not None:
            undo_log.close()
        return is_due

    def _hold(self, slot: Slot, window: Window, count: int) -> TriggerContext:
        hand = self.hand
        self._slot = slot
        known = self.remembered.value(slot, window.namespace)
        hand.window, hand.count, hand.state = window, count, None if known is ABSENT else known
        return hand

    def _remember(self, slot: Slot, window: Window, state: int | None) -> None:
        known = self.remembered.value(slot, window.namespace)
        if state is None and known is not ABSENT:
            self.remembered.change(self.remembered.cell(slot, window.namespace), ABSENT)
        elif state is not None and state != known:
            self.remembered.update(slot, state, window.namespace)

    def _set_timer(self, time: int, domain: TimeDomain) -> None:
        window = self.hand.window
        time = min(time, MAX_TIMESTAMP)
        if domain == "processing" and not self.is_by_clock:
            assert self.clock is not None, "declared above"
            self.clock.set(self._slot, time, window.namespace)
        elif domain == "event" and self.is_by_clock:
            raise ValueError("a trigger of windows by processing time cannot set timers by event time")
        elif time - self.is_by_clock < self.trigger.closes_at(window):
            self.timers.set(self._slot, time - self.is_by_clock, window.namespace + _TRIGGER)
