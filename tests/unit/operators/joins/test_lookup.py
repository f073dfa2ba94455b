"""lookup_join as a user writes it: what is refused, when values wait, and whose event time counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, Restart, Stream, TumblingWindows, WatermarkStrategy
from streamlet.elements import Watermark
from streamlet.errors import JobDefinitionError
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.input_gate import InputGate
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import BACKENDS, Failing, Waiting, lines, make_job, run

MS = timedelta(milliseconds=1)

THIS = re.escape(__file__)
KEY: dict[str, Any] = {"key": lambda one: one % 7, "table_key": lambda one: one % 7, "key_type": int}


def _lookup(table: Any = None, *, function: Any = lambda one, other: (one, other), **changed: Any) -> Any:
    job = Job("job")
    values = job.source(Generator(int, count=3), uid="values")
    made = job.source(Generator(int), uid="endless") if table is None else table(job)
    return values.lookup_join(made, function, **({"wait_for": "nothing"} | KEY | changed))


def _plan(stream: Any) -> Any:
    stream.sink(Print())
    return stream._job.plan()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: _lookup(lambda job: 5), "takes a stream of the same job"),
        (lambda: _lookup(lambda job: Job("other").source(Generator(int))), "takes a stream of the same job"),
        (lambda: _lookup(function=None), "takes a plain function as a function"),
        (lambda: _lookup(key="user"), "takes a plain function as key"),
        (lambda: _lookup(table_key=5), "takes a plain function as table_key"),
        (lambda: _lookup(is_removed=True), "takes a plain function as is_removed"),
        (lambda: _lookup(how="full"), "lookup_join with how='full'"),
        (lambda: _lookup(wait_for="load"), "wait_for='load'"),
        (lambda: _lookup(key_type=float), "float"),
        (lambda: _lookup(table_type=object), "cannot be stored"),
        (lambda: _lookup(type=object), "cannot be stored"),
        (lambda: _lookup(wait_for="end"), "source 'endless'"),
        (lambda: _plan(_lookup(wait_for="watermark")), "works by event time"),
    ],
)
def test_a_lookup_that_cannot_be_is_refused_with_line_and_remedy(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(JobDefinitionError, match=f"(?s)^{THIS}:\\d+: .*{re.escape(says)}") as caught:
        make()
    assert caught.value.remedy


def _joined(one: int, other: int | None) -> list[int | None]:
    return [one, other]


@pytest.mark.parametrize("is_keyed", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_values_wait_for_the_end_of_the_table_over_a_crash(is_keyed: bool, backend: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=2, state_backend=backend, restart=Restart.fixed(delay=MS, attempts=3))
    values: Stream[int] = job.source(Generator(lambda one: one, count=300), uid="values")
    failing = Failing(5)
    table = job.source(Waiting(6, 2, 4), uid="table").map(failing, parallelism=1, uid="failing")
    if is_keyed:
        values = values.key_by(lambda one: one % 11)
    joined = values.lookup_join(table, _joined, how="left", wait_for="end", **KEY, uid="joined")
    joined.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    assert failing.failures == 1
    assert sorted(lines(tmp_path / "out")) == [[one, one % 7 if one % 7 < 6 else None] for one in range(300)]


def test_values_wait_for_the_first_watermark_of_the_table(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    values = job.source(Generator(lambda one: one, count=50), uid="values")
    loaded = WatermarkStrategy[int].from_function(lambda one, at: one if one == 6 else None).with_timestamps(abs)
    table = job.source(Waiting(14, 3), uid="table", watermarks=loaded)
    joined = values.lookup_join(table, _joined, wait_for="watermark", **KEY, uid="joined")
    joined.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    found = lines(tmp_path / "out")
    assert [one for one, _ in found] == list(range(50))
    assert all(one % 7 == other % 7 for one, other in found)


def test_what_was_removed_is_not_found_and_a_value_without_a_key_neither(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    values = job.source(Generator(lambda one: one, count=8), uid="values")
    table = job.source(Generator(lambda one: one, count=10), uid="table")
    joined = values.lookup_join(
        table,
        _joined,
        key=lambda one: None if one == 3 else one,
        table_key=lambda one: one % 8,
        is_removed=lambda one: one > 7,
        wait_for="end",
        key_type=int,
    )
    joined.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    assert lines(tmp_path / "out") == [[one, one] for one in (2, 4, 5, 6, 7)]


def test_event_time_behind_a_lookup_is_that_of_the_stream_alone(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    times = WatermarkStrategy[int].monotonic().with_timestamps(lambda one: one)
    values = job.source(Generator(lambda one: one, count=100), uid="values", watermarks=times)
    table = job.source(Waiting(7, 3), uid="table")  # says nothing of its event time
    looked = values.lookup_join(table, lambda one, other: one, how="left", wait_for="nothing", **KEY, uid="looked")
    windows = looked.key_by(lambda one: one % 2).window(TumblingWindows(10 * MS))
    windows.aggregate(Count(), result=lambda key, window, count: [window.start, key, count], uid="counts").sink(
        FileSink(tmp_path / "out"), uid="out"
    )
    ran = run(job)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out")) == [[start, key, 5] for start in range(0, 100, 10) for key in (0, 1)]


def test_a_timeless_input_holds_no_watermark_back() -> None:
    gate = InputGate(Backlog(1000), timeless=[1])
    for index in range(2):
        gate.connect(index)
    assert gate._across(1, Watermark(500)) is None
    assert gate._across(0, Watermark(7)) == Watermark(7)
    assert gate._across(0, Watermark(9, is_idle=True)) == Watermark(9, is_idle=True)
    assert gate.backlog.records == 0


def test_a_key_of_another_type_is_an_error_with_the_record_and_a_remedy(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    values = job.source(Generator(lambda one: one, count=3), uid="values")
    table = job.source(Generator(lambda one: one, count=3), uid="table")
    values.lookup_join(table, _joined, key=str, table_key=abs, wait_for="nothing", uid="joined").sink(
        FileSink(tmp_path / "out")
    )
    ran = run(job)
    assert ran.code == 1
    assert "lookup_join 'joined'" in ran.said
    assert "int" in ran.said
