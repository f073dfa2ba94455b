"""What a sink must list at every checkpoint, and when it is told that nothing will name it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from streamlet.connect import Batch, Committable
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.sink_leaf import SinkLeaf


class Writer:
    """Prepares one unit for each checkpoint with something written, and keeps what it was told."""

    def __init__(self) -> None:
        self.pending: list[Any] = []
        self.told: list[str] = []

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch[Any]) -> None:
        self.pending += batch.values

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        if not self.pending:
            return []
        count, self.pending = len(self.pending), []
        return [Committable(f"unit-{checkpoint_id}", {}, count, "test")]

    async def released(self, committables: Sequence[Committable]) -> None:
        self.told += [one.id for one in committables]

    async def close(self) -> None:
        pass


def _leaf() -> tuple[SinkLeaf, Writer]:
    writer = Writer()
    return SinkLeaf(Place("job.py", 7, "sink", "out"), 3, writer), writer


async def _prepare(leaf: SinkLeaf, checkpoint_id: int, records: int = 1) -> list[str]:
    await leaf.deliver(Batch([0] * records))
    return [one.committable.id for one in await leaf.prepare(checkpoint_id)]


def test_a_prepared_unit_is_listed_until_a_marker_covers_its_checkpoint() -> None:
    async def work() -> None:
        leaf, _ = _leaf()
        assert await _prepare(leaf, 1) == ["unit-1"]
        assert await _prepare(leaf, 2) == ["unit-1", "unit-2"]
        await leaf.marked(1)
        assert await _prepare(leaf, 3) == ["unit-2", "unit-3"]
        await leaf.marked(3)
        assert await _prepare(leaf, 4, records=0) == []

    asyncio.run(work())


def test_a_unit_is_released_only_when_every_checkpoint_that_lists_it_is_covered() -> None:
    async def work() -> None:
        leaf, writer = _leaf()
        await _prepare(leaf, 1)
        await _prepare(leaf, 2)  # lists unit-1 again: its commit was still on the way
        await leaf.marked(1)
        assert writer.told == []
        await leaf.marked(2)
        assert writer.told == ["unit-1", "unit-2"]

    asyncio.run(work())


def test_a_unit_of_an_abandoned_checkpoint_is_released_by_the_next_marker_that_covers_it() -> None:
    async def work() -> None:
        leaf, writer = _leaf()
        await _prepare(leaf, 1)
        await leaf.marked(1)
        await _prepare(leaf, 2)  # abandoned
        assert await _prepare(leaf, 3) == ["unit-2", "unit-3"]
        await leaf.marked(3)
        assert writer.told == ["unit-1", "unit-2", "unit-3"]

    asyncio.run(work())


def test_a_marker_that_comes_twice_or_late_releases_nothing_again() -> None:
    async def work() -> None:
        leaf, writer = _leaf()
        await _prepare(leaf, 1)
        await leaf.marked(1)
        await leaf.marked(1)
        await leaf.marked(0)
        assert writer.told == ["unit-1"]

    asyncio.run(work())


def test_listings_name_sink_subtask_and_the_checkpoint_that_prepared() -> None:
    async def work() -> None:
        leaf, _ = _leaf()
        await _prepare(leaf, 5)
        (listed, *_) = await leaf.prepare(6)
        assert (listed.sink_uid, listed.subtask, listed.checkpoint_id) == ("out", 3, 5)
        assert leaf.meter.records_out == 1

    asyncio.run(work())
