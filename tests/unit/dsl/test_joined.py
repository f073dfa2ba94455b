"""Joins as a user writes them: what is refused with line and remedy, and whole jobs against plain Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job, TumblingWindows, WatermarkStrategy, Window
from streamlet.errors import JobDefinitionError
from streamlet.windows import CountWindows
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import BACKENDS, lines, make_job, run

MS, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)
THIS = re.escape(__file__)


def _numbers(job: Job, uid: str, *, count: int = 1, timed: bool = True, key: Callable[[int], Any] | None = None) -> Any:
    watermarks = None
    if timed:
        watermarks = WatermarkStrategy.bounded_out_of_orderness(20 * MS).with_timestamps(_time)
    stream = job.source(Generator(int, count=count), uid=uid, watermarks=watermarks)
    return stream.key_by(key or (lambda one: one % 3))


def _bare() -> Any:
    return _numbers(Job("job"), "numbers").map(int)


def _time(number: int) -> int:
    return 100 + number * 2 - number * 7 % 10


def _both(left: Any, right: Any) -> Any:
    return left, right


def _three(left: Any, right: Any, window: Window) -> Any:
    return left, right, window.start, window.end


def _interval(*, right: Any = None, function: Any = _both, **changed: Any) -> Any:
    job = Job("job")
    left = _numbers(job, "left")
    options = {"lower": -SECOND, "upper": SECOND} | changed
    return left.interval_join(right(job) if right else _numbers(job, "right"), function, **options)


def _as_of(*, right: Any = None, function: Any = _both, **options: Any) -> Any:
    job = Job("job")
    return _numbers(job, "left").as_of_join(right(job) if right else _numbers(job, "right"), function, **options)


def _window(windows: Any = None, *, right: Any = None, function: Any = _three, **options: Any) -> Any:
    job = Job("job")
    chosen = TumblingWindows(SECOND) if windows is None else windows
    return _numbers(job, "left").window_join(
        right(job) if right else _numbers(job, "right"), chosen, function, **options
    )


def _untimed(job: Job) -> Any:
    return _numbers(job, "right", timed=False)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: _interval(right=lambda job: _numbers(job, "right").map(str)), "interval_join takes a keyed stream"),
    (lambda: _interval(right=lambda job: _numbers(Job("other"), "right")), "of the same job"),
    (lambda: _interval(right=lambda job: 5), "takes a keyed stream"),
    (lambda: _interval(function=5), "takes a plain function of left and right"),
    (lambda: _interval(how="outer"), "with how='outer'"),
    (lambda: _interval(left_late="late"), "take an OutputTag"),
    (lambda: _interval(lower=5), "lower of interval_join"),
    (lambda: _interval(upper=timedelta(microseconds=1)), "whole milliseconds"),
    (lambda: _interval(lower=SECOND, upper=-SECOND), "holds no time"),
    (lambda: _plan(_interval(right=_untimed)), "by event time"),
    (lambda: _plan(_interval(left_type=object)), "cannot be stored"),
    (lambda: _as_of(right=lambda job: _numbers(job, "right").map(str)), "as_of_join takes a keyed stream"),
    (lambda: _as_of(function=None), "takes a plain function of left and right"),
    (lambda: _as_of(how="right"), "as_of_join with how='right'"),
    (lambda: _as_of(tolerance=-MS), "tolerance of as_of_join"),
    (lambda: _plan(_as_of(right=_untimed)), "works by event time"),
    (lambda: _window(right=lambda job: _numbers(job, "right").map(str)), "window_join takes a keyed stream"),
    (lambda: _bare().window_join(_bare(), TumblingWindows(SECOND), _three), "window_join is for streams with keys"),
    (lambda: _bare().interval_join(_bare(), _both, lower=-MS, upper=MS), "interval_join is for streams with keys"),
    (lambda: _bare().as_of_join(_bare(), _both), "as_of_join is for streams with keys"),
    (lambda: _window(SECOND), "window_join takes windows of time"),
    (lambda: _window(CountWindows(3)), "window_join takes windows of time"),
    (lambda: _window(function=5), "takes a plain function of left and right"),
    (lambda: _window(how="outer"), "with how='outer'"),
    (lambda: _window(left_late="late"), "take an OutputTag"),
    (lambda: _window(allowed_lateness=-SECOND), "allowed_lateness of window_join"),
    (lambda: _window(TumblingWindows(SECOND, time="processing"), allowed_lateness=SECOND), "nothing is ever late"),
    (lambda: _plan(_window(right=_untimed)), "works by event time"),
]


def _plan(stream: Any) -> Any:
    stream.sink(Print())
    return stream._job.plan()


@pytest.mark.parametrize(("make", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_a_join_that_cannot_be_is_refused_with_line_and_remedy(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(JobDefinitionError, match=f"(?s)^{THIS}:\\d+: .*{re.escape(says)}") as caught:
        make()
    assert caught.value.remedy


def _near(lower: int, upper: int, count: int) -> list[list[int | None]]:
    """Who is near whom, and who is near nobody."""
    pairs = [
        (one, other)
        for one in range(count)
        for other in range(count)
        if one % 3 == other % 3 and lower <= _time(other) - _time(one) <= upper
    ]
    alone = [(one, None) for one in range(count) if one not in {pair[0] for pair in pairs}]
    nobody = [(None, one) for one in range(count) if one not in {pair[1] for pair in pairs}]
    return sorted((list(pair) for pair in [*pairs, *alone, *nobody]), key=repr)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_whole_job_joins_as_plain_python_does(backend: str, parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism, state_backend=backend)
    left, right = _numbers(job, "left", count=100), _numbers(job, "right", count=100)
    joined = left.interval_join(right, _both, lower=5 * MS, upper=9 * MS, how="full", uid="joined")
    joined.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out"), key=repr) == _near(5, 9, 100)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_value_meets_the_version_that_was_the_latest_at_its_time(backend: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=2, state_backend=backend)
    left, right = _numbers(job, "left", count=100), _numbers(job, "right", count=40)
    joined = left.as_of_join(right, _both, how="left", tolerance=60 * MS, uid="joined")
    joined.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    expected = []
    for one in range(100):
        known = [other for other in range(one % 3, 40, 3) if 0 <= _time(one) - _time(other) <= 60]
        expected.append([one, max(known, key=_time, default=None)])
    assert sorted(lines(tmp_path / "out")) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_that_lie_in_one_window_meet_when_it_ends(backend: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=2, state_backend=backend)
    left, right = _numbers(job, "left", count=100), _numbers(job, "right", count=60)
    joined = left.window_join(right, TumblingWindows(7 * MS), _three, how="left", uid="joined")
    joined.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    expected: list[list[int | None]] = []
    for one in range(100):
        start = _time(one) // 7 * 7
        others: list[int | None] = [
            other for other in range(60) if one % 3 == other % 3 and start <= _time(other) < start + 7
        ]
        expected += [[one, other, start, start + 7] for other in others or [None]]
    assert sorted(lines(tmp_path / "out"), key=repr) == sorted(expected, key=repr)


def test_a_stream_can_be_joined_with_itself(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    numbers = _numbers(job, "numbers", count=50)
    numbers.interval_join(numbers, _both, lower=-4 * MS, upper=-MS, how="full").sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out"), key=repr) == _near(-4, -1, 50)


def test_keys_of_two_types_are_refused_with_a_remedy(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    left, right = _numbers(job, "left"), _numbers(job, "right", key=str)
    left.interval_join(right, _both, lower=-MS, upper=MS).sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code != 0
    assert "int" in ran.said
    assert "str" in ran.said
    assert "interval_join" in ran.said
