"""Metrics: every fact of a running job that `/metrics` gives, by name, with its meaning and unit.

`streamlet run job.py --http 127.0.0.1:9470` serves them.  Names are Flink's meanings in Prometheus' spelling: base
units, counters end in `_total`.  Labels are names of the job's own parts, never a key or a value of a record.  Counters
begin at 0 when the process does, and go on over restarts of the job inside of it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from streamlet.elements import MAX_TIMESTAMP
from streamlet.observe.facts import JobFacts, OperatorFacts

Sample = tuple[tuple[str, ...], float]
"""The values of the labels, `job` aside, and the value."""


@dataclass(frozen=True)
class Metric:
    """One metric, and how it is read from the facts."""

    name: str
    """Without `_total` for a counter."""
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    """Beside `job`."""
    help: str
    read: Callable[[JobFacts], Iterable[Sample]]

    @property
    def full_name(self) -> str:
        """As a query has it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def samples(facts: JobFacts) -> Iterator[tuple[Metric, list[Sample]]]:
    """All metrics, and what they are now."""
    for metric in CATALOGUE:
        yield metric, [((facts.name, *labels), value) for labels, value in metric.read(facts)]


def _operators(value: Callable[[OperatorFacts], float | None]) -> Callable[[JobFacts], Iterable[Sample]]:
    def read(facts: JobFacts) -> Iterator[Sample]:
        for one in facts.work.operators:
            found = value(one)
            if found is not None:
                yield (one.uid, str(one.subtask)), found

    return read


def _counts(*kinds: str) -> Callable[[JobFacts], Iterable[Sample]]:
    """Records that went another way than the rest: an operator that had none of them has no sample."""

    def read(facts: JobFacts) -> Iterator[Sample]:
        for uid, by_kind in facts.work.counts.items():
            if number := sum(by_kind.get(kind, 0) for kind in kinds):
                yield (uid,), number

    return read


def _each(
    of: Callable[[JobFacts], Iterable[Any]], labels: tuple[str, ...], value: Callable[[Any], float | None]
) -> Callable[[JobFacts], Iterable[Sample]]:
    def read(facts: JobFacts) -> Iterator[Sample]:
        for one in of(facts):
            found = value(one)
            if found is not None:
                yield tuple(str(getattr(one, label)) for label in labels), found

    return read


def _by(of: Callable[[JobFacts], Mapping[str, float]]) -> Callable[[JobFacts], Iterable[Sample]]:
    return lambda facts: (((name,), value) for name, value in of(facts).items())


def _one(value: Callable[[JobFacts], float | None]) -> Callable[[JobFacts], Iterable[Sample]]:
    def read(facts: JobFacts) -> Iterator[Sample]:
        found = value(facts)
        if found is not None:
            yield (), found

    return read


def _time(milliseconds: int | None) -> float | None:
    if milliseconds is None:
        return None
    return float("inf") if milliseconds >= MAX_TIMESTAMP else milliseconds / 1000


def _lag(facts: JobFacts) -> Iterator[Sample]:
    for one in facts.work.operators:
        if one.watermark_ms is not None:
            is_over = one.watermark_ms >= MAX_TIMESTAMP
            yield (one.uid, str(one.subtask)), 0.0 if is_over else (facts.now_ms - one.watermark_ms) / 1000


_SPLIT = ("uid", "split")
_SUBTASK = ("uid", "subtask")

CATALOGUE = (
    Metric(
        "streamlet_operator_records_in", "counter", _SUBTASK,
        "Records taken in by a subtask; of a source: read.",
        _operators(lambda one: one.records_in),
    ),
    Metric(
        "streamlet_operator_records_out", "counter", _SUBTASK,
        "Records put out by a subtask, side outputs included; of a sink: written.",
        _operators(lambda one: one.records_out),
    ),
    Metric(
        "streamlet_operator_busy_seconds", "counter", _SUBTASK,
        "Time in which a subtask worked; of a sink: in which a write was under way.",
        _operators(lambda one: one.busy_seconds),
    ),
    Metric(
        "streamlet_operator_backpressured_seconds", "counter", _SUBTASK,
        "Time in which a chain could not go on, since what is behind it took no more. At its first operator.",
        _operators(lambda one: one.backpressured_seconds),
    ),
    Metric(
        "streamlet_operator_late_records", "counter", ("uid",),
        "Records that came after their time: dropped, or put aside where a late output takes them.",
        _counts("late dropped", "late put aside"),
    ),
    Metric(
        "streamlet_operator_skipped_records", "counter", ("uid",),
        "Records that could not be read, worked on or written, and were left out by on_error=\"skip\".",
        _counts("left out"),
    ),
    Metric(
        "streamlet_operator_dead_letters", "counter", ("uid",),
        "Records that could not be read, worked on or written, and were put aside.",
        _counts("dead letters"),
    ),
    Metric(
        "streamlet_operator_dropped_side_output", "counter", ("uid",),
        "Records that were put out under a tag that nobody takes.",
        _counts("not taken"),
    ),
    Metric(
        "streamlet_operator_ahead_records", "counter", ("uid",),
        "Records too far ahead of the clock to move event time.",
        _counts("ahead of the clock"),
    ),
    Metric(
        "streamlet_operator_watermark_seconds", "gauge", _SUBTASK,
        "Event time at a subtask, Unix seconds; +Inf behind the end of the input, absent before the first watermark.",
        _operators(lambda one: _time(one.watermark_ms)),
    ),
    Metric(
        "streamlet_operator_watermark_lag_seconds", "gauge", _SUBTASK,
        "How far event time is behind the clock.",
        _lag,
    ),
    Metric(
        "streamlet_source_lag_records", "gauge", _SPLIT,
        "Records of a split that could be read and were not yet.",
        _each(lambda facts: facts.work.splits, _SPLIT, lambda one: one.lag),
    ),
    Metric(
        "streamlet_source_position", "gauge", _SPLIT,
        "The place of the next record in a split: an offset in Kafka, a byte in a file.",
        _each(lambda facts: facts.work.splits, _SPLIT, lambda one: one.position),
    ),
    Metric(
        "streamlet_source_idle", "gauge", _SPLIT,
        "1 for a split that is idle, so that event time does not wait for it.",
        _each(lambda facts: facts.work.splits, _SPLIT, lambda one: int(one.is_idle)),
    ),
    Metric(
        "streamlet_checkpoint_duration_seconds", "gauge", ("phase",),
        "Phases of the newest checkpoint: align, freeze, prepare, pack, write (slowest subtask), manifest, commit.",
        _by(lambda facts: facts.checkpoint.phases),
    ),
    Metric(
        "streamlet_checkpoint_last_duration_seconds", "gauge", (),
        "The newest complete checkpoint, from its trigger until it was decided.",
        _one(lambda facts: facts.checkpoint.seconds if facts.checkpoint.last is not None else None),
    ),
    Metric(
        "streamlet_checkpoint_last_completed_timestamp_seconds", "gauge", (),
        "When the newest checkpoint was complete, Unix seconds.",
        _one(lambda facts: facts.checkpoint.completed_at),
    ),
    Metric(
        "streamlet_checkpoint_bytes", "gauge", ("kind",),
        "Files that the newest checkpoint names: base and log.",
        _by(lambda facts: facts.checkpoint.sizes),
    ),
    Metric(
        "streamlet_checkpoint_completed", "counter", (),
        "Checkpoints that were completed.",
        _one(lambda facts: facts.checkpoint.completed),
    ),
    Metric(
        "streamlet_checkpoint_abandoned", "counter", (),
        "Checkpoints that were declined or timed out: nothing is lost by that.",
        _one(lambda facts: facts.checkpoint.abandoned),
    ),
    Metric(
        "streamlet_sink_committed_records", "counter", (),
        "Records that were made visible by transactional sinks.",
        _one(lambda facts: facts.checkpoint.records_committed),
    ),
    Metric(
        "streamlet_sink_prepared_age_seconds", "gauge", _SUBTASK,
        "How long the oldest prepared output has been waiting to be committed.",
        _each(lambda facts: facts.work.sinks, _SUBTASK, lambda one: one.oldest_seconds),
    ),
    Metric(
        "streamlet_sink_deadline_seconds", "gauge", _SUBTASK,
        "After so long the outside may abort prepared output by itself; absent where it never does.",
        _each(lambda facts: facts.work.sinks, _SUBTASK, lambda one: one.deadline_seconds),
    ),
    Metric(
        "streamlet_state_keys", "gauge", _SUBTASK,
        "Keys in memory.",
        _each(lambda facts: facts.work.stores, _SUBTASK, lambda one: one.keys),
    ),
    Metric(
        "streamlet_state_bytes", "gauge", _SUBTASK,
        "Memory that keyed state takes, estimated.",
        _each(lambda facts: facts.work.stores, _SUBTASK, lambda one: one.bytes),
    ),
    Metric(
        "streamlet_state_evicted", "counter", _SUBTASK,
        "Values that have left memory for the disk.",
        _each(lambda facts: facts.work.stores, _SUBTASK, lambda one: one.evicted),
    ),
    Metric(
        "streamlet_restarts", "counter", ("reason",),
        "Restarts after a failure: outage, or the name of the error.",
        _by(lambda facts: facts.restarts),
    ),
    Metric(
        "streamlet_loop_lateness_seconds", "gauge", ("process",),
        "By how much the event loop was late at most in the last ten seconds: a function that blocks is seen here.",
        _by(lambda facts: facts.work.lateness_seconds),
    ),
    Metric(
        "streamlet_healthy", "gauge", (),
        "1 while the job runs, reaches the outside and completes checkpoints.",
        _one(lambda facts: int(facts.is_ready)),
    ),
    Metric(
        "streamlet_info", "gauge", ("version", "python", "state", "checkpoint"),
        "Always 1: the version of streamlet and of Python, what the job does, and the checkpoint that it went on from.",
        lambda facts: [((version("streamlet"), platform.python_version(), facts.state,
                         "" if facts.restored is None else str(facts.restored)), 1.0)],
    ),
)  # fmt: skip
"""In the order of `/metrics`."""


def described() -> str:
    """The catalogue as text, for people."""
    return "\n\n".join(
        f"{metric.full_name} {{{', '.join(('job', *metric.labels))}}}\n    {metric.help}" for metric in CATALOGUE
    )
