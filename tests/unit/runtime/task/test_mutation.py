"""check_mutation: a step that changes in place what others get too is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job, Stream
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import lines, make_job, run


@dataclass
class Point:
    n: int


class Own:
    def __init__(self, n: int) -> None:
        self.n = n


def _changes(value: Any) -> Any:
    if isinstance(value, dict):
        if value["n"] == 3:
            value["n"] = -1
    elif value.n == 3:
        value.n = -1
    return value


def _copies(value: dict[str, int]) -> dict[str, int]:
    return {**value, "n": -1}


def _job(folder: Path, make: Any, *, checks: bool = True) -> tuple[Job, Stream[Any]]:
    job = make_job(folder, check_mutation=checks, batch_records=2)
    return job, job.source(Generator(make, count=9), uid="in")


@pytest.mark.parametrize("make", [lambda i: {"n": i}, Point, Own])
def test_the_step_that_changes_a_value_is_named_with_the_record(make: Any, tmp_path: Path) -> None:
    job, source = _job(tmp_path, make)
    line = source._job.graph.nodes[source._node].place.line
    changed = source.map(_changes, uid="changes")
    changed.map(lambda one: 1, uid="same").sink(Print(), uid="a")
    source.map(lambda one: 2, uid="other").sink(Print(), uid="b")
    ran = run(job)
    assert ran.code != 0 and "restart" not in ran.said
    assert f"map 'changes', or what follows it, changed a value in place that others get too: all get it from source 'in' at {__file__}:{line}" in ran.said  # fmt: skip # noqa: E501
    assert "record: generator, index 3" in ran.said and "dataclasses.replace" in ran.said


def test_a_step_behind_a_shuffle_is_found_at_the_next_batch(tmp_path: Path) -> None:
    job, source = _job(tmp_path, lambda i: {"n": i})
    source.map(_changes, uid="changes", parallelism=2).sink(Print(), uid="a", parallelism=2)
    source.map(lambda one: 2, uid="other", parallelism=2).sink(Print(), uid="b", parallelism=2)
    ran = run(job)
    assert ran.code != 0 and "a step changed a value in place that others get too" in ran.said


def test_new_values_and_values_that_go_one_way_are_fine(tmp_path: Path) -> None:
    job, source = _job(tmp_path, lambda i: {"n": i})
    source.map(_copies, uid="copies").map(_changes, uid="own").sink(FileSink(str(tmp_path / "a")), uid="a")
    source.sink(FileSink(str(tmp_path / "b")), uid="b")
    assert run(job).code == 0
    assert sorted(one["n"] for one in lines(tmp_path / "b")) == list(range(9))
