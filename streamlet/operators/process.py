"""process: the user's own keyed function with state and timers. Its declared states are all that it may remember."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from streamlet.elements import MAX_TIMESTAMP, Batch, OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.operators.functions import CallingOperator, whole
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.process_function import (
    KeyedProcessFunction,
    ProcessContext,
    ProcessFunction,
    TimeDomain,
    TimerContext,
)
from streamlet.operators.timer_service import TimerService, named_timer
from streamlet.operators.user_code.misuse import assigned, tags_of
from streamlet.operators.user_code.pausing import Pause
from streamlet.operators.user_code.place import function_error
from streamlet.operators.user_code.raised import RAISED
from streamlet.state.binding import bind_states
from streamlet.state.broadcast import declared_tables
from streamlet.state.descriptor import Descriptor, declared_states, ttl_timers
from streamlet.state.descriptors import TimerState
from streamlet.state.lifetimes import Lifetimes
from streamlet.state.memory.timers import Timers

F = TypeVar("F", bound=ProcessFunction[Any, Any])

EVENT_TIMERS = "@event timers"
PROCESSING_TIMERS = "@processing timers"
TURN = 2000
"""So many timers fire, or values come out of them, before others get a turn."""
_TURN = [None] * TURN


class FunctionRunner(CallingOperator, Generic[F]):
    """Runs a process function on its own copy, over any number of inputs.

    What is in the state: what the function declares, until it clears it or its time to live is over; and its timers,
    until they have fired.
    """

    takes_broadcast = False

    def __init__(self, function: F) -> None:
        self.function = function
        self.has_timers = type(function).on_timer is not ProcessFunction.on_timer
        self.running: F | None = None
        ttls = [(name, one.ttl) for name, one in declared_states(function).items() if one.ttl is not None]
        self._ttl_timers = [ttl_timers(name) for name, _ in ttls]
        self.uses_time = any(ttl.time == "event" for _, ttl in ttls)

    @property
    def side_outputs(self) -> Collection[OutputTag[Any]]:
        return tags_of(self.function)

    def declared_states(self) -> Mapping[str, Descriptor]:
        declared = declared_states(self.function)
        if declared_tables(self.function) and not self.takes_broadcast:
            raise JobDefinitionError(
                "broadcast state needs a stream that every subtask gets",
                remedy="derive the function from KeyedBroadcastProcessFunction, and run it by "
                "keyed.connect_broadcast(rules).process(function)",
            )
        if self.has_timers:
            declared |= {EVENT_TIMERS: TimerState(), PROCESSING_TIMERS: TimerState()}
        return declared | {name: TimerState() for name in self._ttl_timers}

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.store = store = context.store
        self.event, self.processing = (
            store.timers(context.states[name]) if self.has_timers else None
            for name in (EVENT_TIMERS, PROCESSING_TIMERS)
        )
        self.timers = TimerService(context, store, self.event, self.processing)
        self.record: ProcessContext[Any] = ProcessContext(context, self.timers)
        self.timer: TimerContext[Any] = TimerContext(context, self.timers)
        running = copy.deepcopy(self.function)
        self.lifetimes = Lifetimes(context.now_ms)
        bind_states(running, store, list(context.states.values()), self.lifetimes)
        self._handles = {name: getattr(running, name) for name in declared_states(running)}
        self.prepare(running)
        try:
            running.open()
        except RAISED as error:
            raise function_error(error, context.place, subtask=context.subtask) from error
        self.running = running

    def prepare(self, running: F) -> None:
        """Called for the copy before its `open`."""

    def run(self, function: Callable[..., Any], batch: Batch[Any], out: Emit) -> None:
        """Calls `function` for each record of a keyed batch, then fires what that made due."""
        store, record = self.store, self.record
        self.lifetimes.told = record
        timestamps = batch.timestamps
        values: list[Any] = []
        rows: list[int] = []
        row = -1
        pause = self.context.pause
        ahead = batch.values if pause is None else pause.begin(batch.values)
        try:
            for row, (slot, value) in enumerate(zip(batch.keys or (), ahead, strict=False)):
                store.current = slot
                record.key = slot.key
                record._row = row
                record.timestamp = timestamps[row] if timestamps is not None else None
                emitted = function(value, record)
                if emitted is not None:
                    before = len(values)
                    values.extend(whole(emitted))
                    rows.extend([row] * (len(values) - before))
        except RAISED as error:
            record._sides = {}
            raise self.failure(error, batch, row) from error
        if pause is not None:
            pause.end(len(batch), row + 1)
        assigned(self.running, self._handles, str(self.context.place))
        self.put_out(batch, values, rows, record, out)
        self._fire_overdue(out)

    def on_watermark(self, timestamp: int, out: Emit) -> bool | None:
        if self.event is not None:
            self.timers.is_ending = timestamp == MAX_TIMESTAMP
            has_more = self._fire(self.event, "event", timestamp, out)
            self.timers.is_ending = self.timers.is_overdue = False
            if has_more:
                return True
        self.lifetimes.event_now = timestamp
        # At the end everything is over by event time, and nobody comes who could see it.
        return timestamp != MAX_TIMESTAMP and self.lifetimes.sweep(self.store, "event", timestamp, TURN)

    def next_clock_ms(self) -> int | None:
        fires = None if self.processing is None else self.processing.next_time()
        frees = self.lifetimes.next_ms()
        return fires if frees is None else frees if fires is None else min(fires, frees)

    def on_clock(self, now_ms: int, out: Emit) -> None:
        if self.processing is not None:
            self._fire(self.processing, "processing", now_ms, out)
            self._fire_overdue(out)
        self.lifetimes.sweep(self.store, "processing", now_ms, TURN)

    def on_end(self, out: Emit) -> None:
        if self.processing is not None:
            self.timers.is_ending = True
            while self._fire(self.processing, "processing", MAX_TIMESTAMP, out):
                pass
            self.timers.is_ending = False

    def close(self) -> None:
        if self.running is not None:
            self.running.close()
            self.running = None

    def put_out(
        self, batch: Batch[Any], values: list[Any], rows: list[int], told: ProcessContext[Any], out: Emit
    ) -> None:
        """Emits what was made of some rows of a batch, and what was put out under tags meanwhile."""
        if values:
            out(batch.take(rows, values))
        if told._sides:
            sides, told._sides = told._sides, {}
            for tag, (tagged, rows) in sides.items():
                if tagged:
                    self.context.side(tag, batch.take(rows, tagged))

    def _fire_overdue(self, out: Emit) -> None:
        while self.timers.is_overdue and self.event is not None:
            self.timers.is_overdue = False
            while self._fire(self.event, "event", self.context.event_time.watermark, out):
                pass

    def _fire(self, timers: Timers, domain: TimeDomain, until: int, out: Emit) -> bool:
        """Fires the next timers that are not after `until`; True when there may be more."""
        assert self.running is not None
        store, timer, on_timer, lookup = self.store, self.timer, self.running.on_timer, self.store.lookup
        undo_log, lifetimes = self.context.undo_log, self.lifetimes
        timer.domain, lifetimes.told = domain, timer if domain == "event" else None
        times, rows = list[int](), list[int]()
        slots, values = list[Any](), list[Any]()
        pause, has_more = self.context.pause, True
        for _ in iter(_TURN) if pause is None else pause.begin(_TURN):
            if len(values) >= TURN:
                break
            if (due := timers.pop(until)) is None:
                has_more = False
                break
            (slot,) = lookup((due.key,))
            store.current = slot
            timer.key, timer.timestamp = slot.key, due.time
            if domain == "event" and due.time > lifetimes.event_now:
                lifetimes.event_now = due.time
            timer._row = len(times)
            times.append(due.time)
            slots.append(slot)
            before = len(values)
            if undo_log is not None:
                undo_log.restart()
            try:
                emitted = on_timer(due.time, timer)
                if emitted is not None:
                    values.extend(whole(emitted))
                    rows.extend([timer._row] * (len(values) - before))
            except RAISED as error:
                self.leave_out_alone(error, named_timer(domain, due.time, slot))
                del values[before:]
                timer._take_back()
            if undo_log is not None:
                undo_log.close()
        Pause.over()
        self.put_out(Batch(values, times, slots), values, rows, timer, out)
        return has_more


class KeyedProcess(FunctionRunner[KeyedProcessFunction[Any, Any, Any]]):
    """Runs a KeyedProcessFunction."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        assert self.running is not None
        self.run(self.running.process_element, batch, out)
