"""Channels over a real pair of sockets: in order, bounded by credit, none waiting behind another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlet import Barrier, Batch, EndOfInput
from streamlet.elements import Element, Watermark
from streamlet.errors import ExchangeError, WorkerDiedError
from streamlet.operators.place import Place
from streamlet.runtime.channel import InputGate
from streamlet.runtime.placement import ChannelAddress, Placement
from streamlet.runtime.processes import link, socket_channel
from streamlet.runtime.processes.frames import FrameKind, frame
from streamlet.runtime.processes.link import MAX_FRAME_BYTES, Link, framed
from streamlet.runtime.processes.socket_channel import SocketExchange, SocketSender

PLACE = Place("job.py", 7, "aggregate", "spend")


def _address(sender: int) -> ChannelAddress:
    return ChannelAddress(3, 0, sender, 1)


class Pair:
    """Two exchanges, channels from the first to one gate of the second."""

    def __init__(self, first: SocketExchange, second: SocketExchange, channels: int, bound: int) -> None:
        self.gate = InputGate(["in"] * channels)
        self.senders: list[SocketSender] = []
        for number in range(channels):
            self.senders.append(first.sender(_address(2 * number), bound, PLACE))
            second.receiver(_address(2 * number), self.gate, bound)

    async def take(self, count: int) -> list[Element]:
        return [element for element in [await self.gate.next() for _ in range(count)] if element is not None]


@contextlib.asynccontextmanager
async def _pair(channels: int = 1, bound: int = 10) -> AsyncIterator[Pair]:
    one, two = socket.socketpair()
    first = SocketExchange(Placement(2, 0), {1: await Link.over(one)})
    second = SocketExchange(Placement(2, 1), {0: await Link.over(two)})
    pair = Pair(first, second, channels, bound)
    running = [asyncio.create_task(first.run()), asyncio.create_task(second.run())]
    try:
        yield pair
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await first.close()
        await second.close()


def _run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(limited())


def _values(element: Element) -> list[Any]:
    assert isinstance(element, Batch)
    return element.values


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 30) | st.sampled_from([Barrier, Watermark]), max_size=30), st.integers(1, 40))
def test_elements_arrive_once_each_and_in_order(sizes: list[Any], bound: int) -> None:
    sent: list[Element] = [
        Batch([number] * size) if isinstance(size, int) else size(number) for number, size in enumerate(sizes, 1)
    ]

    async def work() -> list[Element]:
        async with _pair(bound=bound) as pair:

            async def send() -> None:
                for element in [*sent, EndOfInput()]:
                    await pair.senders[0].send(element)

            sending = asyncio.create_task(send())
            got: list[Element] = []
            while not isinstance(element := await pair.gate.next(), EndOfInput):
                assert element is not None
                got.append(element)
            await sending
            return got

    def shown(elements: list[Element]) -> list[Any]:
        return [one.values if isinstance(one, Batch) else one for one in elements if not isinstance(one, Watermark)]

    assert shown(_run(work)) == shown(sent)


def test_a_sender_waits_until_the_receiving_subtask_has_taken_what_is_under_way() -> None:
    async def work() -> None:
        async with _pair(bound=10) as pair:
            (sender,) = pair.senders
            await sender.send(Batch([1] * 6))
            await sender.send(Batch([2] * 6))
            sending = asyncio.create_task(sender.send(Batch([3])))
            while len(pair.gate.channels[0].waiting) < 2:  # noqa: ASYNC110 - a turn for the sockets, not a wait
                await asyncio.sleep(0)
            assert not sending.done(), "all has arrived, and none was taken"
            assert sender.records == 12
            await pair.take(1)
            await sending

    _run(work)


def test_at_most_the_bound_and_one_batch_is_under_way() -> None:
    async def work() -> None:
        async with _pair(bound=10) as pair:
            (sender,) = pair.senders
            most = 0

            async def send() -> None:
                nonlocal most
                for _ in range(100):
                    await sender.send(Batch([0] * 4))
                    most = max(most, sender.records)

            sending = asyncio.create_task(send())
            await pair.take(100)
            await sending
            assert most <= 10 + 4 - 1

    _run(work)


def test_a_full_channel_holds_up_no_other_on_the_same_link() -> None:
    async def work() -> None:
        async with _pair(channels=2, bound=2) as pair:
            one, two = pair.senders
            await one.send(Barrier(1))
            await one.send(Batch(["behind", "a barrier"]))
            held = asyncio.create_task(one.send(Batch(["held"])))
            for number in range(50):
                await two.send(Batch([number]))
                assert _values((await pair.take(1))[0]) == [number]
            assert not held.done()
            await two.send(Barrier(1))
            assert await pair.take(1) == [Barrier(1)]
            assert _values((await pair.take(1))[0]) == ["behind", "a barrier"]
            await held

    _run(work)


def test_a_watermark_barrier_or_end_never_waits() -> None:
    async def work() -> None:
        async with _pair(bound=1) as pair:
            (sender,) = pair.senders
            await sender.send(Batch([1]))
            for element in (Watermark(1), Barrier(1), EndOfInput()):
                await sender.send(element)
            first, *rest = await pair.take(4)
            assert _values(first) == [1]
            assert rest == [Watermark(1), Barrier(1), EndOfInput()]

    _run(work)


def test_a_batch_longer_than_a_frame_arrives_whole() -> None:
    async def work() -> None:
        async with _pair(bound=500) as pair:
            sending = asyncio.create_task(pair.senders[0].send(Batch(list(range(2500)))))
            got = [value for element in await pair.take(3) for value in _values(element)]
            assert got == list(range(2500))
            await sending

    _run(work)


def test_a_value_that_cannot_cross_names_the_line_of_the_operator_behind() -> None:
    async def work() -> None:
        async with _pair() as pair:
            with pytest.raises(
                ExchangeError, match=r"^job\.py:7: .*builtins\.object .*\n  on the way to aggregate 'spend'"
            ):
                await pair.senders[0].send(Batch([object()]))

    _run(work)


def test_a_batch_of_large_records_goes_in_several_frames_and_a_record_that_fits_in_none_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (link, socket_channel):
        monkeypatch.setattr(module, "MAX_FRAME_BYTES", 1000)

    async def scenario() -> None:
        async with _pair(bound=100) as pair:
            values = [f"{number}" * 300 for number in range(9)]
            sending = asyncio.create_task(pair.senders[0].send(Batch(values, list(range(9)))))
            taken: list[Element] = []
            while sum(len(one) for one in taken if isinstance(one, Batch)) < len(values):
                taken += await pair.take(1)
            await sending
            assert len(taken) > 3 and [value for one in taken for value in _values(one)] == values
            assert [time for one in taken for time in one.timestamps or ()] == list(range(9))  # type: ignore[union-attr]
            with pytest.raises(ExchangeError, match=r"a record has \d+ bytes, and at most 1000[\s\S]*spend[\s\S]*-> "):
                await pair.senders[0].send(Batch(["x", "y" * 2000]))

    _run(scenario)


def test_a_length_that_no_frame_has_is_refused_by_its_first_bytes() -> None:
    async def scenario() -> None:
        one, two = socket.socketpair()
        receiver = await Link.over(two)
        one.sendall((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
        with pytest.raises(WorkerDiedError, match="a frame has at most"):
            await receiver.receive()
        await receiver.finish()
        one.close()

    _run(scenario)


def test_more_than_a_frame_may_have_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MAX_FRAME_BYTES", 10)
    assert framed(bytes(10)) == b"\0\0\0\x0a" + bytes(10)
    with pytest.raises(ExchangeError, match="11 bytes are to go to another process"):
        framed(bytes(11))


def test_a_frame_for_a_channel_that_is_not_there_ends_the_worker_with_words() -> None:
    async def scenario() -> None:
        one, two = socket.socketpair()
        exchange = SocketExchange(Placement(2, 1), {0: await Link.over(two)})
        one.sendall(framed(frame(FrameKind.CREDIT, _address(0), 1)))
        with pytest.raises(ExceptionGroup) as caught:
            await exchange.run()
        assert isinstance(caught.value.exceptions[0], WorkerDiedError)
        await exchange.close()
        one.close()

    _run(scenario)
