"""Timers as a user's function sees them: moments of the key in hand, by event time or by the wall clock."""

from __future__ import annotations

from typing import Any

from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP, Batch
from streamlet.errors import JobDefinitionError, RecordError
from streamlet.operators.operator import OperatorContext
from streamlet.state.memory.cells import Slot
from streamlet.state.memory.timers import Timers
from streamlet.state.store import KeyedStore


class TimerService:
    """Registers and deletes timers of the key in hand; each comes back once, as a call of `on_timer`.

    Times are whole milliseconds since 1970.  A timer that is registered twice is one, and timers of the two kinds do
    not know each other.  They are in the checkpoint: what became due while the job was down fires after the restore.

    >>> class Once(KeyedProcessFunction[str, Payment, int]):
    ...     def process_element(self, value, ctx):
    ...         ctx.timers.register_event_time(100_000)
    ...         ctx.timers.register_event_time(200_000)
    ...         ctx.timers.delete_event_time(200_000)
    ...     def on_timer(self, timestamp, ctx):
    ...         yield timestamp
    >>> emitted(by_user.process(Once()))
    [100000, 100000]
    """

    __slots__ = ("_context", "_event", "_processing", "_store", "is_ending", "is_overdue")

    def __init__(
        self, context: OperatorContext, store: KeyedStore, event: Timers | None, processing: Timers | None
    ) -> None:
        """Both are None where the function has no `on_timer`."""
        self._context = context
        self._store = store
        self._event = event
        self._processing = processing
        self.is_overdue = False
        """True when an event-time timer was registered for a time that has come already."""
        self.is_ending = False
        """True while the timers of the input's end fire: those registered now would have no time to come."""

    def register_event_time(self, timestamp: int) -> None:
        """Fires when the watermark reaches `timestamp`; right behind the batch in hand when it has done so already.

        At the end of all input every timer fires, but none that is registered meanwhile: a timer that registers the
        next one comes to an end there.
        """
        untimed = self._context.untimed
        if untimed is not None:
            raise JobDefinitionError(
                f"an event-time timer of {self._context.place.operator} would never fire: {untimed.operator} at "
                f"{untimed} does not say how event time moves on",
                remedy=f"write there job.source(..., uid={untimed.uid!r}, "
                "watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5))), "
                "or register a processing-time timer",
            )
        slot, timers = self._slot(), self._of(self._event)
        _check(timestamp)
        if self.is_ending:
            return
        if timestamp <= self._context.event_time.watermark:
            self.is_overdue = True
        timers.set(slot, timestamp)

    def delete_event_time(self, timestamp: int) -> None:
        """Takes an event-time timer back; nothing happens when there is none."""
        _check(timestamp)
        self._of(self._event).delete(self._slot(), timestamp)

    def register_processing_time(self, timestamp: int) -> None:
        """Fires when the wall clock (`ctx.now_ms()`) has come to `timestamp`, also while no record comes.

        At the end of all input those that are left fire at once, in the order of their times, but none that is
        registered meanwhile.
        """
        slot, timers = self._slot(), self._of(self._processing)
        _check(timestamp)
        if not self.is_ending:
            timers.set(slot, timestamp)

    def delete_processing_time(self, timestamp: int) -> None:
        """Takes a processing-time timer back; nothing happens when there is none."""
        _check(timestamp)
        self._of(self._processing).delete(self._slot(), timestamp)

    def _slot(self) -> Slot:
        slot = self._store.current
        if slot is None:
            raise JobDefinitionError(
                f"timers of {self._context.place.operator} were used while no key is in hand",
                remedy="use ctx.timers only inside the methods that the engine calls for a record or a timer",
            )
        return slot

    def _of(self, timers: Timers | None) -> Timers:
        if timers is None:
            raise JobDefinitionError(
                f"the function of {self._context.place.operator} has no on_timer, so its timers would do nothing",
                remedy="define on_timer(self, timestamp, ctx)",
            )
        return timers


class _Origin:
    """Says what an error is about that is about no record."""

    def __init__(self, text: str) -> None:
        self._text = text

    def describe(self, row: int) -> str:
        return self._text


def named(text: str, value: Any, time: int, slot: Slot) -> Batch[Any]:
    """One row in the place of a record, for errors and dead letters that are about something else."""
    return Batch([value], [time], [slot], origin=_Origin(text))


def named_timer(domain: str, time: int, slot: Slot, value: Any = None) -> Batch[Any]:
    """A timer in the place of a record.  Its value is its time, unless told."""
    text = f"{domain}-time timer of key {slot.key!r} at {time} ms"
    return named(text, time if value is None else value, time, slot)


def _check(timestamp: object) -> None:
    if type(timestamp) is not int or not MIN_TIMESTAMP <= timestamp <= MAX_TIMESTAMP:
        raise RecordError(
            f"a timer's time is a whole number of milliseconds since 1970, not {timestamp!r:.80}",
            remedy="use ctx.timestamp or ctx.now_ms() plus a duration: int(delta.total_seconds() * 1000)",
        )
