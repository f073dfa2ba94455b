"""The contract of an operator: what happens to a batch, to time, and at a checkpoint.

An operator is synchronous: it takes a batch and emits batches by calling `out` before it returns.  It does no I/O and
knows nothing of channels, barriers or tasks.  All calls come from one task, one at a time.

```text
open > restore? > process | process_input | on_watermark | on_clock ... > on_watermark(MAX_TIMESTAMP) > on_end > close
                  snapshot, between any two of them                       only when the whole input has ended
```

One that has records in flight, whose output comes later, says so by `held_watermark`: neither event time nor the end of
the input overtakes them.  Barriers do, so what is in flight belongs into `snapshot`.  It lets the engine know by
`context.wake` when there is output, puts that out in `on_clock`, and stops further batches by `has_room`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

import msgspec

from streamlet.elements import MIN_TIMESTAMP, Batch, OutputTag
from streamlet.errors import CheckpointError, UserFunctionError
from streamlet.operators.user_code.pausing import Pause
from streamlet.operators.user_code.place import Place
from streamlet.state.descriptor import Descriptor
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.memory.undo import UndoLog
from streamlet.state.snapshot import StateSpec
from streamlet.state.store import KeyedStore
from streamlet.tally import Counting, uncounted

Emit = Callable[[Batch[Any]], None]
EmitSide = Callable[[OutputTag[Any], Batch[Any]], None]


class EventTime:
    """How far event time has come at one operator."""

    __slots__ = ("watermark",)

    def __init__(self) -> None:
        self.watermark = MIN_TIMESTAMP


def _nobody_takes(tag: OutputTag[Any], batch: Batch[Any]) -> None:
    """A side output that nobody reads."""


def fails(error: UserFunctionError, is_told: bool = True) -> None:
    """The policy of an operator without one: a record for which a function raises fails the job."""
    raise error


def _nobody_wakes() -> None:
    """Outside of a subtask nobody has to be woken."""


def _nobody_runs(work: Coroutine[Any, Any, None]) -> None:
    """Outside of a subtask nothing runs beside the operator."""
    work.close()


class OperatorContext(msgspec.Struct, frozen=True):
    """What an operator is told about the place it runs in."""

    place: Place
    subtask: int
    parallelism: int
    store: KeyedStore | None
    """The state of this subtask's key groups; None where the stream is not keyed."""
    states: Mapping[str, StateSpec] = {}
    """The operator's declared states by name, numbered."""
    show_records: bool = False
    side: EmitSide = _nobody_takes
    """`side(tag, batch)` puts a batch out under a tag, from inside any call that has an `out`."""
    event_time: EventTime = msgspec.field(default_factory=EventTime)
    now_ms: Callable[[], int] = lambda: 0
    """The wall clock, epoch ms."""
    monotonic: Callable[[], float] = lambda: 0.0
    """Seconds, for how long something takes."""
    untimed: Place | None = None
    """A source of its records that has no watermark strategy; None where all have one."""
    wake: Callable[[], None] = _nobody_wakes
    """Asks for an `on_clock` call soon, between two batches; may be called at any time on the event loop's thread."""
    spawn: Callable[[Coroutine[Any, Any, None]], object] = _nobody_runs
    """Runs work beside the subtask, from the first batch or `on_clock` on. What it raises fails the attempt; when the
    attempt ends in any way, it is cancelled and awaited before `close`."""
    leave_out: Callable[[UserFunctionError, bool], None] = fails
    """Takes the error of a record that the caller leaves out, as the error policy says: raises it, where that is to
    fail.  `is_told` is False for one that another subtask tells of."""
    undo_log: UndoLog | None = None
    """Undoes what one call changed, where the error policy leaves out what fails; None where nothing need be undone."""
    count: Counting = uncounted
    """`count(kind, number)` notes records that go another way than the rest: what people see of them."""
    key_type: KeyType | None = None
    """Of a key_by: what the keys of its stream are, as those agree on who keep state by them."""
    pause: Pause | None = None
    """Lets a function be stopped in the middle of a batch; None where it must not be."""
    key_groups: int = 128
    """Into how many groups the job's keys are dealt."""

    @property
    def current_watermark(self) -> int:
        """The last watermark that came here, epoch ms; `MIN_TIMESTAMP` before the first. A record of this time or
        before is late.  Inside `on_watermark` it is the new one already."""
        return self.event_time.watermark


class Operator:
    """One transformation. The engine makes one instance per subtask, opens it, and calls it from one task only."""

    uses_time: bool = False
    """True when it cannot work without watermarks: the plan then refuses sources that have no strategy for them.
    Read from an instance that is not open."""
    leaves_out: bool = False
    """True when it gives `context.leave_out` all that fails for a record, before that has changed anything; else an
    error policy undoes what it did."""

    @property
    def side_outputs(self) -> Collection[OutputTag[Any]]:
        """The tags under which it is known to put records out, read from an instance that is not open; a user's
        function may know of others."""
        return ()

    def declared_states(self) -> Mapping[str, Descriptor]:
        """Gives every keyed state by name, without being opened: the plan numbers them."""
        return {}

    def open(self, context: OperatorContext) -> None:
        """Gets ready; state handles are bound from here on."""
        self.context = context

    def process(self, batch: Batch[Any], out: Emit) -> None:
        """Handles one batch. It must not change the batch's lists."""
        raise NotImplementedError

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        """Handles one batch of input `index`, counted as the graph lists the inputs. Called instead of `process`
        where an operator has several."""
        self.process(batch, out)

    def on_watermark(self, timestamp: int, out: Emit) -> bool | None:
        """Event time has come to `timestamp`: fires what was due by then. Timestamps rise, but for the first after a
        restore, which repeats the last one before the checkpoint; the engine sends the watermark on afterwards, as far
        as `held_watermark` lets it.  With several inputs it is the lowest of theirs.

        True says that there is more to fire: what was emitted is delivered, others get a turn, and the same call comes
        again before anything else does.  Return it every few thousand records: the event loop stands still meanwhile.
        """
        return None

    def held_watermark(self) -> int | None:
        """How far event time may move on behind this operator, epoch ms: the watermark that stood here when the oldest
        record came that is still in flight; None when none is.  Operators further on, here and downstream, see no
        higher one, and the end of the input waits.  It must not fall below what was let through before, and rises in
        `on_clock` only.  Asked behind every `on_watermark` and `on_clock` of the subtask, so it must be quick.
        """
        return None

    def has_room(self) -> bool:
        """False stops further batches until an `on_clock` has made room. Barriers, watermarks and the clock still come,
        and what operators before it have to put out; so it is no bound that holds to the record."""
        return True

    def next_clock_ms(self) -> int | None:
        """When `on_clock` is wanted, by the wall clock (epoch ms); None for not at all. Asked after every call into
        the subtask, so it must be quick.  A time that has passed is due at once."""
        return None

    def on_clock(self, now_ms: int, out: Emit) -> None:
        """The time that `next_clock_ms` gave has come, or `context.wake` was called. It also comes while no record
        does, and while the end waits for what is in flight; never after `on_end`: what was to be done by the wall
        clock later is done there or not at all."""

    def on_end(self, out: Emit) -> None:
        """The whole input has ended: the last chance to emit. `on_watermark(MAX_TIMESTAMP)` came before, and nothing is
        in flight here or before here.  After a restore of a checkpoint in which every subtask of the task had ended,
        neither comes again unless there are new records; where only some had, both do.  Nor does `on_end` where it had
        come in every subtask and the end waited for what is in flight behind.  A stop is no end: it calls neither."""

    def drop_caches(self) -> None:
        """Forgets what is kept beside the state for speed alone: what is in the state may be another than it was."""

    def snapshot(self) -> Any:
        """Gives what is remembered and not keyed, as plain data that msgpack carries; None for nothing. It is packed
        before the next call, so it may alias live data.  Keyed state is not its business."""
        return None

    def restore(self, snapshots: list[Any]) -> None:
        """Takes what `snapshot` gave in each of the old subtasks, in their order; called after `open`, not at all when
        there is none.  Every new subtask gets all of them: it picks its part by itself."""
        raise CheckpointError(
            f"{self.context.place}: the checkpoint has a snapshot of {self.context.place.operator}, "
            "which this operator cannot take over",
            remedy="give the operator that it belongs to this uid again, or start without any state by --from none",
        )

    def close(self) -> None:
        """Ends what `open` began; called once, also after a failure."""
