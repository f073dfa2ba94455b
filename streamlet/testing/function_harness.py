"""`FunctionHarness`: one process function with its state and timers, driven record by record."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from streamlet.calling import calling_line
from streamlet.checkpoint.files import AttemptFiles, Pins
from streamlet.elements import Batch, OutputTag
from streamlet.machine.disk import LocalDisk
from streamlet.operators.keying import SlotLookup
from streamlet.operators.operator import EventTime, OperatorContext
from streamlet.operators.process import KeyedProcess
from streamlet.operators.process_function import KeyedProcessFunction
from streamlet.operators.user_code.place import Place
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.testing.loop import VirtualClock

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")

_GROUPS = 128


class FunctionHarness(Generic[K, T, R]):
    """Runs a `KeyedProcessFunction` by the operator of production, with its state in memory and a virtual clock.

    Each call gives what the function emits in it.  Nothing happens but what is asked for: event time moves by
    `watermark`, the clock by `advance`, and `restart` is a checkpoint, from which a new copy of the function goes on:
    state and timers pass through their codecs, and what else the instance remembers is lost.  What the function raises
    comes as `UserFunctionError`, with its line.

    >>> class Total(KeyedProcessFunction[str, int, int]):
    ...     total = ValueState(int)
    ...     def process_element(self, value, ctx):
    ...         self.total.update((self.total.value() or 0) + value)
    ...         ctx.timers.register_event_time(60_000)
    ...     def on_timer(self, timestamp, ctx):
    ...         yield self.total.value()
    >>> with FunctionHarness(Total()) as h:
    ...     _ = h.push("ann", 3), h.push("ann", 4)
    ...     h.restart()
    ...     print(h.state("total", "ann").value(), h.watermark(59_999), h.watermark(60_000))
    7 [] [7]
    """

    def __init__(self, function: KeyedProcessFunction[K, T, R]) -> None:
        self.clock = VirtualClock()
        self._function = function
        self._place = Place(*calling_line(), "process", "function")
        self._folder = tempfile.TemporaryDirectory(prefix="streamlet-test-")
        root = Path(self._folder.name)
        for name in ("files", "attempt/scratch"):
            (root / name).mkdir(parents=True)
        self._files = AttemptFiles(LocalDisk(), root / "attempt", root / "files", Pins(), "function", "function")
        self._event_time = EventTime()
        self._sides: dict[OutputTag[Any], list[Any]] = {}
        self._snapshots: list[Any] = []
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._folder.cleanup()

    def push(self, key: K, value: T, *, at: int | None = None) -> list[R]:
        """Handles one record of this key; `at` is its event time, epoch ms."""
        batch = Batch([value], None if at is None else [at], [key])
        keyed: list[Batch[Any]] = []
        self._lookup.process(batch, keyed.append)
        return self._emitted(lambda out: self._operator.process(keyed[0], out))

    def watermark(self, timestamp: int) -> list[R]:
        """Moves event time on, epoch ms, and fires what is due by it; an earlier one than before does nothing."""
        if timestamp <= self._event_time.watermark:
            return []
        self._event_time.watermark = timestamp

        def fire(out: Callable[[Batch[Any]], None]) -> None:
            while self._operator.on_watermark(timestamp, out):
                pass

        return self._emitted(fire)

    def advance(self, seconds: float) -> list[R]:
        """Moves the clock on and fires what is due on the way, each at its time."""
        until = self.clock.seconds + seconds
        end_ms = self.clock.now_ms() + round(seconds * 1000)

        def fire(out: Callable[[Batch[Any]], None]) -> None:
            while (due := self._operator.next_clock_ms()) is not None and due <= end_ms:
                self.clock.seconds = max(self.clock.seconds, until - (end_ms - due) / 1000)
                self._operator.on_clock(max(due, self.clock.now_ms()), out)

        emitted = self._emitted(fire)
        self.clock.seconds = until
        return emitted

    def state(self, name: str, key: K) -> Any:
        """The handle of a declared state, as the function has it for this key; good until the next call."""
        (self._store.current,) = self._store.lookup([key])
        return getattr(self._operator.running, name)

    def side_output(self, tag: OutputTag[T]) -> list[T]:
        """Everything that was put out under a tag."""
        return self._sides.get(tag, [])

    def restart(self) -> None:
        """Takes a checkpoint, and goes on from it with a new copy of the function."""
        cut = self._store.cut + 1
        self._store.freeze(cut)
        self._store.pack(1.0)
        self._store.write_log()
        self._snapshots = [self._store.snapshot(cut)]
        self._close()
        self._open()

    def _open(self) -> None:
        operator = KeyedProcess(self._function)
        declared = [
            one.declare(id, "function", name) for id, (name, one) in enumerate(operator.declared_states().items(), 1)
        ]
        self._store = MemoryKeyedStore(
            "function", 0, key_groups=_GROUPS, first_group=0, end_group=_GROUPS, files=self._files,
            work_dir=Path(self._folder.name) / "work", memory_bytes=1 << 30, states=declared, clock=self.clock,
            keys=None,
        )  # fmt: skip
        self._store.open(self._snapshots)
        context = OperatorContext(
            self._place, 0, 1, self._store, {one.spec.name: one.spec for one in declared},
            show_records=True, side=self._put_aside, event_time=self._event_time, now_ms=self.clock.now_ms,
        )  # fmt: skip
        operator.open(context)
        self._operator, self._lookup = operator, SlotLookup()
        self._lookup.open(context)

    def _close(self) -> None:
        self._operator.close()
        self._store.close()

    def _emitted(self, call: Callable[[Callable[[Batch[Any]], None]], None]) -> list[R]:
        batches: list[Batch[R]] = []
        call(batches.append)
        return [value for batch in batches for value in batch.values]

    def _put_aside(self, tag: OutputTag[Any], batch: Batch[Any]) -> None:
        self._sides.setdefault(tag, []).extend(batch.values)
