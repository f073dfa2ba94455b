"""Watermarks at a gate: in order with batches and barriers, merged over channels, kept by input."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from streamlet.connect import Batch
from streamlet.elements import Barrier, Element, EndOfInput, Watermark
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.channel import Channel
from streamlet.runtime.task.input_gate import InputGate
from streamlet.windows import MIN_TIMESTAMP


class Loop:
    """The event loop of one test: what waits in a gate waits in this loop."""

    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)


LOOP = Loop()


@pytest.fixture(autouse=True)
def _loop() -> Iterator[None]:
    with asyncio.Runner() as LOOP.runner:
        yield


def _gate(*inputs: int) -> tuple[InputGate, list[Channel]]:
    """A gate with a channel for each of these numbers of input edges."""
    gate = InputGate(Backlog(1000))
    return gate, [gate.connect(index) for index in inputs]


def _send(channel: Channel, *elements: Element) -> None:
    async def send() -> None:
        for element in elements:
            channel.send(element)

    LOOP.run(send())


def _drain(gate: InputGate) -> list[Element]:
    """Everything that the gate gives without waiting."""

    async def drain() -> list[Element]:
        taken: list[Element] = []
        while True:
            try:
                async with asyncio.timeout(0):
                    element = await gate.next()
            except TimeoutError:
                return taken
            if element is not None:
                taken.append(element)

    elements: list[Element] = LOOP.run(drain())
    return elements


def test_a_gate_tells_the_lowest_watermark_when_it_changes() -> None:
    gate, (one, other) = _gate(0, 0)
    _send(one, Watermark(10))
    assert _drain(gate) == []
    _send(other, Watermark(5), Batch([1]), Watermark(20))
    elements = _drain(gate)
    assert elements[0] == Watermark(5)
    assert elements[2] == Watermark(10)


def test_a_watermark_behind_a_barrier_waits_for_the_alignment() -> None:
    gate, (one, other) = _gate(0, 0)
    _send(one, Watermark(10), Barrier(1), Watermark(30))
    _send(other, Watermark(20))
    assert _drain(gate) == [Watermark(10)]
    assert gate.snapshot() == {"watermark": 10, "inputs": {"0": 10}}
    _send(other, Barrier(1))
    assert _drain(gate) == [Barrier(1), Watermark(20)]


def test_idle_and_ended_channels_hold_nobody_back() -> None:
    gate, (one, other, third) = _gate(0, 0, 1)
    _send(one, Watermark(MIN_TIMESTAMP, is_idle=True))
    _send(other, Watermark(20))
    _send(third, Watermark(10))
    assert _drain(gate) == [Watermark(10)]
    _send(third, EndOfInput())
    assert _drain(gate) == [Watermark(20)]
    _send(other, Watermark(25, is_idle=True))
    assert _drain(gate) == [Watermark(25, is_idle=True)]


def test_a_channel_without_records_keeps_only_its_newest_watermark() -> None:
    gate, (one,) = _gate(0)
    _send(one, *(Watermark(at) for at in range(1000)))
    assert list(one.waiting) == [Watermark(999)]
    _send(one, Batch([1]), Watermark(1000), Barrier(1), Watermark(1001))
    assert len(one.waiting) == 5
    assert len(_drain(gate)) == 5


def test_a_gate_says_which_input_a_batch_is_of() -> None:
    gate, (one, other) = _gate(0, 1)
    seen = []
    for channel in (other, one, other):
        _send(channel, Batch([1]))
        _drain(gate)
        seen.append(gate.input)
    assert seen == [1, 0, 1]


def test_an_interrupted_gate_gives_nothing_once() -> None:
    async def interrupted() -> tuple[Element | None, Element | None]:
        gate, (channel,) = _gate(0)
        waiting = asyncio.ensure_future(gate.next())
        await asyncio.sleep(0)
        gate.interrupt()
        first = await waiting
        channel.send(Barrier(1))
        return first, await gate.next()

    assert LOOP.run(interrupted()) == (None, Barrier(1))


def test_a_restored_gate_begins_at_the_lowest_of_each_input_and_takes_nothing_back() -> None:
    gate, (one, other, third) = _gate(0, 0, 1)
    _send(one, Watermark(30))
    _send(other, Watermark(20))
    _send(third, Watermark(5, is_idle=True))
    _drain(gate)
    assert gate.snapshot() == {"watermark": 20, "inputs": {"0": 20, "1": 5}}
    restored, (first, second, last, more) = _gate(0, 0, 1, 1)
    restored.restore(
        [{"watermark": 18, "inputs": {"0": 20, "1": 5}}, {"watermark": 20, "inputs": {"0": 20, "1": 5}}], is_mesh=True
    )
    assert restored.watermarks.current == Watermark(20)
    assert restored.watermarks.timestamps == {0: 20, 1: 20, 2: 5, 3: 5}
    _send(last, Watermark(40))
    _send(more, Watermark(40))
    _send(first, Watermark(50))
    assert _drain(restored) == []
    _send(second, Watermark(45))
    assert _drain(restored) == [Watermark(40)]


def test_where_subtasks_have_inputs_of_their_own_only_the_lowest_watermark_is_kept() -> None:
    gate, _ = _gate(0)
    gate.restore([{"watermark": 18, "inputs": {"0": 18}}, {"watermark": 90, "inputs": {"0": 90}}], is_mesh=False)
    assert gate.watermarks.current == Watermark(18)


def test_a_gate_that_knows_no_event_time_has_nothing_to_keep() -> None:
    gate, (one,) = _gate(0)
    _send(one, Batch([1]), Barrier(1))
    _drain(gate)
    assert gate.snapshot() is None
    gate.restore([], is_mesh=True)
    assert gate.watermarks.current == Watermark(MIN_TIMESTAMP)


def test_an_input_is_found_again_by_whose_output_it_is() -> None:
    gate = InputGate(Backlog(1000), ["clicks", "views@late"])
    one, other = (gate.connect(index) for index in range(2))
    _send(one, Watermark(30))
    _send(other, Watermark(20))
    _drain(gate)
    snapshot = gate.snapshot()
    assert snapshot == {"watermark": 20, "inputs": {"clicks": 30, "views@late": 20}}
    changed = InputGate(Backlog(1000), ["new", "views@late", "clicks"])
    for index in range(3):
        changed.connect(index)
    changed.restore([snapshot], is_mesh=True)
    assert changed.watermarks.timestamps == {0: MIN_TIMESTAMP, 1: 20, 2: 30}
