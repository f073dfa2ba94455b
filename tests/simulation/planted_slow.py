"""Planted bugs of what may lie before slow functions."""

from __future__ import annotations

from typing import Any

from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.batch_size import BatchSize
from streamlet.runtime.task.pace import Pace
from tests.simulation.patches import Patches
from tests.simulation.planting import planted_in
from tests.simulation.slow_scenarios import run_slow

planted = planted_in("slow", run_slow, range(200))


@planted
def what_lies_before_a_task_is_bounded_by_count(patches: Patches) -> None:
    def may_have(self: Any, batches: int, records: int) -> bool:
        return bool(records < self.most_records)

    patches.put(Backlog, "_may_have", lambda _: may_have)


@planted
def first_batch_is_large(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def __init__(self: Any, most: int) -> None:
            original(self, most)
            self._size = most

        return __init__

    patches.put(BatchSize, "__init__", init)


@planted
def time_that_others_hold_the_loop_is_not_counted(patches: Patches) -> None:
    def took(original: Any) -> Any:
        def alone(self: Any, records: int, seconds: float, waited: float = 0.0) -> None:
            original(self, records, seconds)

        return alone

    patches.put(Pace, "took", took)


@planted
def what_is_behind_a_barrier_takes_the_room_of_what_is_before_it(patches: Patches) -> None:
    def has_room(self: Any, epoch: int) -> bool:
        return bool(self._may_have(self._batches, self.records))

    patches.put(Backlog, "has_room", lambda _: has_room)
