"""Checkpoints that earlier releases wrote are gone on from, exactly, and read by every tool."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streamlet import Job
from streamlet.clock import SystemClock
from streamlet.inspect import open_checkpoint
from streamlet.inspect.checkpoint import SNAPSHOT, KeyedView, SnapshotView
from streamlet.inspect.importing import Import
from streamlet.inspect.parquet import read_parquet, write_parquet
from streamlet.inspect.plain_forms import json_line
from tests.recovery.golden import jobs, kinds
from tests.recovery.golden.jobs import CUT
from tests.unit.job_kit import BACKENDS, checkpoint_at, files, lines, run

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(form.name for form in GOLDEN.glob("format-*"))
SILENT = 12
"""States that these jobs have but nothing in at the cut."""


class Written(NamedTuple):
    """The checkpoints of one job: where they lie in the folder of a format, and how many outputs the job has."""

    place: str
    build: Callable[..., Job]
    outs: int


JOBS = {"first": Written("", jobs.build, 10), "kinds": Written("kinds", kinds.build, kinds.OUTS)}
PLACES = [GOLDEN / form / job.place / backend for form in FORMATS for job in JOBS.values() for backend in BACKENDS]


def test_there_are_checkpoints_of_each_format() -> None:
    assert FORMATS == ["format-1", "format-2"]
    assert all(len(list(place.glob("chk-*"))) == 1 for place in PLACES)


Outputs = dict[str, list[str]]


class Own(NamedTuple):
    """A job, and what this release puts out: up to its own checkpoint at the cut, and in all."""

    job: Written
    before: Outputs
    all: Outputs


@pytest.fixture(scope="module", params=JOBS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Own:
    job = JOBS[request.param]
    folder = tmp_path_factory.mktemp("own")
    assert run(job.build(folder, "memory")).code == 0
    outs = {path.name: files(path) for path in sorted((folder / "out").iterdir())}
    seen = jobs.visible_at(folder, checkpoint_at(folder, CUT))
    before = {name: reprs(lines(folder / "out" / name, but=[*{*files} - seen])) for name, files in outs.items()}
    everything = {name: reprs(lines(folder / "out" / name)) for name in outs}
    assert len(everything) == job.outs and all(everything.values())
    assert all(len(before[name]) < len(everything[name]) for name in outs)
    return Own(job, before, everything)


def reprs(values: Iterable[Any]) -> list[str]:
    return sorted(map(repr, values))


def require_whole(own: Own, place: Path, folder: Path) -> None:
    """What was visible when the checkpoint at `place` was written and what a run in `folder` added is all of it."""
    known = place / "before.json"
    before = {name: reprs(values) for name, values in json.loads(known.read_text()).items()} if known.exists() else {}
    added = {name: reprs(lines(folder / "out" / name)) for name in own.all}
    assert {name: sorted((before or own.before)[name] + added[name]) for name in own.all} == own.all


@pytest.mark.parametrize(("made_by", "backend"), [("memory", "rocksdb"), ("rocksdb", "memory"), ("rocksdb", "rocksdb")])
@pytest.mark.parametrize("form", FORMATS)
def test_a_checkpoint_of_each_format_is_gone_on_from_in_either_backend(
    own: Own, form: str, made_by: str, backend: str, tmp_path: Path
) -> None:
    place = GOLDEN / form / own.job.place / made_by
    (checkpoint,) = place.glob("chk-*")
    ran = run(own.job.build(tmp_path, backend), from_checkpoint=str(checkpoint))
    assert ran.code == 0, ran
    require_whole(own, place, tmp_path)


@pytest.mark.parametrize(("form", "suffix"), [("format-1", "parquet"), ("format-2", "jsonl")])
def test_a_checkpoint_of_each_format_goes_on_when_all_its_state_was_exported_and_imported(
    own: Own, form: str, suffix: str, tmp_path: Path
) -> None:
    place = GOLDEN / form / own.job.place / "rocksdb"
    with open_checkpoint(place) as source:
        made = Import(source, tmp_path / "made", SystemClock())
        for state in source.states():
            if isinstance(state, SnapshotView):
                continue
            if suffix == "parquet":
                count = write_parquet(state, tmp_path / "rows.parquet")
                assert made.put(state.uid, state.name, read_parquet(tmp_path / "rows.parquet"), replaces=True) == count
            else:
                rows = [json.loads(json_line(state.for_json(row))) for row in state.rows()]
                made.put(state.uid, state.name, rows, replaces=True)
        made.finish()
    ran = run(own.job.build(tmp_path, "memory"), from_checkpoint=str(tmp_path / "made"))
    assert ran.code == 0, ran
    require_whole(own, place, tmp_path)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "/".join(place.relative_to(GOLDEN).parts))
def test_each_state_of_each_format_is_plain_data_and_comes_back_by_json_as_the_entry_that_it_was(place: Path) -> None:
    silent = 0
    with open_checkpoint(place) as checkpoint:
        for state in checkpoint.states():
            rows = list(state.rows())
            silent += not rows
            if isinstance(state, KeyedView):
                again = [state.layout.entry(json.loads(json_line(state.for_json(row)))) for row in rows]
                assert [state.layout.row(*entry) for entry in again] == rows
        if "kinds" in place.parts:
            assert [row["value"]["type"] for row in checkpoint["called"][SNAPSHOT].rows()] == ["int"]
            assert dict(checkpoint["ruled"]["rules"].items()) == {number: f"rule {number}" for number in range(10)}
    assert silent <= SILENT
