"""Every planted bug is found within the budget of seeds: else the simulator is too weak to trust.

`python -m tests.simulation.planted_gate` prints one table of all of them.
"""

from __future__ import annotations

import pytest

from tests.simulation.planted_gate import gate
from tests.simulation.planting import PLANTED

LEAST = {"outages": 1, "engine": 52, "async": 6, "event time": 4, "language": 10, "kafka": 18, "slow": 14}


@pytest.mark.parametrize("family", LEAST)
def test_every_planted_bug_is_found(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = gate([name for name, bug in PLANTED.items() if bug.family == family])
    with capsys.disabled():
        print("\nplanted bug, seeds that it took to find it, and what was said of it")
        for one in verdicts:
            print(one)
    missed = [str(one) for one in verdicts if one.seeds is None]
    assert not missed, "\n".join(missed)
    assert len(verdicts) >= LEAST[family]
    assert {bug.family for bug in PLANTED.values()} == set(LEAST)
