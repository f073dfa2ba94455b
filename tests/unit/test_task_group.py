"""The task group: whoever goes on behind one that has failed is not cancelled any more."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from streamlet.connect import TaskGroup


async def _fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("this child fails")


@pytest.mark.parametrize("is_left", [True, False], ids=["while it is left", "inside of it"])
def test_a_task_is_not_cancelled_behind_a_group_that_failed(is_left: bool) -> None:
    async def main() -> int:
        with contextlib.suppress(ExceptionGroup):
            async with TaskGroup() as group:
                group.create_task(_fails())
                if not is_left:
                    await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_a_cancellation_from_outside_still_counts() -> None:
    async def inner() -> int:
        try:
            async with TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()
        return 0

    async def main() -> int:
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(main()) == 1
