"""Channels and gates: bounded in records, fair, and awake when there is something."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from streamlet import Barrier, Batch, EndOfInput
from streamlet.elements import Element
from streamlet.runtime.channel import Channel, InputGate


def _gate(count: int, bound: int = 10) -> tuple[InputGate, list[Channel]]:
    gate = InputGate()
    return gate, [gate.connect(0, bound) for _ in range(count)]


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


def test_a_full_channel_holds_its_sender_until_there_is_room() -> None:
    async def work() -> None:
        gate, (channel,) = _gate(1, bound=10)
        await channel.send(Batch([0] * 6))
        await channel.send(Batch([0] * 6))
        sending = asyncio.ensure_future(channel.send(Batch([1])))
        await _idle()
        assert not sending.done()
        assert channel.records == 12
        await gate.next()
        await sending
        assert channel.records == 7

    _run(work)


def test_a_channel_holds_at_most_its_bound_and_one_batch() -> None:
    async def work() -> None:
        gate, (channel,) = _gate(1, bound=10)

        async def send() -> None:
            for _ in range(50):
                await channel.send(Batch([0] * 4))

        sending = asyncio.ensure_future(send())
        for _ in range(50):
            await _idle()
            assert channel.records <= 10 + 4 - 1
            await gate.next()
        await sending
        assert channel.records == 0

    _run(work)


def test_a_batch_larger_than_the_bound_passes_through_an_empty_channel() -> None:
    async def work() -> None:
        gate, (channel,) = _gate(1, bound=10)
        await channel.send(Batch([0] * 1000))
        element = await gate.next()
        assert isinstance(element, Batch)
        assert len(element) == 1000

    _run(work)


def test_barriers_ends_and_the_order_of_a_channel_do_not_depend_on_room() -> None:
    async def work() -> None:
        gate, (channel,) = _gate(1, bound=1)
        await channel.send(Batch([1]))
        await channel.send(Barrier(1))
        await channel.send(EndOfInput())
        await channel.send(Barrier(2))
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
            await channel.send(Batch([1]))
            await waiting

    _run(work)


def test_a_busy_input_does_not_starve_the_others() -> None:
    async def work() -> None:
        gate, channels = _gate(3, bound=1000)
        for channel, count in zip(channels, (100, 2, 1), strict=True):
            for _ in range(count):
                await channel.send(Batch([channels.index(channel)]))
        first = [element.values[0] for element in await _take(gate, 6) if isinstance(element, Batch)]
        assert first == [0, 1, 2, 0, 1, 0]

    _run(work)


def test_behind_its_barrier_an_input_waits_for_the_others() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2)
        for element in (Batch(["one, before"]), Barrier(1), Batch(["one, after"])):
            await one.send(element)
        await two.send(Batch(["two, before"]))
        assert [element.values[0] for element in await _take(gate, 2) if isinstance(element, Batch)] == [
            "one, before",
            "two, before",
        ]
        waiting = asyncio.ensure_future(gate.next())
        await _idle()
        assert not waiting.done()
        await two.send(Barrier(1))
        assert await waiting == Barrier(1)
        after = await gate.next()
        assert isinstance(after, Batch)
        assert after.values == ["one, after"]

    _run(work)


def test_a_blocked_input_still_holds_back_its_sender() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2, bound=2)
        await one.send(Barrier(1))
        await one.send(Batch([1, 2]))
        sending = asyncio.ensure_future(one.send(Batch([3])))
        waiting = asyncio.ensure_future(gate.next())
        await _idle()
        assert not sending.done()
        assert not waiting.done()
        await two.send(Barrier(1))
        assert await waiting == Barrier(1)
        await gate.next()
        await sending

    _run(work)


def test_the_end_is_given_once_when_every_input_ended_and_barriers_go_on() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2)
        await one.send(EndOfInput())
        await one.send(Barrier(1))
        await two.send(Batch([1]))
        await two.send(Barrier(1))
        await two.send(EndOfInput())
        assert [type(element) for element in await _take(gate, 3)] == [Batch, Barrier, EndOfInput]

    _run(work)


def test_two_senders_of_two_channels_do_not_wait_for_each_other() -> None:
    async def work() -> None:
        gate, (one, two) = _gate(2, bound=1)
        await one.send(Batch([1]))
        held = asyncio.ensure_future(one.send(Batch([2])))
        await _idle()
        await two.send(Batch([3]))
        assert not held.done()
        await _take(gate, 2)
        await held

    _run(work)
