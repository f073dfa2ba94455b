"""lookup_join: values with what a table holds for their key now, and the table is a stream that every subtask gets.

```text
table > TableFeed, one subtask: order, "it is loaded" > LookupJoin, each with the whole table < values
```

What is in the checkpoint: the table, whole and once; and the values that wait until it is loaded, where the job says
that they should.  A key of the table is there until an element removes it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any, Literal

import msgspec

from streamlet.elements import MIN_TIMESTAMP, Batch
from streamlet.operators.asynchronous.in_flight import Call, FlightCodec, OrderedFlight, Origins
from streamlet.operators.functions import CallingOperator
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.state.broadcast import BroadcastTable
from streamlet.state.memory.cells import KeyOfRow

WaitFor = Literal["nothing", "watermark", "end"]

PIECE = 1000
"""Values that waited and are put out before others get a turn."""
_NOT_THERE: Any = object()


class TableLoaded(msgspec.Struct, frozen=True):
    """Comes among the elements of a table and says that what came before is enough to begin with."""


class TableFeed(Operator):
    """Brings the elements of a table into one order, and says when it is loaded. Nothing is in its state."""

    def __init__(self, wait_for: WaitFor) -> None:
        self.wait_for = wait_for
        self.uses_time = wait_for == "watermark"

    def process(self, batch: Batch[Any], out: Emit) -> None:
        out(batch.with_keys(None))

    def on_watermark(self, timestamp: int, out: Emit) -> None:
        # Each time: it is not known here whether it was said before a restore.
        if self.wait_for == "watermark" and timestamp != MIN_TIMESTAMP:
            out(Batch([TableLoaded()]))
            self.wait_for = "nothing"

    def on_end(self, out: Emit) -> None:
        if self.wait_for == "end":
            out(Batch([TableLoaded()]))


class Lookup(msgspec.Struct, frozen=True):
    """What the job says of a lookup join."""

    function: Callable[[Any, Any], Any]
    key: Callable[[Any], Any]
    table_key: Callable[[Any], Any]
    wait_for: WaitFor
    is_outer: bool = False
    is_removed: Callable[[Any], Any] | None = None
    key_type: Any = str
    table_type: Any = Any
    type: Any = Any
    """That of the values, by which those that wait are kept."""


class LookupJoin(CallingOperator):
    """Values are input 0, elements of the table input 1. All subtasks get the same elements in the same order."""

    leaves_out = True

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self._is_loaded = lookup.wait_for == "nothing"
        self._waiting = OrderedFlight()
        self._has_asked = False

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        lookup = self.lookup
        self._table: BroadcastTable[Any, Any] = BroadcastTable(
            "table", context.place.uid, lookup.key_type, lookup.table_type, option="table_type="
        )
        self._table.is_writable = True
        self._codec = FlightCodec(lookup.type, context)

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        if index:
            self._take_in(batch)
        elif self._is_loaded and not len(self._waiting):
            self._put_out(batch, out)
        else:
            self._hold(batch)

    def held_watermark(self) -> int | None:
        return self._waiting.held_watermark

    def on_clock(self, now_ms: int, out: Emit) -> None:
        self._has_asked = False
        if not self._is_loaded:
            return
        # Several batches may stand together, with times and keys or without.
        for (has_time, has_key), group in groupby(self._waiting.take(PIECE), _columns):
            calls = list(group)
            values = [call.batch.values[call.row] for call in calls]
            times: Any = [call.timestamp for call in calls] if has_time else None
            slots = [call.slot for call in calls] if has_key else None
            self._put_out(Batch(values, times, slots, origin=Origins(calls)), out)
        self._ask()

    def snapshot(self) -> Any:
        table = None if self.context.subtask else self._table.snapshot()
        return {"table": table, "is_loaded": self._is_loaded, "waiting": self._codec.snapshot(self._waiting)}

    def restore(self, snapshots: list[Any]) -> None:
        for one in snapshots:
            self._is_loaded |= one["is_loaded"]
            if one["table"] is not None:
                self._table.restore(one["table"])
        store = self.context.store
        slot_of: Callable[[Any], Any] = KeyOfRow if store is None else lambda key: store.lookup([key])[0]
        for call in self._codec.restore([one["waiting"] for one in snapshots if one["waiting"] is not None], slot_of):
            self._waiting.add(call)
            self._waiting.end(call)
        self._ask()

    def _take_in(self, batch: Batch[Any]) -> None:
        if batch.values and type(batch.values[0]) is TableLoaded:
            self._is_loaded = True
            self._ask()
            return
        # It fails alike in every subtask, and the first one tells of it.
        self.call_most(self._change, batch, is_told=not self.context.subtask)

    def _change(self, value: Any) -> None:
        lookup = self.lookup
        key = lookup.table_key(value)
        if lookup.is_removed is not None and lookup.is_removed(value):
            self._table.remove(key)
        else:
            self._table.put(key, value)

    def _put_out(self, batch: Batch[Any], out: Emit) -> None:
        batch, found = self.call_most(self._look, batch)
        if any(one is _NOT_THERE for one in found):
            if self.lookup.is_outer:
                found = [None if one is _NOT_THERE else one for one in found]
            else:
                batch = batch.take([row for row, one in enumerate(found) if one is not _NOT_THERE])
                found = [one for one in found if one is not _NOT_THERE]
        batch, results = self.call_most(self.lookup.function, batch, batch.values, found)
        if results:
            out(batch.with_values(results))

    def _look(self, value: Any) -> Any:
        key = self.lookup.key(value)
        return _NOT_THERE if key is None else self._table.get(key, _NOT_THERE)

    def _hold(self, batch: Batch[Any]) -> None:
        watermark = self.context.current_watermark
        batch, packed = self.call_most(self._codec.pack, batch)
        values = [value for value, _ in packed]
        mine = batch.with_values(values)
        for row, (_, data) in enumerate(packed):
            call = Call(mine, row, data, watermark)
            self._waiting.add(call)
            self._waiting.end(call)
        self._ask()

    def _ask(self) -> None:
        """Sees to it that `on_clock` comes, if there is anything to put out."""
        if self._is_loaded and not self._has_asked and len(self._waiting):
            self._has_asked = True
            self.context.wake()


def _columns(call: Call) -> tuple[bool, bool]:
    return call.timestamp is not None, call.slot is not None
