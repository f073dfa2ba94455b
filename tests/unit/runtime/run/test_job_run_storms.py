"""Jobs that fail again and again: what was asked for holds, and nothing piles up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, Restart
from streamlet.connect import Position, SinkContext
from streamlet.errors import SinkError, SourceError
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, checkpoint_at, files, lines, make_job, run, storage

AT_ONCE = timedelta(microseconds=1)
COUNT = 100


class Refusing(Waiting):
    """Cannot be asked for splits the first few times."""

    def __init__(self, refusals: int, *pauses: int) -> None:
        super().__init__(COUNT, *pauses)
        self.refusals = refusals

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        if self.refusals:
            self.refusals -= 1
            raise SourceError("the source does not answer", remedy="start it")
        return await super().discover(known)


class RefusingSink(FileSink[Any]):
    """Gives no writer the first few times: the attempt fails when its start is pinned and nothing runs yet."""

    refusals = 0

    def writer(self, context: SinkContext) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise SinkError("the sink does not answer")
        return super().writer(context)


def build(folder: Path, source: Waiting, *, refusals: int = 0, **settings: Any) -> Job:
    job = make_job(folder, **settings)
    sink = RefusingSink(folder / "out")
    sink.refusals = refusals
    counts = job.source(source, uid="numbers").key_by(lambda number: number % 7, uid="k")
    counts.aggregate(Count(), result=lambda rest, count: [rest, count], uid="count").sink(sink, uid="out")
    return job


def rows(start: int = 0) -> list[list[int]]:
    return [[number % 7, number // 7 + 1] for number in range(start, COUNT)]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("wanted", [30, "none"])
def test_an_older_checkpoint_that_was_asked_for_is_restored_though_attempts_fail_before_they_run(
    wanted: int | str, where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(build(tmp_path, Waiting(COUNT, 30, 60))).code == 0
    before = files(tmp_path / "out")
    chosen = checkpoint_at(tmp_path, wanted) if isinstance(wanted, int) else wanted
    source = Refusing(2) if where == "before" else Waiting(COUNT)
    job = build(tmp_path, source, refusals=2 if where == "after" else 0, restart=Restart.fixed(AT_ONCE, attempts=3))
    ran = run(job, from_checkpoint=chosen)
    assert ran.code == 0, ran
    assert caplog.text.count("restart ") == 2
    assert lines(tmp_path / "out", but=before) == rows(wanted if isinstance(wanted, int) else 0)


def test_after_fifty_attempts_that_fail_at_once_nothing_has_piled_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(build(tmp_path, Waiting(COUNT, 30)))
    assert first.code == 0, first
    folder = storage(tmp_path).folder
    ended = max(info.id for info in storage(tmp_path).checkpoints())
    chosen = checkpoint_at(tmp_path, 30)
    caplog.clear()
    job = build(tmp_path, Refusing(10**6), retain=0, restart=Restart.fixed(AT_ONCE, attempts=50))
    ran = run(job, from_checkpoint=chosen)
    assert ran.code == 1
    assert ran.said.splitlines()[-1].startswith("job: suspended after 50 restarts")
    assert max(info.id for info in storage(tmp_path).checkpoints()) == ended
    left = sorted(path.name.partition("-")[0] for path in folder.iterdir() if not path.name.startswith("chk-"))
    assert left.count("attempt") == 1
    assert not {"superseded", "released"} & set(left)
    assert len(list((folder / "work").iterdir())) <= 1
    assert len(caplog.records) == 50


def test_after_fifty_attempts_that_fail_when_their_start_is_pinned_nothing_has_piled_up(tmp_path: Path) -> None:
    job = build(tmp_path, Waiting(COUNT), refusals=50, retain=0, restart=Restart.fixed(AT_ONCE, attempts=50))
    ran = run(job)
    assert ran.code == 0, ran
    folder = storage(tmp_path).folder
    assert lines(tmp_path / "out") == rows()
    assert len(list(folder.glob("attempt-*"))) == 1
    assert len(list(folder.glob("chk-*"))) <= 2
    assert len(list((folder / "work").iterdir())) <= 1
