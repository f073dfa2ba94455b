"""Joins by time that the job file changes: kept rows go on, or the change is refused because rows are gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job, WatermarkStrategy
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, checkpoint_at, files, lines, make_job, run

S = timedelta(seconds=1)
TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda number: number * 1000)


def _pair(left: Any, right: Any) -> list[Any]:
    return [left, right]


def _interval(lower: int, upper: int, how: Any = "inner") -> Any:
    options: dict[str, Any] = {"lower": lower * S, "upper": upper * S, "how": how}
    return lambda keyed: keyed.interval_join(keyed, _pair, uid="j", **options)


def _as_of(tolerance: int | None, how: Any = "inner") -> Any:
    longest = None if tolerance is None else tolerance * S
    return lambda keyed: keyed.as_of_join(keyed, _pair, tolerance=longest, how=how, uid="j")


def _job(folder: Path, joined: Any) -> Job:
    job = make_job(folder, state_backend="memory", batch_records=1)
    keyed = job.source(Waiting(30, 10), uid="numbers", watermarks=TIMES).key_by(lambda n: 0, uid="by")
    joined(keyed).sink(FileSink(str(folder / "out")), uid="out")
    return job


def _edited(folder: Path, before: Any, after: Any, **options: Any) -> tuple[Any, list[Any]]:
    assert run(_job(folder, before)).code == 0
    old = files(folder / "out")
    ran = run(_job(folder, after), from_checkpoint=str(checkpoint_at(folder, 10)), **options)
    return ran, lines(folder / "out", but=old)


def test_a_narrower_interval_goes_on(tmp_path: Path) -> None:
    ran, found = _edited(tmp_path, _interval(-3, 0), _interval(-1, 0))
    assert ran.code == 0, ran
    assert sorted(found) == sorted([n, m] for n in range(10, 30) for m in (n - 1, n))


@pytest.mark.parametrize(
    "before, after, said",
    [
        (_interval(-1, 0), _interval(-3, 0), "lower_ms was -1000 and is -3000: rows that it would need"),
        (_interval(-1, 0), _interval(-1, 2), "upper_ms was 0 and is 2000: rows that it would need"),
        (_interval(-3, 0, "left"), _interval(-1, 0, "left"), "put out after its time"),
        (_interval(-3, 0), _interval(-3, 0, "left"), "how was inner and is left"),
        (_as_of(1), _as_of(5), "tolerance_ms was 1000 and is 5000"),
        (_as_of(1), _as_of(None), "tolerance_ms was 1000 and is None"),
        (_as_of(1), _interval(-1, 0), "was AsOfJoin and is IntervalJoin"),
    ],
)
def test_a_change_that_needs_rows_which_are_gone_is_refused_and_the_remedy_works(
    before: Any, after: Any, said: str, tmp_path: Path
) -> None:
    ran, found = _edited(tmp_path, before, after)
    assert ran.code == 2 and found == [] and said in ran.said, ran
    at = str(checkpoint_at(tmp_path, 10))
    assert run(_job(tmp_path, after), from_checkpoint=at, allow_dropped_state=["j"]).code == 0


def test_a_shorter_tolerance_and_another_kind_of_as_of_join_go_on(tmp_path: Path) -> None:
    ran, found = _edited(tmp_path, _as_of(5), _as_of(2, "left"))
    assert ran.code == 0, ran
    assert found == [[n, n] for n in range(found[0][0], 30)]
