"""Records without an event time, under the policy of their source: left out, put aside, or the end of the job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, DeadLetter, Job, OutputTag, Stream, TumblingWindows, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import lines, make_job, run

DEAD = OutputTag[DeadLetter]("dead")
BAD: dict[str, Any] = {
    "none": None,
    "text": "2020-01-01",
    "empty": "",
    "float": 1.5,
    "nan": float("nan"),
    "true": True,
    "too early": -(1 << 63),
    "too late": 1 << 63,
    "a list": [1],
}


def _time(value: dict[str, Any]) -> Any:
    return value["at"]  # a KeyError where it is missing


def _source(folder: Path, bad: Any, **policy: Any) -> tuple[Job, Stream[Any]]:
    job = make_job(folder, batch_records=4)
    times: Any = WatermarkStrategy.monotonic().with_timestamps(_time)

    def make(i: int) -> dict[str, Any]:
        return {"n": i, "at": bad} if i % 4 == 1 and bad != "missing" else {"n": i} if i % 4 == 1 else {"n": i, "at": i}

    return job, job.source(Generator(make, count=12), uid="in", watermarks=times, **policy)


def _counted(job: Job, stream: Stream[Any], folder: Path) -> list[Any]:
    counts = stream.key_by(lambda value: 0).window(TumblingWindows(timedelta(milliseconds=4)))
    counted = counts.aggregate(Count(), uid="count", result=lambda key, window, n: [window.start, n])
    counted.sink(FileSink(str(folder / "out")), uid="out")
    assert run(job).code == 0
    return sorted(lines(folder / "out"))


@pytest.mark.parametrize("bad", [*BAD.values(), "missing"], ids=[*BAD, "missing"])
def test_a_record_without_a_time_is_left_out_where_the_policy_says_so(bad: Any, tmp_path: Path) -> None:
    job, stream = _source(tmp_path, bad, on_error="skip")
    assert _counted(job, stream, tmp_path) == [[0, 3], [4, 3], [8, 3]]


@pytest.mark.parametrize("bad", [*BAD.values(), "missing"], ids=[*BAD, "missing"])
def test_it_is_put_aside_with_what_is_wrong_with_it(bad: Any, tmp_path: Path) -> None:
    job, stream = _source(tmp_path, bad, on_error=DEAD)
    letters = stream.side_output(DEAD).map(lambda one: [one.value["n"], one.uid, one.error, one.origin, one.message])
    letters.sink(FileSink(str(tmp_path / "dead")), uid="dead")
    assert _counted(job, stream, tmp_path) == [[0, 3], [4, 3], [8, 3]]
    dead = sorted(lines(tmp_path / "dead"))
    assert [one[0] for one in dead] == [1, 5, 9]
    for _, uid, error, origin, message in dead:
        assert uid == "in" and error in ("RecordError", "KeyError") and origin.startswith("generator, index")
        assert message


def test_it_goes_straight_into_a_sink(tmp_path: Path) -> None:
    job, stream = _source(tmp_path, None, on_error=FileSink(str(tmp_path / "dead")))
    assert len(_counted(job, stream, tmp_path)) == 3
    assert [one["value"]["n"] for one in lines(tmp_path / "dead")] == [1, 5, 9]


def test_unless_told_it_is_the_end_of_the_job(tmp_path: Path) -> None:
    job, stream = _source(tmp_path, None)
    stream.sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job)
    assert ran.code == 1 and "gave None as the time of a record" in ran.said and "on_error" in ran.said


def test_a_record_whose_watermark_function_fails_is_left_out(tmp_path: Path) -> None:
    job = make_job(tmp_path, batch_records=4)
    behind: Callable[[int, int], int] = lambda value, timestamp: (1 // (value % 4 - 1) and timestamp) or timestamp  # noqa: E731
    times: Any = WatermarkStrategy.from_function(behind).with_timestamps(lambda value: value)
    stream = job.source(Generator(lambda i: i, count=12), uid="in", watermarks=times, on_error="skip")
    assert _counted(job, stream, tmp_path) == [[0, 3], [4, 3], [8, 3]]
