"""Asynchronous user functions: many records in flight at once in a chain that is otherwise synchronous.

```text
process > in flight, up to `capacity` calls run, the rest waits > a call ends > context.wake > on_clock emits
```

The calls run beside the subtask, which ends them with the attempt.  A checkpoint keeps what is in flight, and does not
wait for it; a restored record is called again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import groupby
from typing import Any

import msgspec

from streamlet.elements import Batch
from streamlet.errors import RecordError, StateTypeError, UserFunctionError
from streamlet.operators.asynchronous.in_flight import (
    Call,
    Flight,
    FlightCodec,
    OrderedFlight,
    Origins,
    UnorderedFlight,
)
from streamlet.operators.asynchronous.retry import Retry
from streamlet.operators.functions import CallingOperator, whole
from streamlet.operators.operator import Emit, OperatorContext, fails
from streamlet.operators.user_code.misuse import a_kind, check_results
from streamlet.operators.user_code.place import describe_record
from streamlet.operators.user_code.raised import RAISED
from streamlet.state.memory.cells import KeyOfRow
from streamlet.turns import LoopTurns

Results = Callable[[Any, Any], list[Any]]
"""What is emitted for a value and what the function gave for it."""


def mapped(value: Any, result: Any) -> list[Any]:
    """One value for each."""
    _check(result)
    return [result]


def filtered(value: Any, result: Any) -> list[Any]:
    """The value where the result is true."""
    _check(result)
    return [value] if result else []


def flattened(value: Any, result: Any) -> list[Any]:
    """Everything that the result holds."""
    return list(whole(result, is_any=True))


def _check(result: Any) -> None:
    if (wrong := check_results([result])) is not None:
        raise wrong


def is_closing(task: asyncio.Task[Any] | None) -> bool:
    """True where a coroutine is thrown away unfinished, not run by its task any more: what it gets then is no error of
    the function in it."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:
        return True


def _asked(called: Any) -> Awaitable[Any]:
    """What the function gave, to be awaited."""
    if isinstance(called, Awaitable):
        return called
    raise RecordError(
        f"the function gave {a_kind(called)}, which cannot be awaited",
        remedy="write it as `async def`; a plain function goes to map, filter or flat_map",
    )


class CallOptions(msgspec.Struct, frozen=True):
    """How an asynchronous function is called."""

    is_ordered: bool = True
    capacity: int = 100
    """Most calls that run at once in one subtask."""
    timeout: timedelta | None = None
    """For each call."""
    on_timeout: Callable[[Any], Any] | None = None
    retry: Retry | None = None
    type: Any = Any
    """That of the values, by which a checkpoint keeps them."""


class MapAsync(CallingOperator):
    """Calls an asynchronous function on each record.

    Not keyed and in its snapshot: each record in flight with its key, times, the watermark it came behind and how often
    the function failed on it; until its results are emitted.
    """

    leaves_out = True

    def __init__(self, function: Callable[[Any], Awaitable[Any]], results: Results, options: CallOptions) -> None:
        self._function = function
        self._results = results
        self._options = options
        self._seconds = options.timeout.total_seconds() if options.timeout is not None else None
        self._flight: Flight = OrderedFlight() if options.is_ordered else UnorderedFlight()
        self._waiting: deque[Call] = deque()
        self._running = 0
        self._turns = LoopTurns()
        self._turn_began: float | None = None
        """When the first call of this turn of the loop began."""
        self._has_asked = False

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        self._codec = FlightCodec(self._options.type, context)

    def process(self, batch: Batch[Any], out: Emit) -> None:
        watermark = self.context.current_watermark
        pack = self._codec.pack
        values: list[Any] = []
        # The values as they are called with stand in a batch of their own.
        mine = batch.with_values(values)
        calls = []
        for row, value in enumerate(batch.values):
            try:
                value, packed = pack(value)
            except StateTypeError as error:
                self._refuse(error, batch, row)
            else:
                calls.append(Call(mine, row, packed, watermark))
            values.append(value)
        for call in calls:
            self._flight.add(call)
        self._waiting.extend(calls)
        self._start()

    def _refuse(self, error: StateTypeError, batch: Batch[Any], row: int) -> None:
        if self.context.leave_out is not fails:
            self.leave_out(error, batch, row)
            return
        raise RecordError(
            f"{self.context.place}: {error.message}\n  record: {describe_record(batch, row)}", remedy=error.remedy
        ) from error

    def held_watermark(self) -> int | None:
        return self._flight.held_watermark

    def has_room(self) -> bool:
        return len(self._flight) < self._options.capacity

    def on_clock(self, now_ms: int, out: Emit) -> None:
        self._has_asked = False
        self._start()  # restored ones have not begun
        if self._flight.has_results:
            self._emit(self._flight.take(), out)
            # Event time comes in between.
            self._ask()

    def snapshot(self) -> Any:
        return self._codec.snapshot(self._flight)

    def restore(self, snapshots: list[Any]) -> None:
        store = self.context.store
        slot_of: Callable[[Any], Any] = KeyOfRow if store is None else lambda key: store.lookup([key])[0]
        for call in self._codec.restore(snapshots, slot_of):
            self._flight.add(call)
            self._waiting.append(call)
        if self._waiting:
            self.context.wake()

    def _emit(self, calls: list[Call], out: Emit) -> None:
        for call in calls:
            if call.error is not None:
                lost = call.batch.take((call.row,))
                lost.values[0] = self._codec.unpack(call.packed)  # the function may have changed the other one
                call.error.batch, call.error.row = lost, 0
                self.context.leave_out(call.error, True)
        # Several inputs may meet here, with times and keys or without.
        for (has_time, has_key), group in groupby(calls, lambda call: (call.timestamp is None, call.slot is None)):
            rows = [(call, result) for call in group for result in call.results]
            if rows:
                out(
                    Batch(
                        [result for _, result in rows],
                        None if has_time else [call.timestamp for call, _ in rows],  # type: ignore[misc]
                        None if has_key else [call.slot for call, _ in rows],
                        origin=Origins([call for call, _ in rows]),
                    )
                )

    def _ask(self) -> None:
        """Sees to it that `on_clock` comes, if there is anything to emit."""
        if not self._has_asked and self._flight.has_results:
            self._has_asked = True
            self.context.wake()

    def _start(self) -> None:
        while self._waiting and self._running < self._options.capacity:
            self._running += 1
            self.context.spawn(self._work(self._waiting.popleft()))

    async def _work(self, call: Call) -> None:
        """Makes one call after the other, as long as there are any."""
        while True:
            if self._holds_loop():
                await self._until_free()
            try:
                call.results = await self._called(call)
            except UserFunctionError as error:
                if self.context.leave_out is fails:
                    raise
                # Told of in its place, so that a checkpoint has either the record in flight or the letter.
                call.error = error
            self._flight.end(call)
            self._ask()
            if not self._waiting:
                self._running -= 1
                return
            call = self._waiting.popleft()

    def _holds_loop(self) -> bool:
        """True where another call should not begin now, because those before it have held the event loop long."""
        if self._turn_began is None:
            self._turn_began = self.context.monotonic()
            asyncio.get_running_loop().call_soon(self._turn_ends)
        else:
            self._turns.held(self.context.monotonic() - self._turn_began)
        return self._turns.is_resting

    def _turn_ends(self) -> None:
        if self._turn_began is not None:
            self._turns.held(self.context.monotonic() - self._turn_began)
            self._turn_began = None

    async def _until_free(self) -> None:
        await self._turns.rest()
        while self._holds_loop():
            await self._turns.rest()

    async def _called(self, call: Call) -> list[Any]:
        """The results of the call, however many attempts it takes; raises what the last one did."""
        options, task = self._options, asyncio.current_task()
        value = call.batch.values[call.row]
        while True:
            bound = asyncio.timeout(self._seconds)
            try:
                async with bound:
                    return self._results(value, await _asked(self._function(value)))
            except asyncio.CancelledError as error:
                if task is None or task.cancelling():
                    raise
                # The function itself was cancelled from somewhere: that must not end quietly.
                failure: BaseException = RuntimeError("the function was cancelled").with_traceback(error.__traceback__)
            except RAISED as error:
                if isinstance(error, GeneratorExit) and is_closing(task):
                    raise
                failure = self._timed_out(error) if bound.expired() else error
            call.attempts += 1
            delay = options.retry.delay_after(call.attempts, failure) if options.retry is not None else None
            value = self._codec.unpack(call.packed)
            if delay is not None:
                await asyncio.sleep(delay)
            elif bound.expired() and options.on_timeout is not None:
                return self._fallen_back(call, value)
            else:
                raise self.failure(failure, call.batch, call.row) from failure

    def _timed_out(self, error: BaseException) -> Exception:
        # The line at which the function waited is in what ended it.
        cause = error.__cause__ or error.__context__ or error  # the context alone in Python 3.11.0 to 3.11.2
        return TimeoutError(f"no result within {self._seconds:g} s").with_traceback(cause.__traceback__)

    def _fallen_back(self, call: Call, value: Any) -> list[Any]:
        assert self._options.on_timeout is not None
        try:
            return self._results(value, self._options.on_timeout(value))
        except RAISED as error:
            raise self.failure(error, call.batch, call.row) from error
