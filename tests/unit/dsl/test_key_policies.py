"""Records whose key is none: under the policy of key_by, or of the step that keeps state by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamlet import DeadLetter, OutputTag
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import BACKENDS, lines, make_job, run

DEAD = OutputTag[DeadLetter]("dead")
BAD: dict[str, Any] = {
    "None": None,
    "another type": 7,
    "float": 1.5,
    "a list": [1],
    "a dict": {"a": 1},
    "a tuple with None": (1, None),
    "half a character": "\ud83d",
    "bytes": b"a",
    "an object": object(),
}


def _key(number: int, bad: Any) -> Any:
    return bad if number % 4 == 1 else f"k{number % 4}"


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("where", ["key_by", "step"])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_record_without_a_key_is_put_aside(bad: Any, where: str, parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism, state_backend=BACKENDS[0])
    source = job.source(Generator(lambda i: i, count=40), uid="in")
    policy: dict[str, Any] = {"on_error": DEAD}
    keyed = source.key_by(lambda n: _key(n, bad), uid="by", **(policy if where == "key_by" else {}))
    counted = keyed.count(uid="count", **(policy if where == "step" else {}))
    counted.sink(FileSink(str(tmp_path / "out")), uid="out")
    letters: Any = keyed if where == "key_by" else counted
    shown = letters.side_output(DEAD).map(lambda one: [one.value, one.error, one.uid])
    shown.sink(FileSink(str(tmp_path / "dead")), uid="dead")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == sorted([*range(1, 11)] * 3)
    uid = "by" if where == "key_by" else "count"
    assert sorted(lines(tmp_path / "dead")) == [[n, "KeyTypeError", uid] for n in range(1, 40, 4)]


@pytest.mark.parametrize("parallelism", [1, 2])
def test_unless_told_it_is_the_end_with_the_record_and_the_remedy(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    source = job.source(Generator(lambda i: i, count=40), uid="in")
    source.key_by(lambda n: _key(n, None), uid="by").count(uid="count").sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job)
    assert ran.code == 1 and "restart" not in ran.said
    assert "generator, index 1" in ran.said and "NoneType cannot be a key" in ran.said
    assert "on_error" in ran.said, ran
