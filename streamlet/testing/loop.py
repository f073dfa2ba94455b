"""An event loop without threads, sockets and real time: the same seed gives the same run.

```text
ready callbacks --policy picks one--> step --> time moves on by a little
      ^                                              |
      +---- timers that are due, blocking calls whose moment came; when nothing is ready, time jumps to the next ----+
```

Whoever drives the loop calls `step`, so that several simulated processes can run side by side on one `VirtualClock`.
A process dies by no longer being stepped: nothing of it runs, no `finally` either, until `bury` lets go of it.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import sys
from asyncio import events
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, TypeVarTuple, Unpack

from streamlet.testing.errors import ProcessDied
from streamlet.testing.priorities import Priorities

Policy = Literal["fifo", "random", "jitter", "priorities"]
"""`fifo`: as asyncio does it. `random`: any that is ready. `jitter`: fifo, but now and then one is late.
`priorities`: PCT, see there."""

POLICIES: tuple[Policy, ...] = ("fifo", "random", "jitter", "priorities")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEP_SECONDS = 0.00005


class VirtualClock:
    """Time that moves when told; it is the `Clock` of everything inside a simulation."""

    def __init__(self, start_ms: int = 1_700_000_000_000, steps: Sequence[tuple[float, float]] = ()) -> None:
        """`steps`: when the wall clock is set, in seconds, and by how much, forward or back."""
        self.seconds = 0.0
        self._start_ms = start_ms
        self._steps = steps

    def now_ms(self) -> int:
        """Wall clock, epoch ms."""
        set_by = sum(by for at, by in self._steps if at <= self.seconds)
        return self._start_ms + int((self.seconds + set_by) * 1000)

    def monotonic(self) -> float:
        """Seconds since the simulation began."""
        return self.seconds


class Network(Protocol):
    """Where a simulated loop opens its connections: a `streamlet.testing.network.SimulatedNetwork`."""

    async def connect(
        self, loop: SimulatedLoop, make: Callable[[], asyncio.BaseProtocol], address: tuple[str, int]
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]: ...


if TYPE_CHECKING:
    _Loop = asyncio.BaseEventLoop  # says which methods need not be there
else:
    _Loop = asyncio.AbstractEventLoop


class NumberedFuture(asyncio.Future[Any]):
    """A future whose place in a set does not depend on where it lies in memory."""

    def __init__(self, loop: SimulatedLoop, number: int) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class NumberedTask(asyncio.Task[Any]):
    """The same for tasks: a TaskGroup cancels its tasks in the order of a set."""

    def __init__(self, loop: SimulatedLoop, number: int, coro: Any, **kwargs: Any) -> None:
        self._number = number
        super().__init__(coro, loop=loop, **kwargs)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(_Loop):
    """Runs callbacks one at a time, in an order that the policy and the seed choose.

    Blocking calls (`run_in_executor`, `to_thread`) run inline, each as one step of its own at a seeded later moment.
    One that has begun ends even if nobody waits for it any more, as a thread would.
    """

    def __init__(self, clock: VirtualClock, randomness: random.Random, policy: Policy = "fifo") -> None:
        self.clock = clock
        self.steps = 0
        self.longest_blocking_seconds = 0.02
        self.slow_calls: dict[str, float] = {}
        """Name of a blocking function -> how many times longer it takes."""
        self.blocked_until = 0.0
        """When all blocking calls that were made so far have ended."""
        self.unhandled: list[dict[str, Any]] = []
        """What reached the exception handler: nothing should."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.network: Network | None = None
        self._random = randomness
        self._policy = policy
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._numbers = 0
        self._blocking: dict[Hashable, set[int]] = {}
        self._priorities = Priorities(randomness)
        self._is_closed = False

    # --- for who drives it --------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True when only the passing of time can bring something to do."""
        return not self._ready

    @property
    def is_due(self) -> bool:
        """True when a step would run something now."""
        if self._ready:
            return True
        at = self.next_timer()
        return at is not None and at <= self.clock.seconds

    def next_timer(self) -> float | None:
        """When the next timer is due."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def step(self) -> bool:
        """Runs one callback; False when none is ready. Many in a row are cheaper inside `running`."""
        self._wake_timers()
        while self._ready:
            handle = self._pick()
            if handle.cancelled():
                continue
            self.steps += 1
            self.clock.seconds += STEP_SECONDS
            if events._get_running_loop() is self:
                handle._run()
            else:
                with running(self):
                    handle._run()
            return True
        return False

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Drives one coroutine to its end, for tests that need no more than virtual time."""
        task = self.create_task(main)
        while not task.done():
            if not self.step():
                at = self.next_timer()
                if at is None:
                    raise asyncio.InvalidStateError("every task waits, and nothing can wake one")
                self.clock.seconds = max(self.clock.seconds, at)
        return task.result()

    def bury(self) -> None:
        """Lets go of a process that is gone. What its coroutines do on being closed must find the world dead."""
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()  # None for tasks that began eagerly, which this loop makes none of
            for _ in range(20):
                try:
                    coroutine.close()
                except (Exception, ProcessDied, asyncio.CancelledError, BaseExceptionGroup):
                    continue
                break
            if task.done() and not task.cancelled():
                task.exception()
        self.tasks.clear()
        self._ready.clear()
        self._timers.clear()

    # --- scheduling ---------------------------------------------------------------------------------------------

    def _wake_timers(self) -> None:
        now = self.clock.seconds
        while self._timers and self._timers[0][0] <= now:
            handle = heapq.heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)

    def _pick(self) -> asyncio.Handle:
        ready = self._ready
        if len(ready) == 1 or self._policy == "fifo":
            return ready.pop(0)
        if self._policy == "random":
            return ready.pop(self._random.randrange(len(ready)))
        if self._policy == "jitter":
            late = self._random.random() < 0.1
            return ready.pop(self._random.randrange(len(ready)) if late else 0)
        return ready.pop(self._priorities.highest(ready))

    def run_in_executor(self, executor: Hashable, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Runs a blocking call inline, later. Anything that is hashable stands for an executor."""
        future: asyncio.Future[T] = self.create_future()
        pool = self._blocking.setdefault(executor, set())
        self._numbers += 1
        number = self._numbers
        pool.add(number)
        seconds = self._random.random() ** 3 * self.longest_blocking_seconds
        if self._random.random() < 0.05:
            seconds *= 8
        if self.slow_calls:
            seconds *= self.slow_calls.get(_name_of(func), 1)
        # A call that waits in the queue can be cancelled; one that a thread has taken cannot.
        taken_at = self.clock.seconds + (seconds / 2 if self._random.random() < 0.2 else 0)

        def work() -> None:
            try:
                if future.cancelled() and self.clock.seconds <= taken_at:
                    return
                result = func(*args)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)
            finally:
                pool.discard(number)

        self.blocked_until = max(self.blocked_until, self.clock.seconds + seconds)
        self.call_later(seconds, work)
        return future

    def is_blocked_in(self, executor: Hashable) -> bool:
        """True while blocking calls that were given to this executor have not ended."""
        return bool(self._blocking.get(executor))

    # --- what asyncio asks of a loop ----------------------------------------------------------------------------

    def time(self) -> float:
        return self.clock.seconds

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._is_closed:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.clock.seconds + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._is_closed:
            self._numbers += 1
            heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        self._numbers += 1
        return NumberedFuture(self, self._numbers)

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **more: Any
    ) -> asyncio.Task[Any]:
        self._numbers += 1
        task = NumberedTask(self, self._numbers, coro, name=name, context=context, **more)
        self.tasks.append(task)
        if len(self.tasks) > 256:
            self.tasks = [one for one in self.tasks if not one.done()]
        return task

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Opens a connection on the simulated network; there is no other."""
        if self.network is None:
            raise OSError("the simulated loop has no network")
        return await self.network.connect(self, protocol_factory, (host, port))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_closed:
            self.unhandled.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when their time comes."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True

    async def shutdown_asyncgens(self) -> None:
        """There is nothing to do."""


def _name_of(func: Any) -> str:
    while isinstance(func, partial):
        func = func.args[0] if func.func is Context.run else func.func
    return getattr(func, "__name__", "")


class running:
    """Makes a loop the running one. Generators that nobody closed are let go without a word, as by a dead process."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._before = events._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(finalizer=_ignore)

    def __exit__(self, *_: object) -> None:
        events._set_running_loop(self._before)
        sys.set_asyncgen_hooks(*self._hooks)


def _ignore(_: object) -> None:
    """In place of closing."""
