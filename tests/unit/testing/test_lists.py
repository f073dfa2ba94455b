"""`collect`, `ListSource` and `CollectSink`: what users test their jobs with."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import streamlet.testing
from streamlet import Job, WatermarkStrategy
from streamlet.connect import Outcome
from streamlet.errors import ConfigError, OutputLostError, StreamletError
from streamlet.testing import CollectSink, ListSource, collect
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.docstring_kit import failures, names_for
from tests.unit.cli_kit import python

WITH_EXAMPLES = [
    name for name in streamlet.testing.__all__ if ">>> " in (getattr(streamlet.testing, name).__doc__ or "")
]


def _running_sums() -> Job:
    job = Job("sums")
    source = job.source(Generator(lambda number: ("ann", number), count=5), uid="pairs")
    sums = source.key_by(lambda pair: pair[0]).sum(lambda pair: pair[1], uid="sums")
    sums.sink(FileSink("never-made"), uid="out")
    return job


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_an_example_of_the_test_kit_gives_what_stands_behind_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(getattr(streamlet.testing, name)) or ""
    assert failures(name, text, names_for(text)) == ""


def test_every_public_name_of_the_test_kit_has_an_example() -> None:
    assert set(streamlet.testing.__all__) - set(WITH_EXAMPLES) == {"Crashes", "OutputDiffers"}


def test_collect_replaces_sources_and_sinks_and_leaves_the_job_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = _running_sums()
    assert collect(job, {"pairs": [("ann", 1), ("bob", 5), ("ann", 2)]}) == {"out": [1, 5, 3]}
    assert collect(job, {"pairs": [("ann", 7)]}) == {"out": [7]}
    assert list(tmp_path.iterdir()) == []
    assert isinstance(job.graph.nodes[0].made, Generator)


@pytest.mark.parametrize("inputs", [{}, {"pears": [1]}, {"pairs": [], "pears": []}])
def test_collect_names_the_source_that_is_not_meant(inputs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"source 'p(ai|ea)rs'") as caught:
        collect(_running_sums(), inputs)
    assert "by uid: 'pairs'" in str(caught.value)


def test_what_fails_in_a_collected_job_names_the_users_line() -> None:
    with pytest.raises(StreamletError, match=r"test_lists\.py:\d+: TypeError"):
        collect(_running_sums(), {"pairs": [("ann", "no number"), ("ann", 1)]})


def test_a_function_that_changes_its_record_changes_nothing_in_the_list() -> None:
    def changed(record: dict[str, int]) -> int:
        record["n"] += 1
        return record["n"]

    records = [{"n": 1}]
    job = Job("changing")
    job.source(ListSource(records), uid="in").map(changed, uid="changed").sink(CollectSink(), uid="out")
    for _ in range(2):
        assert collect(job, {"in": records}) == {"out": [2]}
    assert records == [{"n": 1}]


def test_timestamps_of_a_list_are_the_event_times_of_its_records() -> None:
    job = Job("timed")
    source = job.source(ListSource[str]([]), uid="in", watermarks=WatermarkStrategy.monotonic())
    source.key_by(lambda one: one).count(uid="count").sink(CollectSink(), uid="out")
    assert collect(job, {"in": ListSource(["a", "a"], timestamps=[5, 6])}) == {"out": [1, 2]}
    with pytest.raises(ConfigError, match="2 records and 1 timestamps"):
        ListSource(["a", "b"], timestamps=[5])


def test_a_unit_of_a_collecting_sink_is_visible_once_it_is_committed_and_only_once() -> None:
    context: Any = type("Context", (), {"instance": "i", "attempt": 1})
    sink = CollectSink[int]()
    sink.prepare("i-1", context, [1, 2])
    sink.prepare("i-2", context, [3])
    assert sink.values == []
    assert sink.outcome("i-1") is Outcome.OPEN
    sink.commit("i-1")
    sink.commit("i-1")
    assert sink.values == [1, 2]
    with pytest.raises(OutputLostError):
        sink.abort("i-1")
    sink.fence("i", [1], spared=set())
    assert sink.outcome("i-2") is Outcome.ABORTED
    with pytest.raises(StreamletError, match="shut out"):
        sink.prepare("i-3", context, [4])
    with pytest.raises(OutputLostError):
        sink.commit("i-2")
    assert sink.outcome("i-9") is Outcome.LOST


@pytest.mark.outside
def test_pytest_finds_the_fixture_of_the_embedded_broker(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(embedded_kafka):\n    assert embedded_kafka.bootstrap.startswith('127.0.0.1:')\n"
    )
    plugin = "streamlet.testing.plugin"
    done = python(tmp_path, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "test_it.py")
    assert done.returncode == 0, done.stdout
