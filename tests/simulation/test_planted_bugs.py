"""Every planted bug is found within the budget of seeds: else the simulator is too weak to trust."""

from __future__ import annotations

import pytest

from tests.simulation.planted_gate import gate
from tests.simulation.planting import PLANTED

LEAST = 35


def test_every_planted_bug_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = gate()
    with capsys.disabled():
        print("\nplanted bug, seeds that it took to find it, and what was said of it")
        for one in verdicts:
            print(one)
    missed = [str(one) for one in verdicts if one.seeds is None]
    assert not missed, "\n".join(missed)
    assert len(PLANTED) >= LEAST
