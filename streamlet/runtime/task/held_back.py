"""What waits in front of an operator of a chain: a call into the chain ends soon, however much there is to do.

```text
batch > HeldBack > operator > HeldBack > operator > leaf
           |  the turn is over: the rest of the batch waits here, and is worked off in later turns
```

Event time and the end of the input do not overtake what waits.  A barrier does: what waits goes into the snapshot, as
columns of values that come back exactly as they were.  Where values are not of that kind, it is worked off before the
barrier.  After a restore what waits comes first, in the subtask that has its keys, or the split that it was read from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from streamlet.checkpoint.manifest import operator_key
from streamlet.elements import Batch
from streamlet.errors import CheckpointError, ExchangeError, StreamletError
from streamlet.graph.job_graph import Node, Routing
from streamlet.operators.operator import Emit, Operator
from streamlet.operators.user_code.pausing import Pause
from streamlet.runtime.task.columns import Part, packed, unpacked
from streamlet.runtime.task.meter import Meter
from streamlet.state.encoding.key_groups import key_group, pack_key, subtask_of
from streamlet.state.memory.cells import KeyOfRow

HELD_BACK = "@held back"
"""Behind the uid of an operator: what waits in front of it."""
_TURN_SECONDS = 0.02
"""So long one call into a chain may take: what is not done by then waits."""
_CALL_SECONDS = 0.01
"""So long one operator is called at once."""
_QUICK_SECONDS = 0.002

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Part]).decode


class Turn:
    """One call into a chain, shared by all of its operators."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.ends_at = 0.0
        self.spent = 0.0
        """By all calls of operators together, with what those called in turn."""
        self.pause: Pause | None = Pause()
        self.inside = 0
        """How many batches wait between operators of the chain."""

    def run(self, way: Emit, batch: Batch[Any]) -> int:
        """Calls an operator; gives how many rows it has done, for it may have been stopped."""
        pause = self.pause
        if pause is None:
            way(batch)
            return len(batch)
        before, pause.undone = pause.undone, 0
        way(batch)
        done = len(batch) - pause.undone
        pause.undone = before
        return done

    def begin(self) -> None:
        """The event loop is held from now on."""
        self.ends_at = self.monotonic() + _TURN_SECONDS

    @property
    def is_over(self) -> bool:
        return self.monotonic() > self.ends_at


class _Waiting:
    """The rest of a batch."""

    __slots__ = ("batch", "index", "on_begun", "watermark")

    def __init__(self, batch: Batch[Any], index: int, watermark: int, on_begun: Callable[[], None] | None) -> None:
        self.batch = batch
        self.index = index
        """Of the input that it came by."""
        self.watermark = watermark
        """What stood here when it came."""
        self.on_begun = on_begun


class HeldBack(Operator):
    """The queue in front of one operator.  It is a step of the chain, and has the uid of the operator behind it."""

    def __init__(
        self,
        turn: Turn,
        ways: Sequence[Emit],
        inputs: Sequence[str],
        is_hashed: Sequence[bool],
        *,
        is_head: bool,
        may_keep: bool,
        may_keep_unkeyed: bool,
    ) -> None:
        """`ways` and `inputs`: what takes a batch of each input of the operator, and whose output it is, where there
        are several; `is_hashed`: whether its keys are keys still, and no slots.  With `may_keep` a checkpoint may have
        what waits; with `may_keep_unkeyed` also rows without a key, whose subtask nobody may know later."""
        self._turn = turn
        self._ways = ways
        self._inputs = inputs
        self._is_hashed = is_hashed
        self._is_head = is_head
        self._may_keep = may_keep
        self._may_keep_unkeyed = may_keep_unkeyed
        self._waiting: deque[_Waiting] = deque()
        self._size = 1
        self.meter = Meter()
        """That of the operator behind it."""

    def entrance(self, index: int) -> Emit:
        """What takes the batches of an input: as many records at once as take a moment, until the turn is over."""
        way, turn, monotonic = self._ways[index], self._turn, self._turn.monotonic

        def enter(batch: Batch[Any]) -> None:
            began = monotonic()
            if self._waiting or began > turn.ends_at or len(batch) > self._size:
                self._take(way, batch, index)
                return
            before = turn.spent
            done = turn.run(way, batch)
            self._called(done, began, before)
            if done < len(batch):
                self.hold(index, batch.part(done, len(batch)), self.context.current_watermark)

        return enter

    def hold(self, index: int, batch: Batch[Any], watermark: int, on_begun: Callable[[], None] | None = None) -> None:
        """Lets a batch wait; `on_begun` is called when the first of it is taken out."""
        # After a restore with another parallelism event time may begin here below what some older ones came behind.
        if self._waiting and self._waiting[-1].watermark > watermark:
            for older in self._waiting:
                older.watermark = min(older.watermark, watermark)
        self._waiting.append(_Waiting(batch, index, watermark, on_begun))
        if not self._is_head:
            self._turn.inside += 1

    def put_back(self, index: int, batch: Batch[Any], watermark: int) -> None:
        """Lets the rest of what was taken out wait again, in front of all."""
        self._waiting.appendleft(_Waiting(batch, index, watermark, None))
        if not self._is_head:
            self._turn.inside += 1

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def seconds(self, per_record: float | None = None) -> float:
        """About how long it takes to work off what waits; `per_record` where that is known better."""
        each = _CALL_SECONDS / self._size if per_record is None else per_record
        return each * sum(len(one.batch) for one in self._waiting)

    def next(self, most: int) -> tuple[Emit, Batch[Any]]:
        """Takes out the first records that wait, at most so many, and says where to put them."""
        first = self._waiting[0]
        if first.on_begun is not None:
            first.on_begun()
            first.on_begun = None
        batch = first.batch
        if len(batch) > most:
            first.batch, batch = batch.part(most, len(batch)), batch.part(0, most)
        else:
            self._waiting.popleft()
            if not self._is_head:
                self._turn.inside -= 1
        return self._ways[first.index], batch

    def go_on(self) -> bool:
        """Works off what waits until the turn is over, or event time has to move first: then True."""
        watermark = self._waiting[0].watermark
        while self._waiting and self._waiting[0].watermark == watermark:
            index = self._waiting[0].index
            way, batch = self.next(self._size)
            done = self._call(way, batch)
            if done < len(batch):
                self.put_back(index, batch.part(done, len(batch)), watermark)
            if self._turn.is_over or done < len(batch):
                break
        return bool(self._waiting) and self._waiting[0].watermark != watermark

    def held_watermark(self) -> int | None:
        return self._waiting[0].watermark if self._waiting else None

    def snapshot(self) -> Any:
        return None  # see `kept`: it may have to be worked off first

    def kept(self) -> Any:
        """What a checkpoint keeps of it; raises `ExchangeError` where it cannot keep it."""
        if not self._may_keep:
            raise ExchangeError("what came to every subtask is kept by none of them")
        if not self._may_keep_unkeyed and any(one.batch.keys is None for one in self._waiting):
            raise ExchangeError("with another parallelism they would overtake each other")
        batches = [self._kept(one) for one in self._waiting]
        return msgspec.Raw(_encode({"subtask": self.context.subtask, "batches": batches}))

    def restore_kept(self, kept: Sequence[Any], owner_of_split: Callable[[str], int | None]) -> None:
        """Takes this subtask's part of what waited in the old ones."""
        found = [(one, old["subtask"]) for old in kept for one in old["batches"]]
        found.sort(key=lambda one: one[0]["watermark"])  # stable
        for one, old_subtask in found:
            self._restore(one, old_subtask, owner_of_split)

    def _take(self, way: Emit, batch: Batch[Any], index: int) -> None:
        done = 0
        while not self._waiting and done < len(batch) and not self._turn.is_over:
            piece = batch.part(done, done + self._size)
            came = self._call(way, piece)
            done += came
            if came < len(piece):
                break
        if done < len(batch):
            rest = batch.part(done, len(batch)) if done else batch
            self.hold(index, rest, self.context.current_watermark)

    def _call(self, way: Emit, batch: Batch[Any]) -> int:
        before, began = self._turn.spent, self._turn.monotonic()
        done = self._turn.run(way, batch)
        self._called(done, began, before)
        return done

    def _called(self, records: int, began: float, before: float) -> None:
        turn = self._turn
        seconds = turn.monotonic() - began
        # Without what the operators behind it took: those look after themselves.
        own = seconds - (turn.spent - before)
        turn.spent = before + seconds
        self.meter.busy_seconds += own
        if own < _QUICK_SECONDS:
            if 2 * records > self._size:
                self._size = 2 * records
        elif own > _CALL_SECONDS:
            self._size = max(1, int(records * _CALL_SECONDS / own))

    def _kept(self, one: _Waiting) -> dict[str, Any]:
        batch, keys = one.batch, one.batch.keys
        if keys is not None and not self._is_hashed[one.index]:
            keys = [slot.key for slot in keys]
        return {
            "input": self._inputs[one.index] if self._inputs else "",
            "index": one.index,
            "watermark": one.watermark,
            "split": batch.split,
            "values": _encode(packed(batch.values)),
            "times": None if batch.timestamps is None else list(batch.timestamps),
            "keys": None if keys is None else _encode(packed(keys)),
            "groups": None if keys is None else [self._group(key) for key in keys],
        }

    def _group(self, key: Any) -> int:
        try:
            return key_group(pack_key(key), self.context.key_groups)
        except (StreamletError, TypeError, ValueError, OverflowError) as error:
            raise ExchangeError(f"a key cannot be written: {error}") from error

    def _index_of(self, of: str, before: int) -> int:
        """The input that rows came by, which may have got another number; one stream may be several inputs."""
        return before if self._inputs[before : before + 1] == [of] else self._inputs.index(of)

    def _restore(self, one: Mapping[str, Any], old_subtask: int, owner_of_split: Callable[[str], int | None]) -> None:
        context = self.context
        if one["input"] not in self._inputs and len(self._ways) > 1:
            raise CheckpointError(
                f"{context.place}: records from {one['input']!r} waited at {context.place.operator} when the "
                "checkpoint was taken, and nothing comes from there any more",
                remedy="give that operator this uid again, or start without any state by --from none",
            )
        index = self._index_of(one["input"], one["index"]) if len(self._ways) > 1 else 0
        try:
            values = unpacked(_decode(one["values"]))
            keys = None if one["keys"] is None else unpacked(_decode(one["keys"]))
        except (ExchangeError, msgspec.MsgspecError) as error:
            raise CheckpointError(
                f"{context.place}: records that waited at {context.place.operator} when the checkpoint was taken "
                f"are of another class now: {error}",
                remedy="give the class its former name and fields, or start without any state by --from none",
            ) from error
        if keys is not None and not self._is_hashed[index]:
            keys = [KeyOfRow(key) for key in keys]
        batch = Batch(values, one["times"], keys, split=one["split"])
        if one["groups"] is None:
            owner = owner_of_split(one["split"]) if one["split"] else None
            is_mine = (old_subtask % context.parallelism if owner is None else owner) == context.subtask
            rows = range(len(batch) if is_mine else 0)
        else:
            owners = [subtask_of(group, context.parallelism, context.key_groups) for group in one["groups"]]
            rows = [row for row, owner in enumerate(owners) if owner == context.subtask]  # type: ignore[assignment]
        if len(rows) == len(batch):
            self.hold(index, batch, one["watermark"])
        elif rows:
            self.hold(index, batch.take(rows), one["watermark"])


class Queues:
    """What waits in one chain: at its head, behind a gate, and between its operators."""

    def __init__(self, monotonic: Callable[[], float] | None) -> None:
        """Without a clock a batch runs through the whole chain at once."""
        self.turn = Turn(monotonic or (lambda: 0.0))
        if monotonic is None:
            self.turn.pause = None
        self.head: HeldBack | None = None
        """None behind a source."""
        self._inside: list[HeldBack] = []
        self._uids: dict[HeldBack, str] = {}

    def add(
        self, node: Node, ways: Sequence[Emit], inputs: Sequence[str], *, is_head: bool, may_keep_unkeyed: bool
    ) -> HeldBack:
        """Makes the queue in front of a node; the last of the stream first."""
        routings = [edge.routing for edge in node.inputs]
        held = HeldBack(
            self.turn,
            ways,
            inputs if is_head else (),
            [one is Routing.HASH for one in routings],
            is_head=is_head,
            may_keep=Routing.BROADCAST not in routings,
            may_keep_unkeyed=may_keep_unkeyed,
        )
        self._uids[held] = node.uid
        if is_head:
            self.head = held
        else:
            self._inside.append(held)
        return held

    @property
    def is_held_back(self) -> bool:
        """True while batches wait in front of an operator."""
        return bool(self.turn.inside) or (self.head is not None and self.head.is_waiting)

    def seconds(self, per_record: float) -> float:
        """About how long it takes to work off what waits, where a record at the head takes so long."""
        at_head = self.head.seconds(per_record) if self.head is not None else 0.0
        return at_head + sum(one.seconds() for one in self._inside)

    def go_on(self) -> bool:
        """Works for one turn on what waits between operators, the last in the stream first.  True where event time has
        to move before there is more: what waited in several subtasks before a restore came at several times."""
        self.turn.begin()
        return next(one for one in self._inside if one.is_waiting).go_on()

    def kept(self, subtask: int) -> dict[str, Any] | None:
        """What waits, as a report carries it; None where something of it cannot be kept."""
        try:
            found = {uid: held.kept() for held, uid in self._uids.items() if held.is_waiting}
        except ExchangeError:
            return None
        return {operator_key(f"{uid}{HELD_BACK}", subtask): kept for uid, kept in found.items()}

    def restore(self, snapshots: Mapping[str, Sequence[Any]], owner_of_split: Callable[[str], int | None]) -> None:
        """Takes this subtask's part of what waited."""
        for held, uid in self._uids.items():
            held.restore_kept(snapshots.get(f"{uid}{HELD_BACK}", ()), owner_of_split)
