"""on_error and result= of steps by one word: what they give is what they would give without the records that fail."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import DeadLetter, OutputTag, TumblingWindows, WatermarkStrategy
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import BACKENDS, Waiting, lines, make_job, run

DEAD = OutputTag[DeadLetter]("dead")
COUNT = 60


def _is_good(number: int) -> bool:
    return number % 4 != 1


def _good(number: int) -> int:
    if not _is_good(number):
        raise ValueError(f"{number} is bad")
    return number * 7 % 11


def _typed(number: int) -> Any:
    """Of a bad number a text, which is not of the declared type."""
    return number if _is_good(number) else str(number)


def _keyed(stream: Any) -> Any:
    return stream.key_by(lambda number: int(number) % 3)


def _windows(stream: Any) -> Any:
    return _keyed(stream).window(TumblingWindows(timedelta(milliseconds=16)))


STEPS: dict[str, Callable[..., Any]] = {
    "inspect": lambda s, **o: s.inspect(_good, **o),
    "sample": lambda s, **o: s.sample(0.5, by=_good, **o),
    "deduplicate": lambda s, **o: s.deduplicate(_good, ttl=None, **o),
    "batch": lambda s, **o: _keyed(s.map(_typed)).batch(3, within=timedelta(days=1), type=int, **o),
    "sum": lambda s, **o: _keyed(s).sum(_good, **o),
    "min": lambda s, **o: _keyed(s).min(_good, **o),
    "max": lambda s, **o: _keyed(s).max(_good, **o),
    "mean": lambda s, **o: _keyed(s).mean(_good, **o),
    "top_k": lambda s, **o: _keyed(s).top_k(2, _good, **o),
    "distinct": lambda s, **o: _keyed(s).distinct(_good, **o),
    "collect": lambda s, **o: _keyed(s.map(_typed)).collect(type=int, **o),
    "windowed sum": lambda s, **o: _windows(s).sum(_good, **o),
    "windowed min": lambda s, **o: _windows(s).min(_good, **o),
    "windowed max": lambda s, **o: _windows(s).max(_good, **o),
    "windowed mean": lambda s, **o: _windows(s).mean(_good, **o),
    "windowed top_k": lambda s, **o: _windows(s).top_k(2, _good, **o),
    "windowed distinct": lambda s, **o: _windows(s).distinct(_good, **o),
    "windowed collect": lambda s, **o: _windows(s.map(_typed)).collect(type=int, **o),
}


def _numbers(tmp_path: Path, **settings: Any) -> Any:
    times = WatermarkStrategy[int].monotonic().with_timestamps(abs)
    return make_job(tmp_path, **settings).source(Waiting(COUNT, 20), uid="numbers", watermarks=times)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_leaves_out_what_fails_and_nothing_else(step: str, tmp_path: Path) -> None:
    numbers = _numbers(tmp_path)
    failing = STEPS[step](numbers, on_error=DEAD, uid="failing")
    failing.sink(FileSink(tmp_path / "out"), uid="out")
    failing.side_output(DEAD).sink(FileSink(tmp_path / "dead"), uid="dead")
    STEPS[step](numbers.filter(_is_good), uid="clean").sink(FileSink(tmp_path / "clean"), uid="clean-out")
    ran = run(numbers._job)
    assert ran.code == 0, ran
    clean = sorted(lines(tmp_path / "clean"), key=json.dumps)
    assert clean
    assert sorted(lines(tmp_path / "out"), key=json.dumps) == clean
    letters = lines(tmp_path / "dead")
    assert [int(letter["value"]) for letter in letters] == list(range(1, COUNT, 4))
    assert {letter["uid"].removesuffix(".id") for letter in letters} == {"failing"}


def test_a_sink_takes_the_letters_of_a_step_by_one_word(tmp_path: Path) -> None:
    numbers = _numbers(tmp_path)
    first = numbers.deduplicate(_good, ttl=None, on_error=FileSink(tmp_path / "dead"), uid="first")
    first.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(numbers._job)
    assert ran.code == 0, ran
    assert "first.id.dead-letters" in [node.uid for node in numbers._job.graph.nodes]
    assert [letter["value"] for letter in lines(tmp_path / "dead")] == list(range(1, COUNT, 4))


def _few(key: int, count: int) -> int:
    if count > 2:
        raise ValueError(f"{count} of {key}")
    return count


def test_what_fails_in_result_is_not_counted(tmp_path: Path) -> None:
    numbers = _numbers(tmp_path)
    counted = _keyed(numbers).count(result=_few, on_error=DEAD, uid="count")
    counted.sink(FileSink(tmp_path / "out"), uid="out")
    counted.side_output(DEAD).sink(FileSink(tmp_path / "dead"), uid="dead")
    ran = run(numbers._job)
    assert ran.code == 0, ran
    assert lines(tmp_path / "out") == [1, 1, 1, 2, 2, 2]
    assert [letter["message"] for letter in lines(tmp_path / "dead")] == [f"3 of {one % 3}" for one in range(6, COUNT)]


RUNNING: dict[str, tuple[Callable[..., Any], Callable[[list[int]], Any]]] = {
    "count": (lambda s, **o: s.count(**o), len),
    "sum": (lambda s, **o: s.sum(abs, **o), sum),
    "min": (lambda s, **o: s.min(abs, **o), min),
    "max": (lambda s, **o: s.max(abs, **o), max),
    "mean": (lambda s, **o: s.mean(abs, **o), lambda seen: sum(seen) / len(seen)),
    "top_k": (lambda s, **o: s.top_k(2, **o), lambda seen: seen[:-3:-1]),
    "distinct": (lambda s, **o: s.distinct(lambda one: one % 7, **o), lambda seen: len({one % 7 for one in seen})),
    "collect": (lambda s, **o: s.collect(limit=2, **o), lambda seen: seen[:2]),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_result_gives_the_key_with_a_running_aggregate(backend: str, tmp_path: Path) -> None:
    numbers = _numbers(tmp_path, state_backend=backend)
    for name, (step, _) in RUNNING.items():
        found = step(_keyed(numbers), result=lambda key, value: {"key": key, "value": value}, uid=name)
        found.sink(FileSink(tmp_path / name), uid=f"{name}-out")
    ran = run(numbers._job)
    assert ran.code == 0, ran
    seen: defaultdict[int, list[int]] = defaultdict(list)
    expected: defaultdict[str, list[Any]] = defaultdict(list)
    for number in range(COUNT):
        seen[number % 3].append(number)
        for name, (_, fold) in RUNNING.items():
            expected[name].append({"key": number % 3, "value": fold(seen[number % 3])})
    assert {name: lines(tmp_path / name) for name in RUNNING} == expected


def test_a_misspelt_option_is_refused_where_it_is_written(tmp_path: Path) -> None:
    keyed = _keyed(_numbers(tmp_path))
    for step in (keyed, keyed.window(TumblingWindows(timedelta(milliseconds=16)))):
        with pytest.raises(TypeError, match="unexpected keyword argument 'uids'"):
            step.sum(abs, uids="sum")
