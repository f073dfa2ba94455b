"""Operators with records in flight: what event time, the end and further batches wait for in a chain and at a gate."""

from __future__ import annotations

import asyncio
from typing import Any

from streamlet import Stream
from streamlet.connect import Batch
from streamlet.elements import Barrier, Watermark
from streamlet.operators.operator import Emit, Operator
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.input_gate import InputGate
from streamlet.windows import MAX_TIMESTAMP, MIN_TIMESTAMP
from streamlet_connectors.print import Print
from tests.unit.runtime.task.test_chain_time import Running, Telling, then


class Holding(Operator):
    """Keeps every record in flight until it is let go; takes no batch meanwhile."""

    def __init__(self) -> None:
        self.in_flight: list[tuple[int, Any]] = []

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.in_flight += [(self.context.current_watermark, value) for value in batch.values]

    def held_watermark(self) -> int | None:
        return self.in_flight[0][0] if self.in_flight else None

    def has_room(self) -> bool:
        return not self.in_flight

    def on_clock(self, now_ms: int, out: Emit) -> None:
        out(Batch([self.in_flight.pop(0)[1]]))


class Timed(Running):
    """Knows how far time was told to move."""

    reached = MIN_TIMESTAMP

    def advance(self, timestamp: int) -> None:
        self.reached = timestamp
        super().advance(timestamp)


def _between(stream: Stream[int]) -> None:
    held = then(then(stream, lambda: Telling("a"), "a"), Holding, "held")
    then(held, lambda: Telling("b"), "b").sink(Print(), uid="out")


def _let_go(running: Timed) -> list[Any]:
    """Lets one record go and moves time as the subtask does; what came out."""
    (holding,) = [step.operator for step in running.chain._steps if isinstance(step.operator, Holding)]
    holding.context.wake()
    running.chain.on_clock(0)
    running.advance(running.reached)
    return [value for _, values in running.out() for value in values]


def test_event_time_moves_on_behind_an_operator_as_what_is_in_flight_there_is_let_go() -> None:
    running = Timed(lambda s: then(then(s, Holding), lambda: Telling("b")).sink(Print(), uid="out"))
    chain = running.chain
    assert (chain.has_room, chain.is_held) == (True, False)
    running.enter(Batch(["x"]))
    running.advance(10)
    running.enter(Batch(["y"]))
    running.advance(20)
    assert (running.out(), chain.watermark) == ([], MIN_TIMESTAMP)
    assert (chain.has_room, chain.is_held) == (False, True)
    assert _let_go(running) == [f"x > b at {MIN_TIMESTAMP}", "b fires 10 at 10"]
    assert chain.watermark == 10
    assert _let_go(running) == ["y > b at 10", "b fires 20 at 20"]
    assert (chain.watermark, chain.has_room, chain.is_held) == (20, True, False)
    running.advance(20)
    assert running.out() == []


def test_the_end_waits_in_the_order_of_the_stream_for_what_is_in_flight() -> None:
    running = Timed(_between)
    running.advance(MAX_TIMESTAMP)  # a fires into what holds
    assert running.chain.end(has_new=True) is False
    assert (running.out(), running.chain.told(has_new=True)) == ([], ["a"])
    assert _let_go(running)[0].startswith(f"a fires {MAX_TIMESTAMP}")
    assert running.chain.end(has_new=True) is False
    assert _let_go(running)[0].startswith("a ends")
    assert running.chain.end(has_new=True)
    assert [values[0].split(" at")[0] for _, values in running.out()] == ["b ends"]
    assert running.chain.told(has_new=True) == ["a", "b", "held"]
    assert running.chain.watermark == MAX_TIMESTAMP


def test_an_operator_that_was_told_of_the_end_before_a_restore_is_told_again_for_new_records_only() -> None:
    for has_new in True, False:
        running = Timed(_between)
        running.chain._told_before = {"a"}
        assert running.chain.told(has_new=has_new) == ([] if has_new else ["a"])
        assert running.chain.end(has_new=has_new) is not has_new
        assert bool(running.chain.is_held) is has_new


def test_a_gate_that_takes_no_batches_gives_what_stands_before_them() -> None:
    async def run() -> None:
        gate = InputGate(Backlog(1000))
        first, second = gate.connect(0), gate.connect(0)
        for one in Barrier(1), Batch([1]), Barrier(2):
            first.send(one)
        for other in Barrier(1), Watermark(5), Batch([2]):
            second.send(other)
        assert await gate.next(takes_batches=False) == Barrier(1)
        waiting = asyncio.ensure_future(gate.next(takes_batches=False))
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.interrupt()
        assert await waiting is None
        batches = [await gate.next(), await gate.next()]
        assert sorted(batch.values[0] for batch in batches if isinstance(batch, Batch)) == [1, 2]
        second.send(Barrier(2))
        assert await gate.next(takes_batches=False) == Barrier(2)

    asyncio.run(run())
