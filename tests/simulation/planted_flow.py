"""Planted bugs of barriers, channels and positions, and of sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlet.checkpoint.alignment import BarrierAligner
from streamlet.elements import Barrier
from streamlet.operators import process, stateless
from streamlet.runtime.task.channel import Channel
from streamlet.runtime.task.sink_leaf import SinkLeaf
from streamlet.runtime.task.source_subtask import SourceSubtask
from streamlet.runtime.task.subtask import Subtask
from streamlet.testing.patches import Patches
from tests.simulation.connectors import SimulatedReader, SimulatedWriter
from tests.simulation.planting import planted


@planted
def no_alignment(patches: Patches) -> None:
    patches.put(BarrierAligner, "is_blocked", lambda _: lambda self, index: False)


@planted
def record_slips_between_position_and_barrier(patches: Patches) -> None:
    def process(original: Any) -> Any:
        async def slipping(self: Any, enter: Any, batch: Any) -> Any:
            self.before = dict(getattr(self, "positions", {}))
            return await original(self, enter, batch)

        return slipping

    def checkpoint(original: Any) -> Any:
        async def stale(self: Any, checkpoint_id: int, positions: Mapping[str, Any]) -> None:
            await original(self, checkpoint_id, getattr(self, "before", positions) if positions else positions)

        return stale

    patches.put(Subtask, "process", process)
    patches.put(Subtask, "checkpoint", checkpoint)


@planted
def barrier_overtakes_records_in_a_channel(patches: Patches) -> None:
    def send(original: Any) -> Any:
        def overtaking(self: Any, element: Any) -> None:
            original(self, element)
            if isinstance(element, Barrier):
                self.waiting.rotate(1)

        return overtaking

    patches.put(Channel, "send", send)


@planted
def positions_advance_at_fetch_instead_of_send(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            self.positions = _Rising(self.positions)
            fetch = self._reader.fetch

            async def eager() -> Any:
                batches = await fetch()
                for batch in batches or ():
                    self.positions[batch.split] = batch.next_position
                return batches

            self._reader.fetch = eager

        return __init__

    patches.put(SourceSubtask, "__init__", init)


class _Rising(dict[str, int]):
    """Keeps the largest position, however late a smaller one is put in."""

    def __setitem__(self, split: str, position: int) -> None:
        super().__setitem__(split, max(position, self.get(split, 0)))


@planted
def next_position_off_by_one(patches: Patches) -> None:
    def cut(original: Any) -> Any:
        def too_far(self: Any, *args: Any) -> Any:
            batch = original(self, *args)
            batch.next_position += 2
            return batch

        return too_far

    patches.put(SimulatedReader, "_cut", cut)


@planted
def end_of_input_before_the_last_records(patches: Patches) -> None:
    """The source says that it has ended while its last batch is still on its way, and the last barrier overtakes it."""

    def process(original: Any) -> Any:
        async def late(self: Any, enter: Any, batch: Any) -> Any:
            held = getattr(self, "held", None)
            self.held = batch
            return 0 if held is None else await original(self, enter, held)

        return late

    patches.add(SourceSubtask, "process", process(Subtask.process))


@planted
def flush_is_not_awaited(patches: Patches) -> None:
    async def flush(self: Any) -> None:
        self.forgotten = [*getattr(self, "forgotten", ()), *self.sent]
        self.sent.clear()

    patches.put(SimulatedWriter, "flush", lambda _: flush)


@planted
def pooled_id_is_released_before_a_marker_covers_it(patches: Patches) -> None:
    def prepare(original: Any) -> Any:
        async def early(self: Any, checkpoint_id: int) -> Any:
            before = [one.committable for one in self._listed]
            listed = await original(self, checkpoint_id)
            await self.writer.released([one for one in before if one.payload["id"] not in self.writer.free])
            return listed

        return early

    async def released(self: Any, committables: Any) -> None:
        self.free += [one.payload["id"] for one in committables if one.payload["id"] not in self.free]

    patches.put(SinkLeaf, "prepare", prepare)
    patches.put(SimulatedWriter, "released", lambda _: released)


@planted
def listed_committable_is_dropped_from_the_next_snapshot(patches: Patches) -> None:
    def prepare(original: Any) -> Any:
        async def only_new(self: Any, checkpoint_id: int) -> Any:
            return [one for one in await original(self, checkpoint_id) if one.checkpoint_id == checkpoint_id]

        return only_new

    patches.put(SinkLeaf, "prepare", prepare)


@planted
def stop_iteration_of_a_lazy_map_is_swallowed(patches: Patches) -> None:
    for operator in (process, stateless):
        patches.put(operator, "whole", lambda _: lambda emitted: emitted)


@planted
def new_split_is_given_out_without_its_place_in_the_checkpoint(patches: Patches) -> None:
    def add_splits(self: Any, message: Any) -> None:
        self._reader.add_splits({split: 2 * position + 2 for split, position in message.splits.items()})
        self.positions.update(message.splits)

    patches.put(SourceSubtask, "add_splits", lambda _: add_splits)
