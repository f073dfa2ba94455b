"""A wall clock that is set back while a job runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.functions import BATCH
from tests.simulation.scenario import Scenario, Shape, SinkSpec
from tests.simulation.small_scenarios import small
from tests.simulation.world import simulate


def _batching(*steps: tuple[float, float]) -> Scenario:
    one = replace(
        small(), beside=["batched"], sinks=[SinkSpec("out", "end", "pooled"), SinkSpec("more", "beside0", "pooled")]
    )
    one.sources[0].slowness = 1.0
    return replace(one, shapes=[Shape(1, {"source": 1}, None, None, None, (None,))], clock_steps=steps)


@pytest.mark.parametrize("steps", [(), ((1.5, -3600.0),), ((0.5, 3600.0), (1.5, -3600.0))])
def test_what_waits_for_a_time_comes_soon_after_it_however_far_the_clock_is_set(
    steps: tuple[tuple[float, float], ...],
) -> None:
    one = _batching(*steps)
    batches = simulate(one).outside.log["more"]
    assert len(batches) > 8 and max(map(len, batches)) < BATCH, "all the keys' values are far apart"
