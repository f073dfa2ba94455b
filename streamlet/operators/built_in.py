"""Process functions that the engine brings itself: deduplicate and batch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from streamlet.errors import JobDefinitionError
from streamlet.operators.process_function import KeyedProcessFunction, ProcessContext, TimerContext
from streamlet.state.descriptors import ListState, ValueState
from streamlet.state.lifetimes import StateTtl


def deduplicating(ttl: timedelta | StateTtl | None) -> KeyedProcessFunction[Any, Any, Any]:
    """Emits the first value of each key. In the state: one mark per key, until its time to live is over."""

    class FirstOfEachKey(KeyedProcessFunction[Any, Any, Any]):
        was_seen = ValueState(bool, ttl=ttl)

        def process_element(self, value: Any, ctx: ProcessContext[Any]) -> tuple[Any, ...] | None:
            if self.was_seen.value():
                return None
            self.was_seen.update(True)
            return (value,)

    return FirstOfEachKey()


def batching(size: int, within: timedelta, type_of_values: Any) -> KeyedProcessFunction[Any, Any, list[Any]]:
    """Emits lists of a key's values. In the state: those that wait, and when they have to go; nothing in between."""
    if type(size) is not int or size < 1:
        raise JobDefinitionError(f"the size of a batch is {size!r:.80}", remedy="give a whole number from 1 on")
    if not isinstance(within, timedelta) or within <= timedelta(0):
        raise JobDefinitionError(
            f"within={within!r:.80} is no time that a batch may wait", remedy="give timedelta(seconds=5)"
        )
    within_ms = max(1, within // timedelta(milliseconds=1))

    class Batches(KeyedProcessFunction[Any, Any, list[Any]]):
        waiting = ListState(type_of_values).told_by("type=")
        deadline = ValueState(int)

        def process_element(self, value: Any, ctx: ProcessContext[Any]) -> Iterator[list[Any]]:
            self.waiting.add(value)
            if len(self.waiting) >= size:
                yield self._closed(ctx)
            elif self.deadline.value() is None:
                deadline = ctx.now_ms() + within_ms
                self.deadline.update(deadline)
                ctx.timers.register_processing_time(deadline)

        def on_timer(self, timestamp: int, ctx: TimerContext[Any]) -> Iterator[list[Any]]:
            yield self._closed(ctx)

        def _closed(self, ctx: ProcessContext[Any]) -> list[Any]:
            values = self.waiting.get()
            self.waiting.clear()
            deadline = self.deadline.value()
            if deadline is not None:
                ctx.timers.delete_processing_time(deadline)
                self.deadline.clear()
            return values

    return Batches()
