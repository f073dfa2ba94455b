"""Aggregates of windows by name and by one word, against plain Python."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import Count, Max, Sum, TumblingWindows, WatermarkStrategy
from streamlet.errors import JobDefinitionError
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import lines, make_job, run

LENGTH = 16


class Spend(msgspec.Struct):
    total: int
    most: int


def _value(number: int) -> int:
    return number * 7 % 11


def _stream(tmp_path: Path) -> Any:
    job = make_job(tmp_path)
    times = WatermarkStrategy[int].monotonic().with_timestamps(abs)
    numbers = job.source(Generator(lambda one: one, count=60), uid="numbers", watermarks=times)
    return numbers.key_by(lambda one: one % 3)


def test_each_word_gives_what_its_function_gives(tmp_path: Path) -> None:
    keyed = _stream(tmp_path)
    windows = keyed.window(TumblingWindows(timedelta(milliseconds=LENGTH)))
    found = {
        "count": (windows.count(uid="count"), len),
        "sum": (windows.sum(_value, uid="sum"), sum),
        "min": (windows.min(_value, uid="min"), min),
        "max": (windows.max(_value, uid="max"), max),
        "mean": (windows.mean(_value, uid="mean"), lambda values: sum(values) / len(values)),
        "distinct": (windows.distinct(lambda one: _value(one) % 4, uid="distinct"), lambda v: len({x % 4 for x in v})),
        "named": (
            windows.aggregate(total=Sum(_value), n=Count(), uid="named"),
            lambda values: {"total": sum(values), "n": len(values)},
        ),
        "into": (
            windows.aggregate(total=Sum(_value), most=Max(_value), into=Spend, uid="into"),
            lambda values: {"total": sum(values), "most": max(values)},
        ),
    }
    for name, (stream, _) in found.items():
        stream.sink(FileSink(tmp_path / name), uid=f"{name}-out")
    windows.top_k(2, _value, uid="top").sink(FileSink(tmp_path / "top"), uid="top-out")
    windows.collect(limit=3, uid="first").sink(FileSink(tmp_path / "first"), uid="first-out")
    ran = run(keyed._job)
    assert ran.code == 0, ran
    inside: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for number in range(60):
        inside[number // LENGTH * LENGTH, number % 3].append(number)
    for name, (_, fold) in found.items():
        expected = {at: fold([_value(one) for one in numbers]) for at, numbers in inside.items()}  # type: ignore[operator]
        assert _by_window(tmp_path / name) == expected, name
    assert _by_window(tmp_path / "top") == {at: sorted(all, key=_value)[:-3:-1] for at, all in inside.items()}
    assert _by_window(tmp_path / "first") == {at: numbers[:3] for at, numbers in inside.items()}


def _by_window(folder: Path) -> dict[tuple[int, int], Any]:
    return {(one["window"]["start"], one["key"]): one["value"] for one in lines(folder)}


def test_running_words_of_a_key(tmp_path: Path) -> None:
    keyed = _stream(tmp_path)
    keyed.top_k(2, _value, uid="top").sink(FileSink(tmp_path / "top"), uid="top-out")
    keyed.distinct(_value, uid="distinct").sink(FileSink(tmp_path / "distinct"), uid="distinct-out")
    keyed.collect(limit=2, uid="first").sink(FileSink(tmp_path / "first"), uid="first-out")
    ran = run(keyed._job)
    assert ran.code == 0, ran
    before = [list(range(one % 3, one + 1, 3)) for one in range(60)]
    assert lines(tmp_path / "top") == [sorted(seen, key=_value, reverse=True)[:2] for seen in before]
    assert lines(tmp_path / "distinct") == [len({_value(one) for one in seen}) for seen in before]
    assert lines(tmp_path / "first") == [seen[:2] for seen in before]


def test_functions_are_given_by_place_or_by_name(tmp_path: Path) -> None:
    windows = _stream(tmp_path).window(TumblingWindows(timedelta(seconds=1)))
    with pytest.raises(JobDefinitionError, match="by place with result=, or by name with into="):
        windows.aggregate(Count(), n=Count())
    with pytest.raises(JobDefinitionError, match="n is no aggregate function"):
        windows.aggregate(n=len)
