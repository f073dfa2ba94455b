"""Records that a sink cannot write: under its policy the others are written, once each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamlet import DeadLetter, Json, OutputTag
from streamlet.connect import Batch, Committable, Sink, SinkContext
from streamlet.errors import EncodeError, JobDefinitionError
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink
from streamlet_connectors.print import Print
from tests.unit.job_kit import Ran, lines, make_job, run

DEAD = OutputTag[DeadLetter]("dead")
COUNT = 40


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("has no text")

    __repr__ = __str__


def _value(number: int, bad: Any) -> Any:
    return bad if number % 4 in (1, 2) else number


GOOD = [number for number in range(COUNT) if number % 4 in (0, 3)]


class Halting(Sink[int]):
    """Takes records one by one, and says of the second kind of record how many it had taken by then."""

    delivery = "at_least_once"

    def __init__(self) -> None:
        self.taken: list[int] = []

    def writer(self, context: SinkContext) -> HaltingWriter:
        return HaltingWriter(self.taken)


class HaltingWriter:
    def __init__(self, taken: list[int]) -> None:
        self._taken = taken

    async def open(self) -> None: ...

    async def write(self, batch: Batch[int]) -> None:
        for row, value in enumerate(batch.values):
            if value % 4 in (1, 2):
                raise EncodeError(f"{value} is odd", index=row, written=row)
            self._taken.append(value)

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        return []

    async def released(self, committables: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...


class Refusing:
    """A format whose author thought of nothing."""

    def decode_batch(self, column: Sequence[bytes]) -> list[Any]:
        raise NotImplementedError

    def encode_batch(self, column: Sequence[Any]) -> list[bytes]:
        return [b"%d" % value for value in column]


def _run(tmp_path: Path, sink: Sink[Any], bad: Any, on_error: Any, parallelism: int = 1) -> Ran:
    job = make_job(tmp_path, parallelism=parallelism)
    values = job.source(Generator(lambda i: i, count=COUNT), uid="in").map(lambda n: _value(n, bad))
    written = values.sink(sink, on_error=on_error, uid="out")
    if isinstance(on_error, OutputTag):
        letters = written.side_output(DEAD).map(lambda one: [one.origin, one.error, one.uid, one.operator, one.message])
        letters.sink(FileSink(tmp_path / "dead"), uid="dead")
    return run(job)


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("policy", ["skip", DEAD], ids=["skip", "tag"])
@pytest.mark.parametrize("bad", [object(), "\ud83d", float("nan"), {(1, 2): 3}], ids=["object", "half", "nan", "dict"])
def test_what_json_cannot_hold_is_left_out_of_files(bad: Any, policy: Any, parallelism: int, tmp_path: Path) -> None:
    ran = _run(tmp_path, FileSink(tmp_path / "out"), bad, policy, parallelism)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out")) == GOOD
    if policy is DEAD:
        expected = [[f"generator, index {n}", "EncodeError", "out", "sink"] for n in range(COUNT) if n not in GOOD]
        assert sorted(one[:4] for one in lines(tmp_path / "dead")) == sorted(expected)


def test_a_format_that_raises_what_it_likes_refuses_that_record_only(tmp_path: Path) -> None:
    ran = _run(tmp_path, FileSink(tmp_path / "out", format=Refusing()), "text", DEAD)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out")) == GOOD
    assert len(lines(tmp_path / "dead")) == COUNT - len(GOOD)
    assert all("cannot be written by Refusing: TypeError: " in one[4] for one in lines(tmp_path / "dead"))


@pytest.mark.parametrize("bad", [Unprintable(), "\ud83d"], ids=["no text", "half a character"])
def test_what_has_no_text_is_left_out_of_prints(bad: Any, tmp_path: Path) -> None:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert _run(tmp_path, Print(stream=printed), bad, "skip").code == 0
    printed.seek(0)
    assert [int(line) for line in printed.read().split()] == GOOD


def test_what_a_sink_had_taken_before_the_bad_record_does_not_come_again(tmp_path: Path) -> None:
    sink = Halting()
    assert _run(tmp_path, sink, 1, "skip").code == 0  # 1 stands for itself: bad to this sink
    assert sink.taken == GOOD


def test_dead_letters_go_straight_into_another_sink(tmp_path: Path) -> None:
    assert _run(tmp_path, FileSink(tmp_path / "out"), object(), FileSink(tmp_path / "dead")).code == 0
    letters = lines(tmp_path / "dead")
    assert len(letters) == COUNT - len(GOOD)
    assert letters[0]["value"].startswith("<object object") and letters[0]["message"].startswith("cannot be written")
    assert "test_sink_policies.py" in letters[0]["line"]


def test_unless_told_it_is_the_end_with_the_line_the_record_and_what_can_be_done(tmp_path: Path) -> None:
    ran = _run(tmp_path, FileSink(tmp_path / "out"), object(), "fail")
    assert ran.code == 1 and "restart" not in ran.said
    assert "test_sink_policies.py:" in ran.said and "generator, index 1: cannot be written as JSON" in ran.said
    assert "on_error= of sink(...)" in ran.said


def test_a_tag_that_the_sink_does_not_know_is_refused(tmp_path: Path) -> None:
    written = make_job(tmp_path).source(Generator(lambda i: i, count=1)).sink(Print(), on_error="skip")
    with pytest.raises(JobDefinitionError, match=r"side_output.*is not a side output of sink"):
        written.side_output(DEAD)


def _refuse(value: Any) -> Any:
    return value if value % 4 in (0, 3) else 1 // 0


OPTIONS: dict[str, dict[str, Any]] = {
    "value": {"value": Refusing(), "key": lambda value: str(value)},
    "key": {"key": _refuse},
    "headers": {"headers": lambda value: {"n": b"" if _refuse(value) >= 0 else None}},
    "text in headers": {"headers": lambda value: {"n": b"" if value % 4 in (0, 3) else "text"}},
    "timestamp": {"timestamp": lambda value: 1 if value % 4 in (0, 3) else None},
    "partition": {"partition": lambda key, value, count: 0 if value % 4 in (0, 3) else 5},
    "size": {"value": Json()},
}


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_a_kafka_sink_writes_the_others_once_each(option: dict[str, Any], delivery: Any, tmp_path: Path) -> None:
    bad: Any = None
    if isinstance(option.get("value"), Json):
        bad = "x" * 1_200_000
    elif isinstance(option.get("value"), Refusing):
        bad = "text"
    with EmbeddedKafka(topics={"out": 1}) as kafka:
        sink: KafkaSink[Any] = KafkaSink(kafka.bootstrap, "out", delivery=delivery, **option)
        job = make_job(tmp_path)
        values = job.source(Generator(lambda i: i, count=COUNT), uid="in")
        if bad is not None:
            values = values.map(lambda n: _value(n, bad))
        letters = values.sink(sink, on_error=DEAD, uid="out").side_output(DEAD)
        letters.map(lambda one: one.origin).sink(FileSink(tmp_path / "dead"), uid="dead")
        ran = run(job)
        assert ran.code == 0, ran
        log = kafka.broker.topics.log("out", 0)
        assert log is not None
        assert [int(record.value or b"") for record in log.committed_records()] == GOOD
        expected = [f"generator, index {n}" for n in range(COUNT) if n not in GOOD]
        assert sorted(lines(tmp_path / "dead")) == sorted(expected)
