"""A small job dies at every single step, disk call and request that it makes, and nothing is lost or doubled.

By default at a sample of them, with `STREAMLET_TEST_FULL=1` at each.
"""

from __future__ import annotations

import os
import random
from datetime import timedelta

import pytest

from streamlet import Restart
from tests.simulation.scenario import Faults, Scenario, Shape, SinkSpec, SourceSpec
from tests.simulation.world import simulate

IS_FULL = os.environ.get("STREAMLET_TEST_FULL", "") == "1"
SAMPLE = 25


def _small(faults: Faults, *, deadline: float | None = None) -> Scenario:
    splits = {f"s{split}": [(index % 3, 100 * split + index) for index in range(1, 9)] for split in range(2)}
    out = SinkSpec("out", "end", "pooled", deadline)
    parallelism = 2 if deadline is None else 1
    return Scenario(
        seed=1,
        policy="fifo",
        sources=[SourceSpec("source", splits, starts_latest=False, slowness=0.02)],
        before=[],
        keyed="map",
        regroups=False,
        sinks=[out, SinkSpec("raw", "before", "named")] if deadline is None else [out],
        settings={
            "checkpoint_interval": timedelta(seconds=0.02),
            "batch_records": 2,
            "channel_records": 3,
            "key_groups": 4,
            "state_backend": "memory",
            "restart": Restart.fixed(timedelta(seconds=0.1)),
        },
        shapes=[Shape(parallelism, {"source": parallelism}, None, None, None)],
        faults=faults,
        folds_after=2,
        memory_cells=None,
        slow_calls={},
        blocking_seconds=0.004,
        answer_seconds=0.01,
    )


def _some(places: range, name: str) -> list[int]:
    return list(places) if IS_FULL else sorted(random.Random(name).sample(places, min(SAMPLE, len(places))))


@pytest.mark.parametrize("keeps_files", [True, False], ids=["killed", "power cut"])
@pytest.mark.parametrize("kind", ["step", "disk", "outside"])
def test_a_job_may_die_at_every_step(kind: str, keeps_files: bool) -> None:
    power = 0.0 if keeps_files else 1.0
    whole = simulate(_small(Faults(power=power)))
    assert whole.outcomes == ["finished"]
    for at in _some(range(1, whole.total[kind]), kind):
        try:
            simulate(_small(Faults(crashes=((kind, at),), power=power)))
        except AssertionError as error:
            raise AssertionError(f"died at {kind} {at}: {error}") from error


def test_a_kill_anywhere_may_be_followed_by_a_power_cut() -> None:
    """What a killed process left without an fsync is seen by the next one, and must not be believed."""
    calls = simulate(_small(Faults())).calls
    # Before an fsync: what came before it is seen by the next process, and is not durable.
    unsynced = [at for at, call in enumerate(calls, 1) if call == "fsync" and calls[at - 2] in ("rename", "mkdir")]
    for at in range(1, len(calls)) if IS_FULL else unsynced[:12]:
        for then in range(1, 120) if IS_FULL else range(1 + at % 7, 90, 7):
            crashes = (("disk", at), ("disk", then))
            try:
                simulate(_small(Faults(crashes=crashes, power_cuts=(False, True))))
            except AssertionError as error:
                raise AssertionError(f"killed at {at}, power cut at {then}: {error}") from error


def test_a_start_that_goes_back_to_an_older_checkpoint_may_die_at_every_call() -> None:
    """The outside has timed out what the first process prepared last; the second dies while it settles that."""

    def dying(*crashes: tuple[str, int]) -> Scenario:
        faults = Faults(crashes=crashes, slow_commits=50, downtime_seconds=4.0)
        return _small(faults, deadline=4.0)

    went_back = 0
    for first in range(10, 40):
        whole = simulate(dying(("outside", first)))
        if not any("going back" in text for text in whole.said):
            continue
        went_back += 1
        for kind, most in (("disk", 60), ("outside", 12)):
            for at in _some(range(1, most), f"{kind}{first}"):
                try:
                    simulate(dying(("outside", first), (kind, at)))
                except AssertionError as error:
                    raise AssertionError(f"died at outside {first}, then at {kind} {at}: {error}") from error
        if not IS_FULL:
            break
    assert went_back, "no start went back: this shows nothing"
