"""on_error in whole jobs: bad records go where the policy says, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlet import DeadLetter, Job, OutputTag, Stream, Sum
from streamlet.errors import FunctionBlockedError
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import BACKENDS, Failing, Waiting, lines, make_job, run

DEAD = OutputTag[DeadLetter]("dead")


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
