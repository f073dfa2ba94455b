"""Every fact of the catalogue is true: jobs with known lates, skips, dead letters and restarts, and their metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from streamlet import Count, DeadLetter, OutputTag, Restart, TumblingWindows, WatermarkStrategy
from streamlet.connect import Batch, Position, ReaderContext, Sink, SinkContext, Source
from streamlet.observe.catalogue import CATALOGUE, samples
from streamlet.observe.facts import (
    CheckpointFacts,
    JobFacts,
    OperatorFacts,
    SplitFacts,
    StoreFacts,
    WorkFacts,
    total,
    with_former,
)
from streamlet.observe.standstill import EventTimeWatch
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Failing, make_job
from tests.unit.serving_kit import Door, Metrics, Scraped

SECOND = timedelta(seconds=1)
LETTERS = OutputTag[DeadLetter]("letters")
TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda number: number)
IN, OUT = "streamlet_operator_records_in_total", "streamlet_operator_records_out_total"


def test_records_are_counted_at_every_operator_with_what_went_another_way(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(60, 50, door)
    job = make_job(tmp_path)
    numbers = job.source(source, uid="numbers")
    kept: Any = numbers.map(lambda number: 1 // (number % 5) and number, on_error="skip", uid="parse")
    more = kept.flat_map(lambda number: [1 // (number - 1), 7], on_error=LETTERS, uid="more")
    more.key_by(lambda number: number, uid="key").aggregate(Count(), uid="count").sink(
        FileSink(str(tmp_path / "out")), uid="out"
    )
    assert door.run(job).code == 0
    seen = source.seen
    # 10 of the 50 are divisible by 5; the number 1 fails in flat_map, and nobody takes its letter.
    assert seen.by("uid", IN) == {"count": 78, "key": 78, "more": 40, "numbers": 50, "out": 78, "parse": 50}
    assert seen.by("uid", OUT) == {"count": 78, "key": 78, "more": 78, "numbers": 50, "out": 78, "parse": 40}
    assert seen.by("uid", "streamlet_operator_skipped_records_total") == {"parse": 10}
    assert seen.by("uid", "streamlet_operator_dead_letters_total") == {"more": 1}
    assert seen.by("uid", "streamlet_operator_dropped_side_output_total") == {"more": 1}
    assert seen.value("streamlet_sink_committed_records_total") == 78
    assert seen.value("streamlet_state_keys", uid="count") == 3
    assert seen.value("streamlet_source_position", uid="numbers", split="split") == 50
    assert seen.value("streamlet_healthy") == 1
    assert all(busy > 0 for busy in seen.by("uid", "streamlet_operator_busy_seconds_total").values())


def test_late_records_and_event_time_are_those_of_the_windows(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(40, 30, door)
    job = make_job(tmp_path)
    times: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(
        lambda number: 5_000 if 10 <= number < 20 else number
    )
    windows = job.source(source, uid="in", watermarks=times).key_by(lambda _: 0, uid="key")
    windows.window(TumblingWindows(SECOND)).aggregate(Count(), uid="count").sink(
        FileSink(str(tmp_path / "out")), uid="out"
    )
    assert door.run(job).code == 0
    seen = source.seen
    assert seen.by("uid", "streamlet_operator_late_records_total") == {"count": 10}
    at = seen.by("uid", "streamlet_operator_watermark_seconds")
    assert at == dict.fromkeys(("count", "in", "key", "out"), 4.999)
    lag = seen.value("streamlet_operator_watermark_lag_seconds", uid="count")
    assert lag is not None and lag > 1_000_000_000


def test_counts_go_on_over_a_restart_which_is_counted_by_its_reason(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(40, 30, door)
    job = make_job(tmp_path, restart=Restart.fixed(timedelta(0), attempts=3))
    job.source(source, uid="in").map(Failing(25), uid="fails").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    seen = source.seen
    assert seen.by("reason", "streamlet_restarts_total") == {"UserFunctionError": 1}
    # The batch of 20 to 29 was read twice, or more if no checkpoint was complete before it; it went through once.
    assert (seen.value(IN, uid="in") or 0) >= 40
    written = seen.value(OUT, uid="out")
    assert written is not None and written >= 30
    assert seen.value("streamlet_sink_committed_records_total") == 30


def test_checkpoints_have_a_number_a_time_a_size_and_phases(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(40, 30, door)
    job = make_job(tmp_path)
    job.source(source, uid="in").key_by(lambda number: number, uid="key").aggregate(Count(), uid="count").sink(
        FileSink(str(tmp_path / "out")), uid="out"
    )
    assert door.run(job).code == 0
    seen = source.seen
    phases = seen.by("phase", "streamlet_checkpoint_duration_seconds")
    assert {"freeze", "prepare", "manifest", "commit"} <= phases.keys()
    assert phases.keys() <= {"align", "freeze", "prepare", "pack", "write", "manifest", "commit"}
    assert all(seconds >= 0 for seconds in phases.values())
    assert (seen.value("streamlet_checkpoint_completed_total") or 0) >= 1
    assert seen.value("streamlet_checkpoint_abandoned_total") == 0
    assert (seen.value("streamlet_checkpoint_bytes", kind="log") or 0) > 0
    assert (seen.value("streamlet_checkpoint_last_completed_timestamp_seconds") or 0) > 1_500_000_000
    assert (seen.value("streamlet_checkpoint_last_duration_seconds") or 0) > 0


class Parts(Source[int]):
    """Two splits: `busy` has records, `quiet` none, and each says how far behind it is.  Ends when it was looked at."""

    bounded = True

    def __init__(self, door: Door) -> None:
        self.door = door
        self.seen: Metrics | None = None

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {} if known else {"busy": 0, "quiet": 7}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> PartsReader:
        return PartsReader(self, splits)


class PartsReader:
    def __init__(self, source: Parts, splits: Mapping[str, Position]) -> None:
        self._source = source
        self._at: int = splits.get("busy", 0)

    def lag(self) -> Mapping[str, int]:
        return {"busy": 1_000 - self._at, "quiet": 3}

    async def fetch(self) -> Sequence[Batch[int]] | None:
        if self._source.seen is not None:
            return None
        seen = await asyncio.to_thread(self._source.door.metrics)
        if self._at and seen.value("streamlet_source_idle", split="quiet") == 1:
            self._source.seen = seen
        self._at += 1
        return [Batch([self._at], split="busy", next_position=self._at)]

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


def test_splits_have_their_lag_their_position_and_whether_they_are_idle(tmp_path: Path) -> None:
    door = Door()
    source = Parts(door)
    job = make_job(tmp_path)
    strategy = TIMES.with_idleness(timedelta(milliseconds=20))
    job.source(source, uid="in", watermarks=strategy).sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    assert source.seen is not None
    assert source.seen.by("split", "streamlet_source_idle") == {"busy": 0, "quiet": 1}
    position = source.seen.by("split", "streamlet_source_position")
    assert position["quiet"] == 7
    assert source.seen.by("split", "streamlet_source_lag_records") == {"busy": 1_000 - position["busy"], "quiet": 3}


class SlowSink(Sink[int]):
    """At-least-once; each write takes 20 ms, and its first preparation, where asked for, longer than a time-out."""

    delivery = "at_least_once"

    def __init__(self, prepares_seconds: float = 0.0) -> None:
        self.prepares_seconds = prepares_seconds

    def writer(self, context: SinkContext) -> SlowWriter:
        return SlowWriter(self)


class SlowWriter:
    def __init__(self, sink: SlowSink) -> None:
        self._sink = sink

    async def open(self) -> None: ...

    async def write(self, batch: Batch[int]) -> None:
        await asyncio.sleep(0.02)

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Any]:
        seconds, self._sink.prepares_seconds = self._sink.prepares_seconds, 0.0
        await asyncio.sleep(seconds)
        return []

    async def released(self, committables: Sequence[Any]) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.outside
def test_a_slow_sink_is_seen_as_its_own_time_and_as_back_pressure_before_it(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(110, 100, door)
    job = make_job(tmp_path)
    job.source(source, uid="in").map(lambda number: number, uid="quick").sink(SlowSink(), uid="slow")
    assert door.run(job).code == 0
    seen = source.seen
    busy = seen.by("uid", "streamlet_operator_busy_seconds_total")
    assert busy["slow"] >= 10 * 0.02
    assert busy["quick"] < 0.5 * busy["slow"]
    assert (seen.value("streamlet_operator_backpressured_seconds_total", uid="in") or 0) >= 10 * 0.02 * 0.9


@pytest.mark.outside
def test_an_abandoned_checkpoint_is_counted(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(40, 30, door)
    job = make_job(tmp_path, checkpoint_timeout=timedelta(milliseconds=100), stalled_intervals=10_000)
    job.source(source, uid="in").sink(SlowSink(prepares_seconds=0.4), uid="slow")
    assert door.run(job).code == 0
    assert (source.seen.value("streamlet_checkpoint_abandoned_total") or 0) >= 1


def test_the_text_passes_the_parsers_of_both_formats_and_has_every_metric_with_its_help(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(20, 10, door)
    found: list[Any] = []

    def look() -> None:
        found.append(door.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0"))
        Scraped.look(source)

    source.look = look  # type: ignore[method-assign]
    job = make_job(tmp_path)
    job.source(source, uid="in", watermarks=TIMES).sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    (answer,) = found
    parse: Any = parser.text_string_to_metric_families
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse(answer.text)}
    assert families.keys() == {metric.name for metric in CATALOGUE}
    for metric in CATALOGUE:
        family = families[metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) == {"job", *metric.labels}
            assert sample.labels["job"] == "job"
    for text in (source.answers[0].text, answer.text):
        assert not [line for line in text.splitlines() if line != line.strip()]


def test_labels_with_any_text_arrive_as_they_are() -> None:
    name = 'a "b" \\ \n é {x="1"}'
    split = SplitFacts("in", name, 1, 2, None, False)
    facts = JobFacts("job", "running", WorkFacts(splits=[split]), CheckpointFacts())
    from streamlet.observe.serving.exposition import exposed

    text = exposed(facts, "")[0].decode()
    assert Metrics(text).value("streamlet_source_lag_records", split=name) == 1


def test_facts_of_several_processes_and_attempts_are_put_together() -> None:
    def work(subtask: int, number: int) -> WorkFacts:
        return WorkFacts(
            number,
            operators=[OperatorFacts("in", subtask, "source", number, number, 0.5, 1_000, 0.25)],
            stores=[StoreFacts("keys", subtask, 1, 10, number)],
            phases={"write": 0.1 * (subtask + 1)},
            lateness_seconds={f"worker {subtask}": 0.0},
        )

    both = total([work(0, 3), work(1, 4)])
    assert both.phases == {"write": 0.2}
    assert both.lateness_seconds == {"worker 0": 0.0, "worker 1": 0.0}
    again = with_former(work(0, 10), both)
    assert again.records == 17
    assert {(one.subtask, one.records_in, one.watermark_ms) for one in again.operators} == {
        (0, 13, 1_000),
        (1, 4, None),
    }
    assert again.operators[0].backpressured_seconds == 0.5
    assert again.stores[0].evicted == 13
    facts = JobFacts("job", "running", again, CheckpointFacts())
    in_total = dict(next(found for metric, found in samples(facts) if metric.full_name == IN))
    assert in_total == {("job", "in", "0"): 13, ("job", "in", "1"): 4}


def test_event_time_that_stands_still_is_told_with_the_split_that_holds_it() -> None:
    def splits(a: int | None, b: int | None, b_is_idle: bool = False) -> list[SplitFacts]:
        return [SplitFacts("in", "a", None, None, a, False), SplitFacts("in", "b", None, None, b, b_is_idle)]

    watch = EventTimeWatch(10.0)
    assert watch.look(splits(None, None), 0.0) == ""
    assert watch.look(splits(100, None), 1.0) == ""
    assert watch.look(splits(200, None), 10.0) == ""
    assert "event time of in has stood still for 10 s: split b has no records" in watch.look(splits(300, None), 11.5)
    assert watch.look(splits(400, None, True), 12.0) == ""
    assert watch.look(splits(400, 350), 13.0) == ""
    # A source that has no records at all holds nobody back.
    assert watch.look(splits(400, 350), 60.0) == ""
    assert "split b" in watch.look(splits(500, 350), 61.0)
