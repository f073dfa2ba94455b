"""Every planted bug is found within the budget of seeds: else the simulator is too weak to trust.

`-s` prints a table of how many seeds each bug needed.
"""

from __future__ import annotations

import pytest

from tests.simulation import planted_decisions, planted_flow, planted_state
from tests.simulation.planting import PLANTED, with_bug
from tests.simulation.scenario import scenario
from tests.simulation.world import simulate

assert planted_flow and planted_state and planted_decisions, "their bugs are planted by importing them"
BUDGET = 300
"""Most are found within 40 seeds; which seeds show the rarest depends on every detail of the schedule."""


def _shows(name: str, seed: int) -> str | None:
    """What a seed says of a bug; None when it does not notice."""
    try:
        with with_bug(name):
            simulate(scenario(seed))
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:70]
    return None


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    for seed in range(BUDGET):
        said = _shows(name, seed)
        if said is not None:
            print(f"{name:62s} {seed + 1:4d} seeds: {said}")
            return
    pytest.fail(f"{name}: not found in {BUDGET} seeds")
