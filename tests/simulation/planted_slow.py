"""Planted bugs of what may lie before slow functions."""

from __future__ import annotations

from typing import Any

from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.batch_size import BatchSize
from streamlet.runtime.task.chain import Chain
from streamlet.runtime.task.held_back import HeldBack, Queues, Turn
from streamlet.runtime.task.pace import Pace
from streamlet.runtime.task.subtask import Subtask
from streamlet.testing.patches import Patches
from tests.simulation.planting import planted_in
from tests.simulation.slow_scenarios import (
    run_interrupted,
    run_interrupted_firing,
    run_interrupted_timed,
    run_slow,
)

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


planted_in_queues = planted_in("slow", run_interrupted, range(100))


@planted_in_queues
def what_waits_is_not_in_the_checkpoint(patches: Patches) -> None:
    patches.put(Queues, "kept", lambda _: lambda self, subtask: {})


@planted_in_queues
def what_waits_is_kept_and_done_all_the_same(patches: Patches) -> None:
    def held_back(original: Any) -> Any:
        async def both(self: Any) -> Any:
            kept = await original(self)
            while self._chain.queues.is_held_back:
                if not await self.go_on(is_urgent=True):
                    await self.until_outputs_have_room()
            return kept

        return both

    patches.put(Subtask, "_held_back", held_back)


@planted_in_queues
def the_end_overtakes_what_waits(patches: Patches) -> None:
    patches.put(HeldBack, "held_watermark", lambda _: lambda self: None)


@planted_in_queues
def every_subtask_takes_up_all_that_waited(patches: Patches) -> None:
    def restore(original: Any) -> Any:
        def all_of_it(self: Any, one: Any, old_subtask: int, owner_of_split: Any) -> None:
            original(self, {**one, "groups": None, "split": "s"}, old_subtask, lambda _: self.context.subtask)

        return all_of_it

    patches.put(HeldBack, "_restore", restore)


@planted_in_queues
def what_waited_comes_behind_what_is_new(patches: Patches) -> None:
    def hold(original: Any) -> Any:
        def in_front(self: Any, *args: Any) -> None:
            original(self, *args)
            self._waiting.rotate(1)

        return in_front

    patches.put(HeldBack, "hold", hold)


@planted_in_queues
def what_a_pause_left_undone_is_dropped(patches: Patches) -> None:
    def run(original: Any) -> Any:
        def all_done(self: Any, way: Any, batch: Any) -> int:
            original(self, way, batch)
            return len(batch)

        return all_done

    patches.put(Turn, "run", run)


planted_in_times = planted_in("slow", run_interrupted_timed, range(200))


@planted_in_times
def what_waited_sees_the_event_time_of_the_gate_before_it(patches: Patches) -> None:
    def come_to(self: Any, uid: str, timestamp: int) -> None:
        for step in self._steps:
            if step.uid == uid:
                self._floors[step.operator] = timestamp

    patches.put(Chain, "_come_to", lambda _: come_to)


@planted_in_times
def what_waited_in_several_subtasks_sees_the_time_of_the_first(patches: Patches) -> None:
    def go_on(original: Any) -> Any:
        def without_a_word(self: Any) -> bool:
            original(self)
            return False

        return without_a_word

    patches.put(Queues, "go_on", go_on)


planted_in_firings = planted_in("slow", run_interrupted_firing, range(100))


@planted_in_firings
def the_rest_of_a_firing_is_forgotten(patches: Patches) -> None:
    def fire(self: Any, operator: Any, timestamp: int, out: Any) -> Any:
        while operator.on_watermark(timestamp, out):
            yield
            self.queues.turn.begin()

    patches.put(Chain, "_fire", lambda _: fire)


@planted_in_firings
def records_come_before_the_rest_of_a_firing(patches: Patches) -> None:
    def has_work(self: Any) -> bool:
        return bool(self.queues.is_held_back)

    patches.put(Chain, "has_work", lambda _: property(has_work))
