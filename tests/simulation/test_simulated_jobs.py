"""A job that died anywhere, any number of times, has the same committed output as one that never did.

`python -m tests.simulation.campaign` runs more seeds than these, or one of them.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.known_seeds import KNOWN_SEEDS
from tests.simulation.scenario import MOST, scenario
from tests.simulation.seeds import Report, chunks, default_workers, over_processes, run_seeds
from tests.simulation.world import simulate

SEEDS = 20_000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 2000


FAULTS = (
    *MOST,
    "kill",
    "power cut",
    "stop",
    "take-over",
    "zombie failed",
    "older",
    "flips",
    "damage found",
    "loss accepted",
    "calm",
)
PARTS = SEEDS // 500


@pytest.mark.parametrize("part", range(PARTS))
def test_i17_output_after_failures_is_that_of_a_run_without_failures(part: int) -> None:
    total = Report()
    seeds = sorted({*KNOWN_SEEDS, *range(SEEDS)})[part::PARTS]
    for report in over_processes(run_seeds, chunks(seeds), default_workers()):
        total.add(report)
    assert not total.failures, "\n".join(total.failures[seed] for seed in sorted(total.failures))
    unseen = [kind for kind in FAULTS if not total.faults[kind]]
    assert not unseen, f"faults that never happened: {unseen}; a simulation without them shows nothing"


def test_the_same_seed_gives_the_same_run() -> None:
    for seed in (3, 4, 5):
        one, other = simulate(scenario(seed)), simulate(scenario(seed))
        assert one.total == other.total
        assert one.outcomes == other.outcomes
        assert one.outside.log == other.outside.log
        assert one.clock.seconds == other.clock.seconds
