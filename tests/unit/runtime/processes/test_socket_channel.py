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

from streamlet.connect import Batch
from streamlet.elements import Barrier, Element, EndOfInput, Watermark
from streamlet.errors import ExchangeError, WorkerDiedError
from streamlet.operators.user_code.place import Place
from streamlet.runtime.processes import link, socket_channel
from streamlet.runtime.processes.frames import FrameKind, frame, pace_body
from streamlet.runtime.processes.link import MAX_FRAME_BYTES, Link, framed
from streamlet.runtime.processes.socket_channel import SocketExchange, SocketSender
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.placement import ChannelAddress, Placement

PLACE = Place("job.py", 7, "aggregate", "spend")


def _address(sender: int) -> ChannelAddress:
    return ChannelAddress(3, 0, sender, 1)


class Pair:
    """Two exchanges, channels from the first to one gate of the second."""

    def __init__(self, first: SocketExchange, second: SocketExchange, channels: int) -> None:
        self.gate = InputGate(Backlog(1000), ["in"] * channels)
        self.senders: list[SocketSender] = []
        for number in range(channels):
            self.senders.append(first.sender(_address(2 * number), 1000, PLACE))
            second.receiver(_address(2 * number), self.gate)

    async def take(self, count: int) -> list[Element]:
        return [element for element in [await self.gate.next() for _ in range(count)] if element is not None]


@contextlib.asynccontextmanager
async def _pair(channels: int = 1) -> AsyncIterator[Pair]:
    one, two = socket.socketpair()
    first = SocketExchange(Placement(2, 0), {1: await Link.over(one)})
    second = SocketExchange(Placement(2, 1), {0: await Link.over(two)})
    pair = Pair(first, second, channels)
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
@given(st.lists(st.integers(0, 30) | st.sampled_from([Barrier, Watermark]), max_size=30))
def test_elements_arrive_once_each_and_in_order(sizes: list[Any]) -> None:
    sent: list[Element] = [
        Batch([number] * size) if isinstance(size, int) else size(number) for number, size in enumerate(sizes, 1)
    ]

    async def work() -> list[Element]:
        async with _pair() as pair:
            for element in [*sent, EndOfInput()]:
                pair.senders[0].send(element)
            got: list[Element] = []
            while EndOfInput() not in got:
                got += await pair.take(1)
            return got[:-1]

    def shown(elements: list[Element]) -> list[Any]:
        return [one.values if isinstance(one, Batch) else one for one in elements if not isinstance(one, Watermark)]

    assert shown(_run(work)) == shown(sent)


def test_a_sender_has_room_again_when_the_receiving_subtask_has_taken_what_is_under_way() -> None:
    async def work() -> None:
        async with _pair() as pair:
            (sender,) = pair.senders
            assert sender.backlog.has_room(0)
            sender.send(Batch([1] * 6))
            sender.send(Batch([2] * 6))
            assert not sender.backlog.has_room(0)
            while len(pair.gate.channels[0].waiting) < 2:  # noqa: ASYNC110 - a turn for the sockets, not a wait
                await asyncio.sleep(0)
            assert sender.backlog.records == 12, "all has arrived, and none was taken"
            roomy = asyncio.Event()
            sender.backlog.wake_when_roomy(0, roomy.set)
            await pair.take(2)
            await roomy.wait()
            assert sender.backlog.records == 0

    _run(work)


def test_the_receivers_tell_the_senders_how_fast_they_are() -> None:
    async def work() -> None:
        async with _pair() as pair:
            (sender,) = pair.senders
            sender.send(Batch([1]))
            assert not sender.backlog.has_room(0), "nothing is known of what a record takes"
            pair.gate.backlog.begin(0.0)
            pair.gate.backlog.done(1e-6, 1, 1e-6)
            while not sender.backlog.has_room(0):  # noqa: ASYNC110 - a turn for the sockets, not a wait
                await asyncio.sleep(0)
            assert sender.backlog.seconds_per_record == pytest.approx(1e-6)
            for _ in range(10):
                pair.gate.backlog.begin(0.0)
                pair.gate.backlog.done(0.2, 1, 0.2)
            while sender.backlog.has_room(0):  # noqa: ASYNC110 - a turn for the sockets, not a wait
                await asyncio.sleep(0)

    _run(work)


def test_what_one_sender_has_behind_a_barrier_takes_no_room_from_those_before_it() -> None:
    async def work() -> None:
        async with _pair(channels=2) as pair:
            one, two = pair.senders
            one.send(Batch(["before"]))
            one.send(Barrier(1))
            one.send(Batch(["behind"]))
            await pair.take(1)
            while one.backlog.records > 1:  # noqa: ASYNC110 - a turn for the sockets, not a wait
                await asyncio.sleep(0)
            assert two.backlog.has_room(0)
            assert not two.backlog.has_room(1)
            two.send(Barrier(1))
            assert await pair.take(1) == [Barrier(1)]
            assert _values((await pair.take(1))[0]) == ["behind"]
            while one.backlog.records:  # noqa: ASYNC110 - a turn for the sockets, not a wait
                await asyncio.sleep(0)

    _run(work)


def test_a_channel_that_waits_holds_up_no_other_on_the_same_link() -> None:
    async def work() -> None:
        async with _pair(channels=2) as pair:
            one, two = pair.senders
            one.send(Barrier(1))
            one.send(Batch(["behind", "a barrier"]))
            for number in range(50):
                two.send(Batch([number]))
                assert _values((await pair.take(1))[0]) == [number]
            two.send(Barrier(1))
            assert await pair.take(1) == [Barrier(1)]
            assert _values((await pair.take(1))[0]) == ["behind", "a barrier"]

    _run(work)


def test_a_batch_longer_than_a_frame_arrives_whole() -> None:
    async def work() -> None:
        async with _pair() as pair:
            pair.senders[0].send(Batch(list(range(2500))))
            assert [value for element in await pair.take(3) for value in _values(element)] == list(range(2500))

    _run(work)


def test_a_value_that_cannot_cross_names_the_line_of_the_operator_behind() -> None:
    async def work() -> None:
        async with _pair() as pair:
            with pytest.raises(
                ExchangeError, match=r"^job\.py:7: .*builtins\.object .*\n  on the way to aggregate 'spend'"
            ):
                pair.senders[0].send(Batch([object()]))

    _run(work)


def test_a_batch_of_large_records_goes_in_several_frames_and_a_record_that_fits_in_none_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (link, socket_channel):
        monkeypatch.setattr(module, "MAX_FRAME_BYTES", 1000)

    async def scenario() -> None:
        async with _pair() as pair:
            values = [f"{number}" * 300 for number in range(9)]
            pair.senders[0].send(Batch(values, list(range(9))))
            taken: list[Element] = []
            while sum(len(one) for one in taken if isinstance(one, Batch)) < len(values):
                taken += await pair.take(1)
            assert len(taken) > 3 and [value for one in taken for value in _values(one)] == values
            assert [time for one in taken for time in one.timestamps or ()] == list(range(9))  # type: ignore[union-attr]
            with pytest.raises(ExchangeError, match=r"a record has \d+ bytes, and at most 1000[\s\S]*spend[\s\S]*-> "):
                pair.senders[0].send(Batch(["x", "y" * 2000]))

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


def test_the_pace_of_a_task_to_which_nothing_goes_ends_the_worker_with_words() -> None:
    async def scenario() -> None:
        one, two = socket.socketpair()
        exchange = SocketExchange(Placement(2, 1), {0: await Link.over(two)})
        one.sendall(framed(frame(FrameKind.PACE, _address(0), 1, pace_body(0.0, 0.1))))
        with pytest.raises(ExceptionGroup) as caught:
            await exchange.run()
        assert isinstance(caught.value.exceptions[0], WorkerDiedError)
        await exchange.close()
        one.close()

    _run(scenario)
