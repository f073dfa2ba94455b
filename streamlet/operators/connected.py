"""process over two streams: both keyed, or one keyed and one that every subtask gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlet.elements import Batch
from streamlet.errors import CheckpointError
from streamlet.operators.operator import Emit, OperatorContext, fails
from streamlet.operators.process import FunctionRunner
from streamlet.operators.process_function import (
    BroadcastContext,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
)
from streamlet.operators.user_code.raised import RAISED
from streamlet.state.broadcast import BroadcastTable, declared_tables
from streamlet.state.descriptor import Descriptor


class KeyedCoProcess(FunctionRunner[KeyedCoProcessFunction[Any, Any, Any, Any]]):
    """Runs a KeyedCoProcessFunction over inputs 0 and 1."""

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        assert self.running is not None
        self.run(self.running.process_element2 if index else self.running.process_element1, batch, out)


class KeyedBroadcastProcess(FunctionRunner[KeyedBroadcastProcessFunction[Any, Any, Any, Any]]):
    """Runs a KeyedBroadcastProcessFunction over a keyed input 0 and an input 1 that every subtask gets.

    Its tables are the same in every subtask at a barrier, since all got the same elements in the same order before it:
    so the snapshot of the first one is enough, and after a change of parallelism each has the whole table again.
    """

    takes_broadcast = True
    tables: Mapping[str, BroadcastTable[Any, Any]] = {}

    def declared_states(self) -> Mapping[str, Descriptor]:
        for one in declared_tables(self.function).values():
            one.table("this function")
        return super().declared_states()

    def open(self, context: OperatorContext) -> None:
        self.tables = {name: one.table(context.place.uid) for name, one in declared_tables(self.function).items()}
        self.told = BroadcastContext(context)
        super().open(context)

    def prepare(self, running: KeyedBroadcastProcessFunction[Any, Any, Any, Any]) -> None:
        for name, table in self.tables.items():
            object.__setattr__(running, name, table)

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        assert self.running is not None
        if index == 0:
            self.run(self.running.process_element, batch, out)
        else:
            self._take_in(batch)

    def snapshot(self) -> Any:
        if self.context.subtask or not self.tables:
            return None
        return {name: table.snapshot() for name, table in self.tables.items()}

    def restore(self, snapshots: list[Any]) -> None:
        for name, snapshot in snapshots[0].items():
            if name not in self.tables:
                place = self.context.place
                raise CheckpointError(
                    f"{place}: the checkpoint has broadcast state {name!r} of {place.operator}, which is not declared",
                    remedy="declare it again, or start without any state by --from none",
                )
            self.tables[name].restore(snapshot)

    def _take_in(self, batch: Batch[Any]) -> None:
        assert self.running is not None
        self.store.current = None
        told, function, timestamps = self.told, self.running.process_broadcast_element, batch.timestamps
        may_fail = self.context.leave_out is not fails
        self._let_write(True)
        try:
            for row, value in enumerate(batch.values):
                told.timestamp = timestamps[row] if timestamps is not None else None
                if may_fail:
                    self._note()
                try:
                    # A generator would look as if it had done its work.
                    if function(value, told) is not None:
                        raise TypeError("process_broadcast_element emits nothing, so it must give None (and not yield)")
                except RAISED as error:
                    for table in self.tables.values():
                        table.undo()
                    # It fails alike in every subtask, and the first one tells of it.
                    self.leave_out(error, batch, row, is_told=not self.context.subtask)
        finally:
            self._let_write(False)

    def _note(self) -> None:
        for table in self.tables.values():
            table.changes = []

    def _let_write(self, is_writable: bool) -> None:
        for table in self.tables.values():
            table.is_writable = is_writable
            table.changes = None
