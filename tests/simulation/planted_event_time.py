"""Planted bugs of event time."""

from __future__ import annotations

from typing import Any

from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.lowest_watermark import LowestWatermark
from streamlet.runtime.task.source_subtask import SourceSubtask
from streamlet.runtime.task.split_watermarks import SplitWatermarks
from streamlet.testing.patches import Patches
from tests.simulation.planting import planted_in
from tests.simulation.timed_scenarios import run_timed

planted = planted_in("event time", run_timed, range(60))


@planted
def kept_nowhere(patches: Patches) -> None:
    patches.put(SourceSubtask, "event_time", lambda _: lambda self: None)
    patches.put(InputGate, "snapshot", lambda _: lambda self: None)


@planted
def of_the_highest_input(patches: Patches) -> None:
    def settle(self: Any) -> bool:
        highest = max(self.timestamps.values())
        before = self.current
        self.keep(highest)
        return bool(self.current != before)

    patches.put(LowestWatermark, "settle", lambda _: settle)


@planted
def moved_splits_forgotten(patches: Patches) -> None:
    def restore(original: Any) -> Any:
        def keeps_too_much(self: Any, snapshots: Any) -> None:
            original(self, snapshots)
            self._lowest.keep(max((one["watermark"] for one in snapshots), default=0))

        return keeps_too_much

    patches.put(SplitWatermarks, "restore", restore)


@planted
def watermark_before_its_batch(patches: Patches) -> None:
    def process(_: Any) -> Any:
        async def early(self: Any, enter: Any, batch: Any, times: Any) -> None:
            timed = times.timed(batch)
            if times.follow(timed):
                await self.advance(times.current)
            await self.process(enter, timed)

        return early

    patches.put(SourceSubtask, "_process_timed", process)
