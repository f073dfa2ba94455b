"""process: the user's own keyed function with state. Its declared states are all that it may remember."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from streamlet.elements import Batch, OutputTag
from streamlet.operators.emitting import whole
from streamlet.operators.functions import CallingOperator
from streamlet.operators.operator import Emit, EventTime, OperatorContext
from streamlet.operators.place import function_error
from streamlet.state.descriptors import Descriptor, declared_states
from streamlet.state.store import bind_states

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")


class ProcessContext(Generic[K]):
    """What a process function knows about the record in hand."""

    __slots__ = ("_event_time", "_row", "_sides", "key", "timestamp")
    key: K
    timestamp: int | None
    """Event time, epoch ms; None when the source gives none."""

    def __init__(self, event_time: EventTime) -> None:
        self._event_time = event_time
        self._row = 0
        self._sides: dict[OutputTag[Any], tuple[list[Any], list[int]]] = {}

    @property
    def current_watermark(self) -> int:
        """How far event time has come here, epoch ms: a record of this time or before is late. `MIN_TIMESTAMP` before
        the first watermark, and always where the source has no watermark strategy."""
        return self._event_time.watermark

    def output(self, tag: OutputTag[T], value: T) -> None:
        """Puts a value out under a tag, with the time of the record in hand; see `Stream.side_output`."""
        values, rows = self._sides.setdefault(tag, ([], []))
        values.append(value)
        rows.append(self._row)


class KeyedProcessFunction(Generic[K, T, R]):
    """A function of a key's records and a key's state.

    States are class attributes, and every subtask works on its own copy of the instance:

    ```python
    class Latest(KeyedProcessFunction[str, Reading, Alarm]):
        last = ValueState(int)

        def process_element(self, value, ctx):
            if value.level < (self.last.value() or 0):
                yield Alarm(ctx.key)
            self.last.update(value.level)
    ```

    Anything else that the instance remembers is lost at a restart.
    """

    def open(self) -> None:
        """Called once per subtask before the first record."""

    def process_element(self, value: T, ctx: ProcessContext[K]) -> Iterable[R] | None:
        """Handles one record; gives what it emits (it may be a generator), or None for nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """Called once per subtask at the end, also after a failure."""


def _rows_of(batch: Batch[Any], values: list[Any], rows: list[int]) -> Batch[Any]:
    """A batch of these values, each with what its row of `batch` has beside the value."""
    timestamps, keys, origins = batch.timestamps, batch.keys or (), batch.rows
    return Batch(
        values,
        [timestamps[row] for row in rows] if timestamps is not None else None,
        [keys[row] for row in rows],
        split=batch.split,
        origin=batch.origin,
        rows=[origins[row] for row in rows] if origins is not None else rows,
    )


class KeyedProcess(CallingOperator):
    """Runs a KeyedProcessFunction. What is in the state: what the function declares, until it clears it."""

    def __init__(self, function: KeyedProcessFunction[Any, Any, Any]) -> None:
        self.function = function
        self._running: KeyedProcessFunction[Any, Any, Any] | None = None

    def declared_states(self) -> Mapping[str, Descriptor]:
        return declared_states(self.function)

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.store = context.store
        self.record: ProcessContext[Any] = ProcessContext(context.event_time)
        running = copy.deepcopy(self.function)
        bind_states(running, context.store, list(context.states.values()))
        try:
            running.open()
        except Exception as error:
            raise function_error(error, context.place, subtask=context.subtask) from error
        self._running = running

    def process(self, batch: Batch[Any], out: Emit) -> None:
        assert self._running is not None
        store, record, function = self.store, self.record, self._running.process_element
        timestamps = batch.timestamps
        values: list[Any] = []
        rows: list[int] = []
        row = 0
        try:
            for row, (slot, value) in enumerate(zip(batch.keys or (), batch.values, strict=True)):
                store.current = slot
                record.key = slot.key
                record._row = row
                record.timestamp = timestamps[row] if timestamps is not None else None
                emitted = function(value, record)
                if emitted is not None:
                    before = len(values)
                    values.extend(whole(emitted))
                    rows.extend([row] * (len(values) - before))
        except Exception as error:
            raise self.failure(error, batch, row) from error
        if values:
            out(_rows_of(batch, values, rows))
        if record._sides:
            sides, record._sides = record._sides, {}
            for tag, (tagged, rows) in sides.items():
                self.context.side(tag, _rows_of(batch, tagged, rows))

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
