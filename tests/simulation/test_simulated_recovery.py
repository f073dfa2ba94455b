"""Faults that end under a living process: it recovers by itself, and one that does not is found."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamlet.testing.errors import SimulationStuck
from tests.simulation import planted_decisions
from tests.simulation.planted_outages import run_with_full_disk
from tests.simulation.planting import with_bug
from tests.simulation.scenario import Faults, Scenario
from tests.simulation.small_scenarios import small
from tests.simulation.world import simulate

assert planted_decisions, "its bugs are planted by importing it"


def _calm(seconds: float, faults: Faults) -> Scenario:
    one = small(faults, checkpoint_timeout=timedelta(seconds=1), stalled_intervals=1000)
    one.calms_at = seconds
    one.sources[0].slowness = 0.5
    return one


def test_a_job_that_could_not_read_goes_on_when_it_can() -> None:
    world = simulate(_calm(0.2, Faults(fetch_fails=1.0)))
    assert world.outcomes == ["finished"]
    assert world.restarts > 0


def test_a_job_whose_answers_were_all_lost_goes_on_when_they_come() -> None:
    world = simulate(_calm(0.2, Faults(answer_lost=1.0)))
    assert world.outcomes == ["finished"]
    assert world.recovery.survivor is not None
    assert world.recovery.survivor.took_seconds is not None


@pytest.mark.parametrize("seed", [0, 1])
def test_a_job_whose_disk_was_full_for_longer_than_it_may_fail_goes_on_when_there_is_space(seed: int) -> None:
    run_with_full_disk(seed)


def test_a_process_that_commits_nothing_any_more_is_found_though_nothing_else_is_wrong() -> None:
    one = _calm(2.0, Faults(disk_fails=0.9, disk_fails_at="/files/"))
    assert simulate(one).outcomes == ["finished"]
    one = _calm(2.0, Faults(disk_fails=0.9, disk_fails_at="/files/"))
    one.sources[0].is_bounded = False
    stuck = pytest.raises(SimulationStuck, match="no checkpoint was committed")
    with with_bug("no checkpoint follows on an abandoned one"), stuck:
        simulate(one)
