"""A job that died anywhere, any number of times, has the same committed output as one that never did.

`STREAMLET_SEEDS=1000-2000` runs other seeds, `STREAMLET_SEEDS=17` replays one, `STREAMLET_TEST_FULL=1` runs many.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.scenario import scenario
from tests.simulation.world import World, simulate

IS_FULL = os.environ.get("STREAMLET_TEST_FULL", "") == "1"
ONCE_FAILED = (16, 82, 118, 178, 214, 340)
"""Seeds that have found something, kept for ever (they stand for other runs whenever the generator changes)."""
CHUNKS = 4


def _seeds() -> list[int]:
    wanted = os.environ.get("STREAMLET_SEEDS", "")
    if wanted:
        first, _, end = wanted.partition("-")
        return list(range(int(first), int(end or int(first) + 1)))
    return sorted({*ONCE_FAILED, *range(5000 if IS_FULL else 140)})


def _run(seed: int) -> World:
    try:
        return simulate(scenario(seed))
    except AssertionError as error:
        raise AssertionError(
            f"seed {seed}: {error}\nreplay: STREAMLET_SEEDS={seed} python -m pytest {__file__} -k failures"
        ) from error


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_i17_output_after_failures_is_that_of_a_run_without_failures(chunk: int) -> None:
    crashes = 0
    for seed in _seeds()[chunk::CHUNKS]:
        crashes += _run(seed).crashes
    assert crashes or os.environ.get("STREAMLET_SEEDS"), "a simulation in which nothing dies shows nothing"


def test_the_same_seed_gives_the_same_run() -> None:
    one, other = _run(3), _run(3)
    assert one.total == other.total
    assert one.outcomes == other.outcomes
    assert one.outside.log == other.outside.log
    assert one.clock.seconds == other.clock.seconds
