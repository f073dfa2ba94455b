"""process: the user's own keyed function with state. Its declared states are all that it may remember."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from streamlet.elements import Batch
from streamlet.operators.functions import CallingOperator
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.place import function_error
from streamlet.state.descriptors import Descriptor, declared_states
from streamlet.state.store import bind_states

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")


class ProcessContext(Generic[K]):
    """What a process function knows about the record in hand."""

    __slots__ = ("key", "timestamp")
    key: K
    timestamp: int | None
    """Event time, epoch ms; None when the source gives none."""


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
        self.record: ProcessContext[Any] = ProcessContext()
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
                record.timestamp = timestamps[row] if timestamps is not None else None
                emitted = function(value, record)
                if emitted is not None:
                    before = len(values)
                    values.extend(emitted)
                    rows.extend([row] * (len(values) - before))
        except Exception as error:
            raise self.failure(error, batch, row) from error
        if values:
            keys, origins = batch.keys or (), batch.rows
            out(
                Batch(
                    values,
                    [timestamps[row] for row in rows] if timestamps is not None else None,
                    [keys[row] for row in rows],
                    split=batch.split,
                    origin=batch.origin,
                    rows=[origins[row] for row in rows] if origins is not None else rows,
                )
            )

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
