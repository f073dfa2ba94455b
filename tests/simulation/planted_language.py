"""Planted bugs of windows, timers, joins and expiring state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from streamlet.operators.joins.buffers import JoinBuffers
from streamlet.operators.windows.operator import WindowOperator
from streamlet.operators.windows.tumbling import Tumbling
from streamlet.runtime.task.chain import Chain
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.source_subtask import SourceSubtask
from streamlet.state.lifetimes import Lifetime
from streamlet.state.memory.cells import ABSENT, PassingCell
from streamlet.state.memory.state_cells import StateCells
from streamlet.state.memory.timers import Timers
from streamlet.testing.patches import Patches
from tests.simulation.language_scenario import KINDS
from tests.simulation.language_seeds import simulate_language
from tests.simulation.planting import Plant, planted_in

BUDGET = 160


def planted(*kinds: str) -> Callable[[Plant], Plant]:
    """Hunted in the seeds of these kinds of jobs."""
    seeds = [seed for seed in range(BUDGET) if KINDS[seed % len(KINDS)] in kinds]
    return planted_in("language", simulate_language, seeds)


@planted("timers", "sessions")
def timers_not_restored(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def forgetting(self: Any, *args: Any) -> None:
            original(self, *args)
            for group in self._groups.values():
                group.cursor = None

        return forgetting

    patches.put(Timers, "__init__", init)


@planted("timers", "sessions", "clock")
def timers_left_out_of_a_rewrite(patches: Patches) -> None:
    patches.put(Timers, "cells", lambda _: lambda self: iter(()))


@planted("windows")
def event_time_not_in_the_checkpoint(patches: Patches) -> None:
    patches.put(SourceSubtask, "event_time", lambda _: lambda self: None)
    patches.put(InputGate, "snapshot", lambda _: lambda self: None)
    patches.put(Chain, "advance", _without_floors)


def _without_floors(original: Any) -> Any:
    def advance(self: Any, timestamp: int) -> Iterator[None]:
        self._floors.clear()
        yield from original(self, timestamp)

    return advance


@planted("windows")
def window_freed_when_it_is_put_out(patches: Patches) -> None:
    def fire(original: Any) -> Any:
        def freeing(self: Any, slots: Any, due: Any, until: int, out: Any) -> None:
            original(self, slots, due, until, out)
            for slot, one in zip(slots, due, strict=True):
                self.cells.change(self.cells.cell(slot, one.namespace), ABSENT)

        return freeing

    patches.put(Tumbling, "fire", fire)


@planted("windows")
def late_records_dropped_after_a_restore(patches: Patches) -> None:
    is_restored = [False]

    def restore(original: Any) -> Any:
        def noting(self: Any, snapshots: Any) -> None:
            is_restored[0] = bool(snapshots)
            original(self, snapshots)

        return noting

    def put_late(original: Any) -> Any:
        def dropping(self: Any, *args: Any) -> None:
            if not is_restored[0]:
                original(self, *args)

        return dropping

    patches.put(Chain, "restore", restore)
    patches.put(WindowOperator, "put_late", put_late)


@planted("interval")
def join_buffers_not_restored(patches: Patches) -> None:
    patches.put(JoinBuffers, "_read", lambda _: lambda self, slot, side, into: None)


@planted("expiring")
def lifetime_by_the_wall_clock(patches: Patches) -> None:
    patches.put(Lifetime, "stamp", lambda _: lambda self: int(self._of.now_ms()))
    patches.put(Lifetime, "is_over", lambda _: lambda self, stamp: self._of.now_ms() >= stamp + self._ms)


def _newborn(original: Any) -> Any:
    def taking(self: Any, holder: Any, cell: Any) -> None:
        if type(cell) is PassingCell:
            cell.born = self._space.interval
        original(self, holder, cell)

    return taking


@planted("timers")
def timer_in_a_log_dropped_without_a_tombstone(patches: Patches) -> None:
    patches.put(Timers, "_forget", _newborn)


@planted("windows")
def window_in_a_log_dropped_without_a_tombstone(patches: Patches) -> None:
    patches.put(Timers, "_forget", _newborn)
    patches.put(StateCells, "free", _newborn)


@planted("windows")
def window_that_was_restored_dropped_without_a_tombstone(patches: Patches) -> None:
    def load_all(original: Any) -> Any:
        def taking(self: Any, cells: Any) -> None:
            original(self, cells)
            for cell in cells:
                if not cell.interval:
                    cell.born = self._space.interval

        return taking

    def read_on(original: Any) -> Any:
        def taking(self: Any, group: Any, number: int) -> None:
            original(self, group, number)
            for cell in group.cells.values():
                if not cell.interval:
                    cell.born = self._space.interval

        return taking

    patches.put(StateCells, "load_all", load_all)
    patches.put(Timers, "_read_on", read_on)
