"""Steps are found by their names: given, structural, or former ones. What is gone is refused until it is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, Sum
from streamlet.errors import JobDefinitionError, StateTypeError
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import Failing, Ran, Waiting, checkpoint_at, files, lines, make_job, run, storage


def _job(folder: Path, build: Callable[[Any, Any], Any], *, source: dict[str, Any] | None = None, **sink: Any) -> Job:
    job = make_job(folder)
    numbers = job.source(Waiting(20, 10), **(source or {"uid": "numbers"}))
    build(numbers, lambda n: n % 5).sink(FileSink(str(folder / "out")), **(sink or {"uid": "out"}))
    return job


def _counted(**options: Any) -> Callable[[Any, Any], Any]:
    return lambda numbers, key: numbers.key_by(key, uid="by").count(**options)


def _go_on(folder: Path, before: Job, after: Job, **options: Any) -> tuple[Ran, list[Any]]:
    assert run(before).code == 0
    old = files(folder / "out")
    at = next(
        info.id
        for info in reversed(storage(folder).checkpoints())
        if info.manifest is not None and list(info.manifest.positions.values()) == [{"split": 10}]
    )
    ran = run(after, from_checkpoint=str(at), **options)
    return ran, sorted(lines(folder / "out", but=old))


ON = [3] * 5 + [4] * 5
"""The counts of the second ten numbers, over five keys."""


def test_a_step_that_is_renamed_goes_on_and_the_former_name_may_stay(tmp_path: Path) -> None:
    after = _job(tmp_path, _counted(uid="spend", renamed_from="count"))
    ran, found = _go_on(tmp_path, _job(tmp_path, _counted(uid="count")), after)
    assert ran.code == 0 and found == ON, ran
    old = files(tmp_path / "out")
    again = _job(tmp_path, _counted(uid="spend", renamed_from="count"))
    assert run(again, from_checkpoint=str(checkpoint_at(tmp_path, 10))).code == 0
    assert sorted(lines(tmp_path / "out", but=old)) == ON


def test_a_step_that_gets_a_uid_goes_on_from_its_structural_name(tmp_path: Path) -> None:
    job = _job(tmp_path, _counted())
    (structural,) = {node.uid for node in job.graph.nodes if node.place.kind == "aggregate"}
    ran, _ = _go_on(tmp_path, job, _job(tmp_path, _counted(uid="count")))
    assert ran.code == 2 and f'renamed_from="{structural}"' in ran.said
    old = files(tmp_path / "out")
    named = _job(tmp_path, _counted(uid="count", renamed_from=structural))
    assert run(named, from_checkpoint=str(checkpoint_at(tmp_path, 10))).code == 0
    assert sorted(lines(tmp_path / "out", but=old)) == ON


def test_a_source_that_is_renamed_reads_on_and_one_that_is_gone_is_refused(tmp_path: Path) -> None:
    build = _counted(uid="count")
    other = _job(tmp_path, build, source={"uid": "ints"})
    ran, _ = _go_on(tmp_path, _job(tmp_path, build), other)
    assert ran.code == 2 and "source numbers: no source of the job has this uid" in ran.said, ran
    for options, expected in (
        ({"allow_dropped_state": ["numbers"]}, [*[3] * 5, *[4] * 5, *[5] * 5, *[6] * 5]),
        ({}, ON),
    ):
        old = files(tmp_path / "out")
        former = {"uid": "ints", **({} if options else {"renamed_from": "numbers"})}
        at = str(checkpoint_at(tmp_path, 10))
        assert run(_job(tmp_path, build, source=former), from_checkpoint=at, **options).code == 0
        assert sorted(lines(tmp_path / "out", but=old)) == expected


def test_prepared_output_of_a_renamed_sink_is_committed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It stops between the manifest and the commit: what was prepared is settled by the next start.
    from streamlet_connectors.files.committer import FileCommitter

    async def fails(self: Any, committables: Any) -> Any:
        raise StateTypeError("committing was refused today", remedy="try it tomorrow")

    build = _counted(uid="count")
    with monkeypatch.context() as patched:
        patched.setattr(FileCommitter, "commit", fails)
        assert run(_job(tmp_path, build)).code == 1
    newest = storage(tmp_path).checkpoints()[-1]
    assert newest.manifest is not None and newest.manifest.committables and not newest.is_marked
    refused = run(_job(tmp_path, build, uid="counts"))
    assert refused.code == 1 and 'renamed_from="out"' in refused.said, refused
    assert run(_job(tmp_path, build, uid="counts", renamed_from="out")).code == 0
    assert sorted(lines(tmp_path / "out")) == sorted([1] * 5 + [2] * 5 + ON)


def test_structural_names_stay_whatever_comes_and_goes_around_a_step() -> None:
    def names(build: Callable[[Any], Any]) -> str:
        job = Job("j")
        stream = build(job.source(Generator(int, count=1)).map(abs))
        stream.key_by(lambda value: value["k"]).count().sink(Print())
        (name,) = {node.uid for node in job.graph.nodes if node.place.kind == "aggregate"}
        return name

    plain = names(lambda stream: stream)
    assert names(lambda stream: stream.filter(bool).map(str)) == plain
    assert names(lambda stream: stream.filter(bool, uid="mine")) == plain

    def beside(stream: Any) -> Any:
        stream.key_by(lambda value: value["other"]).count().sink(Print())
        return stream

    job = Job("j")
    beside(job.source(Generator(int, count=1)).map(abs)).key_by(lambda value: value["k"]).count().sink(Print())
    assert plain in {node.uid for node in job.graph.nodes}


def test_two_steps_that_cannot_be_told_apart_are_refused_with_both_lines() -> None:
    job = Job("j")
    records: Any = job.source(Generator(int, count=1))
    keyed = records.key_by(lambda value: value["k"])
    keyed.sum(lambda value: value["a"]).sink(Print())
    keyed.sum(lambda value: value["b"]).sink(Print())
    with pytest.raises(JobDefinitionError, match="cannot be told apart") as caught:
        job.plan()
    assert str(caught.value).count("test_renamed_steps.py:") == 2 and 'uid="..."' in str(caught.value)


def test_a_former_name_that_a_step_still_has_is_refused(tmp_path: Path) -> None:
    def build(numbers: Any, key: Any) -> Any:
        keyed = numbers.key_by(key, uid="by")
        keyed.aggregate(Sum(), uid="count").sink(Print(), uid="print")
        return keyed.aggregate(Count(), uid="new", renamed_from="count")

    ran = run(_job(tmp_path, build))
    assert ran.code == 2 and "which is the uid of the step at" in ran.said, ran
    ran = run(
        _job(tmp_path, lambda n, k: n.key_by(k, uid="by").count(uid="a", renamed_from="b")), from_checkpoint="none"
    )
    assert ran.code == 0, ran
    with pytest.raises(JobDefinitionError, match="renamed_from='b' with uid=None"):
        _job(tmp_path, lambda n, k: n.key_by(k, uid="by").count(renamed_from="b"))


def test_what_is_in_flight_in_a_step_that_is_gone_is_refused_until_it_is_named(tmp_path: Path) -> None:
    later = asyncio.Event()

    async def waits(number: int) -> int:
        if number == 9:
            await later.wait()  # for a number behind the checkpoint
        if number == 10:
            later.set()
        return failing(number)

    failing = Failing(12)
    job = make_job(tmp_path)
    numbers = job.source(Waiting(20, 10), uid="numbers")
    numbers.map_async(waits, type=int, uid="calls").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 1
    checkpoint = checkpoint_at(tmp_path, 10)
    other = make_job(tmp_path)
    other.source(Waiting(20, 10), uid="numbers").map(abs).sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(other, from_checkpoint=str(checkpoint))
    assert ran.code == 2 and "operator calls: no step of the job has this uid" in ran.said, ran
    ran = run(other, from_checkpoint=str(checkpoint), allow_dropped_state=["calls"])
    assert ran.code == 0, ran
