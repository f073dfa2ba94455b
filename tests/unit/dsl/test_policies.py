"""on_error in whole jobs: bad records go where the policy says, and everything else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import (
    BroadcastContext,
    BroadcastState,
    DeadLetter,
    Job,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    OutputTag,
    ProcessContext,
    SessionWindows,
    Stream,
    Sum,
    TumblingWindows,
    WatermarkStrategy,
)
from streamlet.errors import FunctionBlockedError
from streamlet.windows import WindowResult
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import BACKENDS, Failing, Waiting, lines, make_job, run

DEAD = OutputTag[DeadLetter]("dead")
MS = timedelta(milliseconds=1)
SIZES = ("small", "large")


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def _blocked(number: int) -> int:
    if number == 3:
        raise FunctionBlockedError("it blocked")
    return _odd(number)


def _ran(tmp_path: Path, build: Callable[[Stream[int]], object], backend: str = "memory") -> Job:
    job = make_job(tmp_path, state_backend=backend)
    build(job.source(Waiting(40, 20), uid="numbers"))
    ran = run(job)
    assert ran.code == 0, ran
    return job


def test_dead_letters_say_what_failed_where_and_why(tmp_path: Path) -> None:
    def build(numbers: Stream[int]) -> None:
        odd = numbers.map(_odd, on_error=DEAD, uid="odd")
        odd.sink(FileSink(tmp_path / "out"), uid="out")
        odd.side_output(DEAD).sink(FileSink(tmp_path / "dead"), uid="dead")

    _ran(tmp_path, build)
    assert lines(tmp_path / "out") == list(range(1, 40, 2))
    letters = lines(tmp_path / "dead")
    assert [letter["value"] for letter in letters] == list(range(0, 40, 2))
    line = letters[0].pop("line")
    assert line.startswith(f"{__file__}:") and line.endswith(" in _odd")
    assert letters[0] == {
        "value": 0,
        "uid": "odd",
        "operator": "map",
        "error": "ValueError",
        "message": "0 is even",
        "key": None,
        "timestamp": None,
        "origin": None,
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sink_takes_dead_letters_in_the_same_checkpoints(backend: str, tmp_path: Path) -> None:
    def build(numbers: Stream[int]) -> None:
        keyed = numbers.key_by(lambda number: number % 3, on_error="skip")
        keyed.aggregate(Sum(_odd), on_error=FileSink(tmp_path / "dead"), uid="sum").sink(FileSink(tmp_path / "out"))

    job = _ran(tmp_path, build, backend)
    assert "sum.dead-letters" in [node.uid for node in job.graph.nodes]
    totals, expected = {0: 0, 1: 0, 2: 0}, []
    for number in range(1, 40, 2):
        totals[number % 3] += number
        expected.append(totals[number % 3])
    assert lines(tmp_path / "out") == expected
    assert [(letter["value"], letter["key"]) for letter in lines(tmp_path / "dead")] == [
        (number, number % 3) for number in range(0, 40, 2)
    ]


async def _odd_later(number: int) -> int:
    await asyncio.sleep(0)
    return _odd(number)


def _sum_of_pair(one: int, other: int) -> int:
    return _odd(one + other)


def _joined(numbers: Stream[int]) -> Stream[int]:
    halves = numbers.key_by(lambda number: number // 2)
    return halves.interval_join(halves, _sum_of_pair, lower=MS, upper=MS, on_error=DEAD, uid="failing")


def _windowed(numbers: Stream[int]) -> Stream[int]:
    windows = numbers.key_by(lambda number: number % 2).window(TumblingWindows(8 * MS))
    return windows.aggregate(Sum(), result=lambda key, window, total: _odd(total // 4), on_error=DEAD, uid="failing")


def _refused(numbers: Stream[int]) -> Stream[WindowResult[int, int]]:
    windows = numbers.key_by(lambda number: number % 3).window(SessionWindows(9 * MS))
    return windows.reduce(lambda one, other: one + _odd(other), on_error=DEAD, uid="failing")


EVERYWHERE: dict[str, tuple[Callable[[Stream[int]], Stream[Any]], list[Any], list[Any]]] = {
    "map_async": (
        lambda numbers: numbers.map_async(_odd_later, on_error=DEAD, uid="failing"),
        list(range(1, 40, 2)),
        list(range(0, 40, 2)),
    ),
    "interval_join": (_joined, list(range(1, 80, 4)), []),
    "window": (
        _windowed,
        [total for start in range(0, 40, 8) for total in (start + 3, start + 4) if total % 2],
        [total * 4 for start in range(0, 40, 8) for total in (start + 3, start + 4) if total % 2 == 0],
    ),
    "session": (
        _refused,
        # The first value of a key is its own result, so only later ones are refused.
        [sum(range(first, 40, 3)) - sum(one for one in range(first + 3, 40, 3) if one % 2 == 0) for first in range(3)],
        [number for number in range(3, 40) if number % 2 == 0],
    ),
    "connect": (
        lambda numbers: (
            numbers.key_by(lambda number: number % 2)
            .connect(numbers.filter(lambda number: number == 1).key_by(abs))
            .process(Both(), on_error=DEAD, uid="failing")
        ),
        [1, 1, *range(3, 40, 2)],
        list(range(0, 40, 2)),
    ),
    "connect_broadcast": (
        lambda numbers: (
            numbers.filter(lambda number: number < 3)
            .key_by(abs)
            .connect_broadcast(numbers)
            .process(Ruled(), on_error=DEAD, uid="failing")
        ),
        [0, 1, 2],
        list(range(0, 40, 2)),
    ),
    "lookup_join": (
        lambda numbers: numbers.lookup_join(
            numbers.filter(lambda number: number < 9),
            lambda one, other: one,
            key=_odd,
            table_key=lambda number: _odd(number + 1) - 1,
            wait_for="end",
            how="left",
            key_type=int,
            on_error=DEAD,
            uid="failing",
        ),
        list(range(1, 40, 2)),
        sorted([*range(1, 9, 2), *range(0, 40, 2)]),
    ),
}


class Both(KeyedCoProcessFunction[int, int, int, int]):
    def process_element1(self, value: int, ctx: ProcessContext[int]) -> list[int]:
        return [_odd(value)]

    process_element2 = process_element1


class Ruled(KeyedBroadcastProcessFunction[int, int, int, int]):
    seen = BroadcastState(int, int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> list[int]:
        return [value]

    def process_broadcast_element(self, value: int, ctx: BroadcastContext) -> None:
        self.seen.put(value, value)
        _odd(value)


def _value(line: Any) -> Any:
    """Of a window its value."""
    return line["value"] if isinstance(line, dict) else line


@pytest.mark.parametrize("family", EVERYWHERE)
def test_every_family_leaves_out_what_fails_and_nothing_else(family: str, tmp_path: Path) -> None:
    build, expected, dead = EVERYWHERE[family]
    job = make_job(tmp_path, parallelism=2)
    times = WatermarkStrategy[int].monotonic().with_timestamps(lambda number: number)
    failing = build(job.source(Waiting(40, 20), uid="numbers", watermarks=times))
    failing.sink(FileSink(tmp_path / "out"), uid="out")
    failing.side_output(DEAD).sink(FileSink(tmp_path / "dead"), uid="dead")
    ran = run(job)
    assert ran.code == 0, ran
    assert sorted(map(_value, lines(tmp_path / "out"))) == sorted(expected)
    letters = lines(tmp_path / "dead")
    assert sorted(_value(letter["value"]) for letter in letters) == dead
    assert all(letter["message"].endswith("is even") and letter["uid"] == "failing" for letter in letters)


def _size(number: int) -> str:
    return "small" if _odd(number) < 20 else "large"


def test_dead_letters_of_a_split_are_beside_each_of_its_streams(tmp_path: Path) -> None:
    def build(numbers: Stream[int]) -> None:
        for name, stream in zip(SIZES, numbers.split(_size, *SIZES, on_error=DEAD, uid="split"), strict=True):
            stream.sink(FileSink(tmp_path / name), uid=name)
            stream.side_output(DEAD).sink(FileSink(tmp_path / f"dead-{name}"), uid=f"dead-{name}")

    _ran(tmp_path, build)
    assert lines(tmp_path / "small") == list(range(1, 20, 2))
    assert lines(tmp_path / "large") == list(range(21, 40, 2))
    for name in SIZES:
        letters = lines(tmp_path / f"dead-{name}")
        assert [letter["value"] for letter in letters] == list(range(0, 40, 2))
        assert {(letter["uid"], letter["message"].split()[-1]) for letter in letters} == {("split", "even")}


def test_a_failure_behind_the_operator_is_not_its_own(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    odd = job.source(Waiting(10), uid="numbers").map(_odd, on_error="skip", uid="odd")
    odd.map(Failing(7, for_ever=True), uid="failing").sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 1
    assert "in map 'failing'" in ran.said


def test_a_function_that_blocked_fails_the_job_under_any_policy(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Waiting(10), uid="numbers").map(_blocked, on_error="skip").sink(FileSink(tmp_path / "out"))
    assert run(job).code == 1


def test_what_was_skipped_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _ran(tmp_path, lambda numbers: numbers.filter(_odd, on_error="skip").sink(FileSink(tmp_path / "out")))
    told: list[Any] = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == 1
    assert "0 is even" in told[0]
