"""Channels and gates: in order, fair, and awake when there is something."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from streamlet.connect import Batch
from streamlet.elements import Barrier, Element, EndOfInput
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.channel import Channel
from streamlet.runtime.task.input_gate import InputGate


def _gate(count: int) -> tuple[InputGate, list[Channel]]:
    gate = InputGate(Backlog(1000))
    return gate, [gate.connect(0) for _ in range(count)]


def _run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(limited())


async def _idle() -> None:
    """Lets every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _take(gate: InputGate, count: int) -> list[Element]:
    elements = [await gate.next() for _ in range(count)]
    return [element for element in elements if element is not None]


def test_the_channels_of_a_task_count_together_what_waits_in_them() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2)
        one.send(Batch([0] * 6))
        two.send(Batch([0] * 7))
        assert gate.backlog.records == 13
        assert len(await _take(gate, 1)) == 1
        assert gate.backlog.records == 7
        await _take(gate, 1)
        assert gate.backlog.records == 0

    _run(work)


def test_what_waits_behind_a_barrier_leaves_room_for_those_before_theirs() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2)
        one.send(Barrier(1))
        one.send(Batch(["behind"]))
        assert not gate.backlog.has_room(1)
        assert gate.backlog.has_room(0), "else the barrier of the other could not come"
        two.send(Batch(["before"]))
        assert not gate.backlog.has_room(0)
        two.send(Barrier(1))
        await _take(gate, 2)
        assert not gate.backlog.has_room(1)
        await _take(gate, 1)
        assert gate.backlog.has_room(1)

    _run(work)


def test_a_channel_gives_all_that_was_sent_in_order() -> None:
    async def work() -> None:
        gate, (channel,) = _gate(1)
        channel.send(Batch([1]))
        channel.send(Barrier(1))
        channel.send(EndOfInput())
        channel.send(Barrier(2))
        batch, *rest = await _take(gate, 4)
        assert isinstance(batch, Batch)
        assert rest == [Barrier(1), EndOfInput(), Barrier(2)]

    _run(work)


def test_a_gate_that_waits_wakes_up_for_any_input() -> None:
    async def work() -> None:
        gate, channels = _gate(3)
        for channel in reversed(channels):
            waiting = asyncio.ensure_future(gate.next())
            await _idle()
            assert not waiting.done()
            channel.send(Batch([1]))
            await waiting

    _run(work)


def test_a_busy_input_does_not_starve_the_others() -> None:
    async def work() -> None:
        gate, channels = _gate(3)
        for channel, count in zip(channels, (100, 2, 1), strict=True):
            for _ in range(count):
                channel.send(Batch([channels.index(channel)]))
        first = [element.values[0] for element in await _take(gate, 6) if isinstance(element, Batch)]
        assert first == [0, 1, 2, 0, 1, 0]

    _run(work)


def test_behind_its_barrier_an_input_waits_for_the_others() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2)
        for element in (Batch(["one, before"]), Barrier(1), Batch(["one, after"])):
            one.send(element)
        two.send(Batch(["two, before"]))
        assert [element.values[0] for element in await _take(gate, 2) if isinstance(element, Batch)] == [
            "one, before",
            "two, before",
        ]
        waiting = asyncio.ensure_future(gate.next())
        await _idle()
        assert not waiting.done()
        two.send(Barrier(1))
        assert await waiting == Barrier(1)
        after = await gate.next()
        assert isinstance(after, Batch)
        assert after.values == ["one, after"]

    _run(work)


def test_the_end_is_given_once_when_every_input_ended_and_barriers_go_on() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2)
        one.send(EndOfInput())
        one.send(Barrier(1))
        two.send(Batch([1]))
        two.send(Barrier(1))
        two.send(EndOfInput())
        assert [type(element) for element in await _take(gate, 3)] == [Batch, Barrier, EndOfInput]

    _run(work)
