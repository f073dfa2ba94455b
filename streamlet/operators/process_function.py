"""What a user derives own functions from, and what these functions are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar

from streamlet.elements import OutputTag
from streamlet.operators.operator import OperatorContext
from streamlet.operators.timer_service import TimerService
from streamlet.operators.user_code.misuse import begin_side

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")

TimeDomain = Literal["event", "processing"]
"""Which time a timer goes by."""


class Told:
    """What every context tells: event time and the clock."""

    __slots__ = ("_operator", "now_ms")
    now_ms: Callable[[], int]
    """`ctx.now_ms()` is the wall clock, epoch ms. It is another one in each run: what follows from it does too."""

    def __init__(self, operator: OperatorContext) -> None:
        self._operator = operator
        self.now_ms = operator.now_ms

    @property
    def current_watermark(self) -> int:
        """How far event time has come here, epoch ms: a record of this time or before is late. `MIN_TIMESTAMP` before
        the first watermark, and always where a source has no watermark strategy; `MAX_TIMESTAMP` at the end of all
        input."""
        return self._operator.event_time.watermark


class ProcessContext(Told, Generic[K]):
    """What a process function knows about the record in hand.

    >>> class Late(KeyedProcessFunction[str, Payment, tuple]):
    ...     def process_element(self, value, ctx):
    ...         yield ctx.key, ctx.timestamp, ctx.timestamp <= ctx.current_watermark
    >>> emitted(by_user.process(Late()))
    [('ann', 1000, False), ('bob', 2000, False), ('ann', 62000, False)]
    """

    __slots__ = ("_row", "_sides", "key", "timers", "timestamp")
    key: K
    timestamp: int | None
    """Event time, epoch ms; None when the source gives none."""

    def __init__(self, operator: OperatorContext, timers: TimerService) -> None:
        super().__init__(operator)
        self.timers = timers
        self._row = 0
        self._sides: dict[OutputTag[Any], tuple[list[Any], list[int]]] = {}

    def output(self, tag: OutputTag[T], value: T) -> None:
        """Puts a value out under a tag, with the time of the record or timer in hand; see `Stream.side_output`."""
        values, rows = self._sides.get(tag) or begin_side(self._sides, tag)
        values.append(value)
        rows.append(self._row)

    def _take_back(self) -> None:
        """Forgets what was put out for the record or timer in hand."""
        for values, rows in self._sides.values():
            while rows and rows[-1] == self._row:
                rows.pop()
                values.pop()


class TimerContext(ProcessContext[K]):
    """What `on_timer` knows about the timer in hand.

    >>> class Alarm(KeyedProcessFunction[str, Payment, tuple]):
    ...     def process_element(self, value, ctx):
    ...         ctx.timers.register_event_time(100_000)
    ...     def on_timer(self, timestamp, ctx):
    ...         yield ctx.key, ctx.domain, ctx.timestamp
    >>> sorted(emitted(by_user.process(Alarm())))
    [('ann', 'event', 100000), ('bob', 'event', 100000)]
    """

    __slots__ = ("domain",)
    timestamp: int
    """The time that the timer was registered for."""
    domain: TimeDomain


class BroadcastContext(Told):
    """What is known about an element that every subtask gets.

    >>> class Times(KeyedBroadcastProcessFunction[str, Payment, int, int]):
    ...     newest = BroadcastState(str, int)
    ...     def process_element(self, value, ctx):
    ...         return None
    ...     def process_broadcast_element(self, value, ctx):
    ...         self.newest.put("time", ctx.timestamp or 0)
    >>> emitted(by_user.connect_broadcast(numbers).process(Times()))
    []
    """

    __slots__ = ("timestamp",)
    timestamp: int | None
    """Event time, epoch ms; None when the source gives none."""


class ProcessFunction(Generic[K, R]):
    """What all process functions share: a life, state, and timers.

    States are class attributes, and every subtask works on its own copy of the instance.  Anything else that the
    instance remembers is lost at a restart.
    """

    def open(self) -> None:
        """Called once per subtask before the first record."""

    def on_timer(self, timestamp: int, ctx: TimerContext[K]) -> Iterable[R] | None:
        """Called for each timer that is due, in the order of time, with the state of its key; gives what it emits, or
        None.  That gets `timestamp` as its event time, whichever kind of timer it was (`ctx.domain`).

        A timer that it registers for a time that has come fires in the same round, one that it deletes does not fire.

        Where it raises, `on_error` decides, as for a record: what it changed and emitted for the timer is undone, the
        timer is gone, and the value of the dead letter is its time.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Called once per subtask at the end, also after a failure."""


class KeyedProcessFunction(ProcessFunction[K, R], Generic[K, T, R]):
    """A function of a key's records and timers and a key's state.

    ```python
    class Silent(KeyedProcessFunction[str, Reading, Alarm]):
        last = ValueState(int)

        def process_element(self, value, ctx):
            self.last.update(ctx.timestamp)
            ctx.timers.register_event_time(ctx.timestamp + 60_000)

        def on_timer(self, timestamp, ctx):
            if self.last.value() == timestamp - 60_000:
                yield Alarm(ctx.key)
    ```

    >>> class Quiet(KeyedProcessFunction[str, Payment, str]):
    ...     def process_element(self, value, ctx):
    ...         ctx.timers.register_event_time(value.at + 30_000)
    ...     def on_timer(self, timestamp, ctx):
    ...         yield f"{ctx.key} at {timestamp}"
    >>> emitted(by_user.process(Quiet()))
    ['ann at 31000', 'bob at 32000', 'ann at 92000']
    """

    def process_element(self, value: T, ctx: ProcessContext[K]) -> Iterable[R] | None:
        """Handles one record; gives what it emits (it may be a generator), or None for nothing."""
        raise NotImplementedError


class KeyedCoProcessFunction(ProcessFunction[K, R], Generic[K, A, B, R]):
    """A function of the records of two streams with the same key, which share the key's state and timers.

    The order in which records of the two streams come is not fixed: state is how one waits for the other.

    >>> class Sides(KeyedCoProcessFunction[str, Payment, Payment, str]):
    ...     def process_element1(self, value, ctx):
    ...         yield f"{ctx.key} paid {value.amount}"
    ...     def process_element2(self, value, ctx):
    ...         yield f"{ctx.key} got {value.amount} back"
    >>> sorted(emitted(by_user.connect(refunds).process(Sides())))
    ['ann got 5 back', 'ann paid 5', 'ann paid 9', 'bob paid 7']
    """

    def process_element1(self, value: A, ctx: ProcessContext[K]) -> Iterable[R] | None:
        """Handles one record of the first stream; gives what it emits, or None for nothing."""
        raise NotImplementedError

    def process_element2(self, value: B, ctx: ProcessContext[K]) -> Iterable[R] | None:
        """Handles one record of the second stream."""
        raise NotImplementedError


class KeyedBroadcastProcessFunction(ProcessFunction[K, R], Generic[K, T, B, R]):
    """A function of a key's records, and of the elements of a stream that every subtask gets, such as rules.

    These change tables (`BroadcastState`), which the records of all keys then see.  Which records see a change already
    is not fixed: it comes when it comes.

    >>> class Limited(KeyedBroadcastProcessFunction[str, Payment, int, str]):
    ...     limits = BroadcastState(str, int)
    ...     def process_element(self, value, ctx):
    ...         if value.amount > self.limits.get("limit", 0):
    ...             yield ctx.key
    ...     def process_broadcast_element(self, value, ctx):
    ...         self.limits.put("limit", value)
    >>> sorted(emitted(by_user.connect_broadcast(numbers).process(Limited())))
    ['ann', 'ann', 'bob']
    """

    def process_element(self, value: T, ctx: ProcessContext[K]) -> Iterable[R] | None:
        """Handles one record; it may read broadcast tables, but not change them."""
        raise NotImplementedError

    def process_broadcast_element(self, value: B, ctx: BroadcastContext) -> None:
        """Handles one element in every subtask: all get the same ones in the same order, and must do the same to the
        tables.  It emits nothing, and there is no key."""
        raise NotImplementedError
