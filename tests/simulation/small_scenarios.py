"""Small jobs, one for each way of starting, ending, keeping state and committing; `crash_everywhere` kills each of them
at every step that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from streamlet import Restart
from tests.simulation.scenario import DEADLINE_SECONDS, Faults, Scenario, Shape, SinkSpec, SourceSpec

Make = Callable[[], Scenario]


def small(faults: Faults | None = None, **settings: Any) -> Scenario:
    """Two splits of eight records, a keyed function on two subtasks, a sink of each kind."""
    splits = {f"s{split}": [(index % 3, 100 * split + index) for index in range(1, 9)] for split in range(2)}
    return Scenario(
        seed=1,
        policy="fifo",
        sources=[SourceSpec("source", splits, starts_latest=False, slowness=0.02)],
        before=[],
        keyed="map",
        regroups=False,
        sinks=[SinkSpec("out", "end", "pooled"), SinkSpec("raw", "before", "named")],
        settings={
            "checkpoint_interval": timedelta(seconds=0.02),
            "batch_records": 2,
            "channel_records": 3,
            "key_groups": 4,
            "state_backend": "memory",
            "restart": Restart.fixed(timedelta(seconds=0.1)),
            **settings,
        },
        shapes=[_shape(2)],
        faults=faults or Faults(),
        folds_after=2,
        memory_cells=None,
        slow_calls={},
        blocking_seconds=0.004,
        answer_seconds=0.01,
        rewrites=1.0,
    )


def with_deadline(faults: Faults) -> Scenario:
    """One writer whose prepared output times out while nobody runs, so that a start may have to go back."""
    faults = replace(faults, slow_commits=50, downtime_seconds=DEADLINE_SECONDS)
    return replace(
        small(faults), sinks=[SinkSpec("out", "end", "pooled", DEADLINE_SECONDS)], shapes=[_shape(1, source=1)]
    )


def _shape(default: int, source: int | None = None, keyed: int | None = None) -> Shape:
    return Shape(default, {"source": source or default}, None, keyed, None)


def _one_chain() -> Scenario:
    return replace(small(), keyed="pair", rewrites=0.0, shapes=[_shape(1)], sinks=[SinkSpec("out", "end", "pooled")])


def _more_subtasks_after_each_start() -> Scenario:
    return replace(small(), keyed="value", shapes=[_shape(1), _shape(2, keyed=3), _shape(3)])


def _fewer_subtasks_after_each_start() -> Scenario:
    return replace(small(), keyed="list", rewrites=0.0, shapes=[_shape(3), _shape(2), _shape(1)])


def _two_sources_and_a_second_shuffle() -> Scenario:
    one = small()
    more = SourceSpec("more", {"m0": [(index % 3, 300 + index) for index in range(8)]}, False, 0.03)
    shape = Shape(2, {"source": 1, "more": 2}, 1, None, 1)
    return replace(one, sources=[*one.sources, more], before=["flat_map"], keyed="value", regroups=True, shapes=[shape])


def _rocksdb() -> Scenario:
    return replace(small(state_backend="rocksdb", verify="full"), keyed="clearing", memory_cells=2)


def _stopped_and_gone_on() -> Scenario:
    return small(Faults(stops=(0.06, 0.05, 0.04)))


def _unbounded_with_new_splits() -> Scenario:
    one = small()
    one.sources[0].is_bounded = False
    one.sources[0].appears = {"s1": 0.05}
    return replace(one, keyed="aggregate", rewrites=0.0)


def _from_an_older_checkpoint() -> Scenario:
    return small(Faults(starts=("latest", "older", "latest", "older"), crashes=(("disk", 10**6),)), retain=2)


def _lagging_commits() -> Scenario:
    return small(Faults(slow_commits=20), retain=0)


def _nothing_before_the_latest() -> Scenario:
    one = small()
    one.sources[0].starts_latest = True
    return replace(one, keyed=None, sinks=[SinkSpec("out", "end", "named")])


SMALL: dict[str, Make] = {
    "two subtasks, two kinds of sink": small,
    "one chain": _one_chain,
    "more subtasks after each start": _more_subtasks_after_each_start,
    "fewer subtasks after each start": _fewer_subtasks_after_each_start,
    "two sources and a second shuffle": _two_sources_and_a_second_shuffle,
    "rocksdb": _rocksdb,
    "stopped and gone on": _stopped_and_gone_on,
    "unbounded with new splits": _unbounded_with_new_splits,
    "from an older checkpoint": _from_an_older_checkpoint,
    "lagging commits": _lagging_commits,
    "no state, from the latest": _nothing_before_the_latest,
}
