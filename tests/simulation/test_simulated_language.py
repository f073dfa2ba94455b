"""Windows, timers, joins, expiring state and error policies under crashes, rescales and faults.

`python -m tests.simulation.language_seeds` runs more seeds than these, or one of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlet.operators.aligned_windows import Tumbling
from streamlet.operators.join_buffers import JoinBuffers
from streamlet.operators.windowing import WindowOperator
from streamlet.runtime.chain import Chain
from streamlet.runtime.channel import InputGate
from streamlet.runtime.source_subtask import SourceSubtask
from streamlet.state.lifetimes import Lifetime
from streamlet.state.slots import ABSENT
from streamlet.state.timers import Timers
from tests.simulation.language_scenario import KINDS
from tests.simulation.language_seeds import LanguageReport, run_language_seeds, simulate_language
from tests.simulation.oracle import WrongOutput
from tests.simulation.patches import Patches
from tests.simulation.seeds import chunks, default_workers, over_processes

SEEDS = 5000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 160
BUDGET = 160


def test_windows_timers_joins_and_policies_put_out_what_a_run_without_failures_does() -> None:
    total = LanguageReport()
    for report in over_processes(run_language_seeds, chunks(range(SEEDS)), default_workers()):
        total.add(report)
    assert not total.failures, "\n".join(total.failures[seed] for seed in sorted(total.failures))
    assert total.died > SEEDS, "a simulation without crashes shows nothing"


def _timers_not_restored(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def forgetting(self: Any, *args: Any) -> None:
            original(self, *args)
            for group in self._groups.values():
                group.cursor = None

        return forgetting

    patches.put(Timers, "__init__", init)


def _event_time_not_in_the_checkpoint(patches: Patches) -> None:
    patches.put(SourceSubtask, "event_time", lambda _: lambda self: None)
    patches.put(InputGate, "snapshot", lambda _: lambda self: None)
    patches.put(Chain, "advance", _without_floors)


def _without_floors(original: Any) -> Any:
    def advance(self: Any, timestamp: int) -> Iterator[None]:
        self._floors.clear()
        yield from original(self, timestamp)

    return advance


def _window_freed_when_it_is_put_out(patches: Patches) -> None:
    def fire(original: Any) -> Any:
        def freeing(self: Any, slots: Any, due: Any, until: int, out: Any) -> None:
            original(self, slots, due, until, out)
            for slot, one in zip(slots, due, strict=True):
                self.cells.change(self.cells.cell(slot, one.namespace), ABSENT)

        return freeing

    patches.put(Tumbling, "fire", fire)


def _late_records_dropped_after_a_restore(patches: Patches) -> None:
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


def _join_buffers_not_restored(patches: Patches) -> None:
    patches.put(JoinBuffers, "_read", lambda _: lambda self, slot, side, into: None)


def _lifetime_by_the_wall_clock(patches: Patches) -> None:
    patches.put(Lifetime, "stamp", lambda _: lambda self: int(self._of.now_ms()))
    patches.put(Lifetime, "is_over", lambda _: lambda self, stamp: self._of.now_ms() >= stamp + self._ms)


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (_timers_not_restored, ("timers", "sessions")),
        (_event_time_not_in_the_checkpoint, ("windows",)),
        (_window_freed_when_it_is_put_out, ("windows",)),
        (_late_records_dropped_after_a_restore, ("windows",)),
        (_join_buffers_not_restored, ("interval",)),
        (_lifetime_by_the_wall_clock, ("expiring",)),
    ],
)
def test_a_planted_bug_of_the_language_is_found(plant: Callable[[Patches], None], kinds: tuple[str, ...]) -> None:
    patches = Patches()
    plant(patches)
    try:
        seeds = [seed for seed in range(BUDGET) if KINDS[seed % len(KINDS)] in kinds]
        assert any(map(_is_found, seeds))
    finally:
        patches.undo()


def _is_found(seed: int) -> bool:
    try:
        simulate_language(seed)
    except WrongOutput:
        return True
    return False
