"""A connector that is slow to hear of checkpoints holds nobody: neither checkpoints, nor other connectors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from streamlet.connect import Batch, Position, ReaderContext
from streamlet.runtime.task.notices import Notices
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, WaitingReader, lines, make_job, run, storage


def test_only_the_last_of_those_that_waited_is_told() -> None:
    async def told() -> list[int]:
        heard: list[int] = []
        goes_on = asyncio.Event()

        async def hear(checkpoint_id: int) -> None:
            heard.append(checkpoint_id)
            await goes_on.wait()

        notices = Notices(hear)
        task = asyncio.create_task(notices.run())
        for number in (1, 2, 3, 4):
            notices.add(number)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        goes_on.set()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        return heard

    assert asyncio.run(told()) == [1, 4]


class Deaf(WaitingReader):
    """Never comes back from what it is told, and ends when there are some checkpoints all the same."""

    folder = Path()

    async def fetch(self) -> Sequence[Batch[int]] | None:
        while len(storage(self.folder).checkpoints()) < 3:
            await asyncio.sleep(0.001)
            return []
        return await super().fetch()

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        await asyncio.Event().wait()


class DeafSource(Waiting):
    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> WaitingReader:
        return Deaf(self, context.batch_limit(), splits)


def test_a_source_that_never_hears_holds_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deaf, "folder", tmp_path)
    job = make_job(tmp_path, retain=10)
    source = job.source(DeafSource(40), uid="numbers")
    source.sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == list(range(40))
