"""Small jobs die at every step, disk call and request that they make, and nothing is lost or doubled.

By default at a sample of them, with `STREAMLET_TEST_FULL=1` at each: `python -m tests.simulation.crash_everywhere`.
"""

from __future__ import annotations

import os
import random

from tests.simulation.crash_everywhere import sweep_all
from tests.simulation.scenario import Faults, Scenario
from tests.simulation.seeds import default_workers
from tests.simulation.small_scenarios import SMALL, small, with_deadline
from tests.simulation.world import simulate

IS_FULL = os.environ.get("STREAMLET_TEST_FULL", "") == "1"
SAMPLE = 12
STRIDE, PAIR_STRIDES = (1, (1, 1)) if IS_FULL else (47, (199, 97))


def test_small_jobs_may_die_at_every_step_and_again_while_they_restore() -> None:
    swept = sweep_all(STRIDE, PAIR_STRIDES, default_workers())
    assert not swept.failures, "\n".join(swept.failures)
    assert swept.died > 10 * len(SMALL), "a sweep in which hardly anything dies shows nothing"


def test_without_faults_a_small_job_needs_one_process() -> None:
    assert simulate(small()).outcomes == ["finished"]


def test_a_start_that_goes_back_to_an_older_checkpoint_may_die_at_every_call() -> None:
    """The outside has timed out what the first process prepared last; the second dies while it settles that."""

    def dying(*crashes: tuple[str, int]) -> Scenario:
        return with_deadline(Faults(crashes=crashes))

    went_back = 0
    for first in range(10, 40):
        if not any("going back" in text for text in simulate(dying(("outside", first))).said):
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


def _some(places: range, name: str) -> list[int]:
    return list(places) if IS_FULL else sorted(random.Random(name).sample(places, min(SAMPLE, len(places))))
