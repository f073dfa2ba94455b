"""What joins of two keyed streams share: late records, timers, and putting pairs out.

Both sides have the same key, and event time is the lower one of both.  A record whose time is not after the watermark
is late: it joins nothing.  So what is put out depends on the records that were not late alone, in whatever order both
sides came.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from streamlet.elements import MAX_TIMESTAMP, Batch, OutputTag
from streamlet.errors import StateTypeError
from streamlet.operators.functions import CallingOperator, call_most
from streamlet.operators.joins.buffers import NAMES, JoinBuffers, KeyRows
from streamlet.operators.joins.settings import judge
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import TimerState
from streamlet.state.memory.cells import Slot

log = logging.getLogger("streamlet.operators")

How = Literal["inner", "left", "right", "full"]
HOWS: tuple[How, ...] = ("inner", "left", "right", "full")

PIECE = 256
"""Keys that are looked at together when time moves on."""
PIECES = 8
"""Rounds of these before others get a turn."""


@dataclass(frozen=True)
class Join:
    """What the job says of a join, whatever it joins by."""

    function: Callable[..., Any]
    """Of both values, and of the window where there is one."""
    how: How = "inner"
    types: tuple[Any, Any] = (Any, Any)
    """The types of both sides, by which rows are stored."""
    late: tuple[OutputTag[Any] | None, OutputTag[Any] | None] = (None, None)

    @property
    def keeps_unmatched(self) -> tuple[bool, bool]:
        """Which sides are put out also without a partner."""
        return self.how in ("left", "full"), self.how in ("right", "full")


@dataclass
class Pairs:
    """What is to be put out, as columns."""

    lefts: list[Any] = field(default_factory=list)
    rights: list[Any] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """The row of the batch in hand that each belongs to."""

    def add(self, left: Any, right: Any, time: int, slot: Slot, row: int = 0) -> None:
        self.lefts.append(left)
        self.rights.append(right)
        self.times.append(time)
        self.slots.append(slot)
        self.rows.append(row)

    def sort(self) -> None:
        """Puts them in the order of time, then of keys."""
        order = sorted(range(len(self.times)), key=lambda at: (self.times[at], self.slots[at].stored[4:]))
        columns: tuple[list[Any], ...] = (self.lefts, self.rights, self.times, self.slots)
        for column in columns:
            column[:] = [column[at] for at in order]


class KeyedJoin(CallingOperator):
    """Takes both sides into buffers, and frees them as event time moves on. One timer per key is enough for that."""

    uses_time = True
    leaves_out = True

    def __init__(self, join: Join, marked: Sequence[bool] = (False, False)) -> None:
        self.join = join
        self.buffers = JoinBuffers(join.types, marked)
        self._has_told_late = False

    @property
    def side_outputs(self) -> Collection[OutputTag[Any]]:
        return [tag for tag in self.join.late if tag is not None]

    @property
    def bounds(self) -> dict[str, Any]:
        """What decides which rows are kept, as values in a checkpoint."""
        return {}

    def declared_states(self) -> Mapping[str, Descriptor]:
        states = {**self.buffers.declared_states(), "timers": TimerState()}
        states["held"].under({"join": type(self).__name__, "how": self.join.how, **self.bounds}, judge)
        return states

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.store = context.store
        self.buffers.open(context)
        self.timers = context.store.timers(context.states["timers"])

    def take(self, index: int, slot: Slot, time: int, value: Any, stored: Any, row: int, found: Pairs) -> None:
        """Takes one record that is not late; `stored` is its value as the buffers hold it."""
        raise NotImplementedError

    def earliest(self, rows: KeyRows) -> int | None:
        """When something of this key can be put out or freed."""
        raise NotImplementedError

    def release(self, slot: Slot, rows: KeyRows, until: int, found: Pairs) -> None:
        """Puts out and frees what this time allows."""
        raise NotImplementedError

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        watermark = self.context.event_time.watermark
        times: Sequence[int] = batch.timestamps if batch.timestamps is not None else [0] * len(batch)
        found = Pairs()
        late: list[int] = []
        take, plain, encode = self.take, self.buffers.cells[index].plain, self.buffers.cells[index].encode
        self.buffers.refresh()
        columns: Iterable[tuple[Any, int, Any]] = zip(batch.keys or (), times, batch.values, strict=True)
        for row, (slot, time, value) in enumerate(columns):
            if time <= watermark:
                late.append(row)
                continue
            try:
                stored = value if type(value) in plain else encode(value)
            except StateTypeError as error:
                self.leave_out(error, batch, row)
            else:
                take(index, slot, time, value, stored, row, found)
        self.put_out(found, batch, index, out)
        if late:
            self._put_late(index, batch, late)

    def on_watermark(self, timestamp: int, out: Emit) -> bool | None:
        for _ in range(PIECES):
            self.buffers.refresh()
            due = self.timers.pop_some(timestamp, PIECE)
            if not due:
                return None
            found = Pairs()
            for slot in dict.fromkeys(self.store.lookup([one.key for one in due])):
                rows = self.buffers.of(slot)
                self.release(slot, rows, timestamp, found)
                rows.due = None
                self.follow(slot, rows)
                self.buffers.forget_if_empty(slot, rows)
            found.sort()
            self.put_out(found, None, 0, out)
        return True

    def follow(self, slot: Slot, rows: KeyRows) -> None:
        """Sees to it that a timer comes when there is something to do for this key."""
        at = self.earliest(rows)
        if at is not None and (rows.due is None or at < rows.due):
            rows.due = at
            self.timers.set(slot, at)

    def put_out(self, found: Pairs, batch: Batch[Any] | None, index: int, out: Emit) -> None:
        """Emits what the function makes of pairs. A pair for which it fails is left out, if anything is: both values
        have met then, and meet others."""
        if not found.times:
            return
        named = Batch(found.lefts, found.times, found.slots)
        if batch is not None:
            named.origin, named.split = batch.origin, batch.split
            named.rows = found.rows if batch.rows is None else [batch.rows[row] for row in found.rows]

        def leave_out(error: BaseException, row: int) -> None:
            pair = named.take((row,))
            pair.values[0] = (found.lefts[row], found.rights[row])
            self.leave_out(error, pair, 0)

        results, gone = call_most(self.join.function, (found.lefts, found.rights), leave_out)
        out(named.without(gone).with_values(results))

    def _put_late(self, index: int, batch: Batch[Any], rows: Sequence[int]) -> None:
        """Gives late records to their side output, or drops and counts them."""
        tag = self.join.late[index]
        if tag is not None:
            self.context.side(tag, batch.take(rows))
            self.context.count("late put aside", len(rows))
            return
        self.context.count("late dropped", len(rows))
        if not self._has_told_late:
            self._has_told_late = True
            log.warning(
                "%s: a record of the %s side came late and was dropped (more are counted only); "
                "%s_late=OutputTag(...) keeps them: %s",
                self.context.place,
                NAMES[index],
                NAMES[index],
                batch.describe_row(rows[0]) or f"time {batch.timestamps[rows[0]] if batch.timestamps else None} ms",
            )


def bounded(time: int) -> int:
    """A time that is not behind the end of time."""
    return min(time, MAX_TIMESTAMP)
