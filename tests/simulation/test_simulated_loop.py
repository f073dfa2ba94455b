"""The loop that everything else stands on: virtual time, seeded order, blocking calls, deadlock."""

from __future__ import annotations

import asyncio
import random

import pytest

from streamlet.testing.loop import POLICIES, Policy, SimulatedLoop, VirtualClock
from streamlet.testing.ports import SimulatedThreads
from streamlet.testing.priorities import MOST_DEPTH, ROUND_PICKS, Priorities


def _loop(policy: Policy = "fifo", seed: int = 1) -> SimulatedLoop:
    return SimulatedLoop(VirtualClock(), random.Random(seed), policy)


def test_sleeping_takes_no_time_but_the_virtual() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(3600)
        return loop.time()

    loop = _loop()
    assert loop.run(main()) == pytest.approx(3600, abs=0.01)
    assert loop.clock.now_ms() >= 1_700_003_600_000


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_order(policy: Policy) -> None:
    def order(seed: int) -> list[int]:
        found: list[int] = []

        async def one(number: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                found.append(number)

        async def main() -> None:
            await asyncio.gather(*(one(number) for number in range(6)))

        _loop(policy, seed).run(main())
        return found

    assert order(7) == order(7)
    assert (order(7) == order(8)) is (policy == "fifo")


def test_a_task_of_high_priority_keeps_others_waiting_but_not_for_ever() -> None:
    waited: list[int] = []

    async def wait(loop: SimulatedLoop) -> None:
        for _ in range(50):
            before = loop.steps
            await asyncio.sleep(0)
            waited.append(loop.steps - before)

    async def main(loop: SimulatedLoop) -> None:
        waiting = asyncio.ensure_future(wait(loop))
        while not waiting.done():  # noqa: ASYNC110 - it is to be ready always
            await asyncio.sleep(0)

    for seed in range(10):
        loop = _loop("priorities", seed)
        loop.run(main(loop))
    assert max(waited) > max(ROUND_PICKS) / 4, "in a random order none would wait for so long"
    assert max(waited) < 20 * max(ROUND_PICKS)


class Numbered:
    """As a task is."""

    def __init__(self, number: int) -> None:
        self._number = number

    def step(self) -> None:
        """Never called."""


def test_few_changes_are_drawn_and_each_puts_one_task_behind_all_others() -> None:
    changes = set()
    handles = [asyncio.Handle(Numbered(number).step, (), _loop()) for number in range(1, 6)]
    for seed in range(300):
        priorities = Priorities(random.Random(seed))
        picked = [priorities.highest(handles) for _ in range(min(ROUND_PICKS))]
        runs = [place for place, before in zip(picked, [None, *picked], strict=False) if place != before]
        assert len(runs) == len(set(runs)), "one that fell behind came back while others are ready"
        changes.add(len(runs) - 1)
    assert changes == set(range(MOST_DEPTH))


def test_the_order_of_cancelling_a_group_does_not_depend_on_memory() -> None:
    def order() -> list[int]:
        found: list[int] = []

        async def one(number: int) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                found.append(number)

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(number)) for number in range(9)]
                await asyncio.sleep(1)
                for task in tasks:
                    task.cancel()

        _loop().run(main())
        return found

    assert order() == order()


def test_a_blocking_call_that_has_begun_ends_though_nobody_waits() -> None:
    done: list[str] = []

    async def main() -> None:
        workers = SimulatedThreads().workers()
        call = asyncio.ensure_future(workers.run_blocking(done.append, "written"))
        await asyncio.sleep(0)
        call.cancel()
        await workers.close()

    _loop().run(main())
    assert done == ["written"]


def test_tasks_that_wait_for_each_other_are_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    loop = _loop()
    with pytest.raises(asyncio.InvalidStateError, match="nothing can wake one"):
        loop.run(main())
    loop.bury()


def test_nothing_of_a_buried_process_runs_on() -> None:
    steps: list[int] = []

    async def main() -> None:
        while True:
            steps.append(len(steps))
            await asyncio.sleep(0)

    loop = _loop()
    loop.create_task(main())
    for _ in range(5):
        loop.step()
    loop.bury()
    assert not loop.step()
    assert len(steps) == 5
