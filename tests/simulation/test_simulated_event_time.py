"""Event time under crashes: nothing becomes late by a restore, and no watermark is taken back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from streamlet import WatermarkStrategy
from streamlet.runtime.channel import InputGate
from streamlet.runtime.lowest_watermark import LowestWatermark
from streamlet.runtime.source_subtask import SourceSubtask
from streamlet.runtime.split_watermarks import SplitWatermarks
from tests.simulation import functions
from tests.simulation.patches import Patches
from tests.simulation.scenario import Scenario, scenario
from tests.simulation.world import simulate

SEEDS = 2000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 60
CRASHES = tuple(("step", at) for at in (300, 500, 400, 600))


def _timed(seed: int) -> Scenario:
    """The scenario of a seed, with event time and always some crashes."""
    one = scenario(seed)
    one.keyed, one.regroups = "timed", False
    one.watermarks = WatermarkStrategy.monotonic().with_timestamps(functions.time_of)
    one.faults.crashes = (*one.faults.crashes, *CRASHES[seed % 4 :])
    return one


def _broken(seeds: range) -> Iterator[str]:
    for seed in seeds:
        functions.TIME_BROKE.clear()
        simulate(_timed(seed))
        yield from (f"seed {seed}: {what}" for what in functions.TIME_BROKE[:1])


def test_times_that_rise_in_every_split_make_nothing_late_and_no_watermark_goes_back() -> None:
    assert list(_broken(range(SEEDS))) == []


def _kept_nowhere(patches: Patches) -> None:
    patches.put(SourceSubtask, "event_time", lambda _: lambda self: None)
    patches.put(InputGate, "snapshot", lambda _: lambda self: None)


def _of_the_highest_input(patches: Patches) -> None:
    def settle(self: Any) -> bool:
        highest = max(self.timestamps.values())
        before = self.current
        self.keep(highest)
        return bool(self.current != before)

    patches.put(LowestWatermark, "settle", lambda _: settle)


def _moved_splits_forgotten(patches: Patches) -> None:
    def restore(original: Any) -> Any:
        def keeps_too_much(self: Any, snapshots: Any) -> None:
            original(self, snapshots)
            self._lowest.keep(max((one["watermark"] for one in snapshots), default=0))

        return keeps_too_much

    patches.put(SplitWatermarks, "restore", restore)


def _watermark_before_its_batch(patches: Patches) -> None:
    def process(_: Any) -> Any:
        async def early(self: Any, enter: Any, batch: Any, times: Any) -> None:
            timed = times.timed(batch)
            if times.follow(timed):
                await self.advance(times.current)
            await self.process(enter, timed)

        return early

    patches.put(SourceSubtask, "_process_timed", process)


@pytest.mark.parametrize(
    "plant", [_kept_nowhere, _of_the_highest_input, _moved_splits_forgotten, _watermark_before_its_batch]
)
def test_a_planted_bug_of_event_time_is_found(plant: Any) -> None:
    patches = Patches()
    plant(patches)
    try:
        assert any(_broken(range(SEEDS)))
    finally:
        patches.undo()
        functions.TIME_BROKE.clear()
