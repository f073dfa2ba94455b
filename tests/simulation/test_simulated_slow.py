"""However slow functions behind shuffles are, a checkpoint's barriers come through within a bound."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.simulation.slow_scenarios import (
    run_interrupted,
    run_interrupted_firing,
    run_interrupted_timed,
    run_slow,
)

SEEDS = 2000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 72


def test_no_barrier_waits_long_for_slow_functions() -> None:
    longest = 0.0
    for seed in range(SEEDS):
        try:
            longest = max(longest, run_slow(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert longest > 0.2, "none was slow"


@pytest.mark.parametrize("run", [run_interrupted, run_interrupted_timed, run_interrupted_firing])
def test_what_a_barrier_has_overtaken_survives_every_kill_and_change_of_parallelism(run: Callable[[int], int]) -> None:
    kept = 0
    for seed in range(SEEDS):
        try:
            kept += run(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert kept > SEEDS // 3, "hardly anything waited"  # most of what is to be fired waits as timers
