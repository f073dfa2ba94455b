"""After a batch that held the loop long, everything else gets some turns before the next one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from streamlet.turns import LoopTurns


def _run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(limited())


async def _counted(counts: list[int]) -> None:
    while True:
        counts[0] += 1
        await asyncio.sleep(0)


async def _turns_of_a_rest(seconds: float) -> int:
    turns, counts = LoopTurns(), [0]
    counting = asyncio.ensure_future(_counted(counts))
    await asyncio.sleep(0)
    before = counts[0]
    turns.held(seconds)
    await turns.rest()
    counting.cancel()
    return counts[0] - before


def test_a_short_batch_lets_others_have_one_turn() -> None:
    assert _run(lambda: _turns_of_a_rest(0.002)) == 1


def test_a_long_batch_lets_others_have_more() -> None:
    assert _run(lambda: _turns_of_a_rest(0.2)) >= 10


def test_of_all_that_rest_one_at_a_time_goes_on_with_a_long_batch() -> None:
    async def work() -> None:
        turns, counts = LoopTurns(), [0]
        began: list[int] = []

        async def slow() -> None:
            for _ in range(3):
                await turns.rest()
                began.append(counts[0])
                turns.held(0.2)

        counting = asyncio.ensure_future(_counted(counts))
        await asyncio.gather(*(slow() for _ in range(4)))
        counting.cancel()
        assert len(began) == 12
        assert all(after - before >= 10 for before, after in itertools.pairwise(began))

    _run(work)


def test_one_that_is_cancelled_while_it_rests_holds_nobody_up() -> None:
    async def work() -> None:
        turns = LoopTurns()
        turns.held(0.2)
        one, other = (asyncio.ensure_future(turns.rest()) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        one.cancel()
        await other
        assert not turns.is_resting

    _run(work)
