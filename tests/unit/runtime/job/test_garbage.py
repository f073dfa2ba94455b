"""Garbage collection while a job runs."""

from __future__ import annotations

import asyncio
import gc
import weakref

from streamlet.runtime.job.garbage import collected_at_chosen_times


class Knot:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_is_off_inside_and_as_before_outside() -> None:
    async def main() -> None:
        async with collected_at_chosen_times():
            assert not gc.isenabled()
        assert gc.isenabled()

    asyncio.run(main())


def test_a_collector_that_was_off_stays_off() -> None:
    async def main() -> None:
        gc.disable()
        try:
            async with collected_at_chosen_times():
                pass
            assert not gc.isenabled()
        finally:
            gc.enable()

    asyncio.run(main())


def test_cycles_that_pile_up_are_freed_while_the_job_runs() -> None:
    async def main() -> None:
        freed = asyncio.Event()
        async with collected_at_chosen_times(lambda: 0, look_seconds=0.01):
            knot = Knot()
            watch = weakref.finalize(knot, freed.set)
            del knot
            while not freed.is_set():
                for _ in range(10_000):
                    Knot()
                await asyncio.sleep(0)
            assert not watch.alive

    asyncio.run(main())


def test_state_that_grows_is_no_reason_to_collect_and_cycles_beside_it_still_are() -> None:
    async def main() -> None:
        state: dict[int, tuple[int, str]] = {}
        freed = asyncio.Event()
        async with collected_at_chosen_times(lambda: len(state), look_seconds=0.01):
            knot = Knot()
            watch = weakref.finalize(knot, freed.set)
            del knot
            for number in range(400_000):
                state[number] = number, str(number)
                if number % 1_000 == 0:
                    await asyncio.sleep(0)
            assert watch.alive
            while not freed.is_set():
                for _ in range(10_000):
                    Knot()
                await asyncio.sleep(0)

    asyncio.run(main())


def test_no_task_is_left_behind() -> None:
    async def main() -> set[asyncio.Task[None]]:
        async with collected_at_chosen_times():
            pass
        return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    assert not asyncio.run(main())
