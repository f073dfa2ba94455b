"""Asynchronous functions under crashes: nothing in flight is lost, doubled, out of order or late."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from streamlet import WatermarkStrategy
from streamlet.operators.in_flight import FlightCodec, OrderedFlight
from streamlet.operators.map_async import MapAsync
from streamlet.runtime.chain import Chain
from tests.simulation import functions
from tests.simulation.patches import Patches
from tests.simulation.scenario import Scenario, scenario
from tests.simulation.seeds import describe
from tests.simulation.world import simulate

SEEDS = 2000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 30
BUDGET = 100
"""Seeds in which each planted bug must be found."""
KNOWN = (43, 95, 107, 139, 144, 164, 178, 233, 262, 280, 281, 816, 902, 994, 1075, 1086, 2290, 4657, 5004)
"""Gates that had heard of no watermark, or whose inputs went straight on, restored at the highest one (43 and most of
those below 300); a subtask that ended while its checkpoint was written, taken for one that had ended at the barrier
(95).  A start checkpoint that said another parallelism than that of its snapshots (280); event time of a keyed operator
in a chain, unknown when it got a gate (281); output of what was in flight, never committed before a record came (233);
a source that had ended, taken for its whole chain of after a rescale: lost (2290); two folders of one attempt (5004).
The simulator's own: unbounded jobs stopped too early or never (816 to 1086), damage that came back (144, 4657)."""
BEFORE = (["async"], ["unordered"], ["async", "unordered"], ["filter", "async"])
CRASHES = tuple(("step", at) for at in (300, 500, 400, 600))


def _asynchronous(seed: int) -> Scenario:
    """The scenario of a seed with asynchronous functions, always some crashes, and often event time."""
    one = scenario(seed)
    one.before = list(BEFORE[seed % len(BEFORE)])
    if seed % 3:
        one.keyed, one.regroups = "timed", False
        one.watermarks = WatermarkStrategy.monotonic().with_timestamps(functions.time_of)
    one.faults.crashes = (*one.faults.crashes, *CRASHES[seed // 2 % 4 :])
    return one


def _broken(seeds: Iterable[int]) -> Iterator[str]:
    for seed in seeds:
        functions.TIME_BROKE.clear()
        try:
            simulate(_asynchronous(seed))
        except Exception as error:
            yield f"seed {seed}: {describe(error)}"
        yield from (f"seed {seed}: {what}" for what in functions.TIME_BROKE[:1])


def test_what_is_in_flight_survives_every_crash() -> None:
    assert list(_broken((*range(SEEDS), *KNOWN))) == []


def _not_in_the_checkpoint(patches: Patches) -> None:
    patches.put(FlightCodec, "snapshot", lambda _: lambda self, flight: None)


def _overtaken_by_watermarks(patches: Patches) -> None:
    # Only the end waits.
    patches.put(Chain, "advance", lambda original: _unheld(original))


def _unheld(original: Any) -> Any:
    def advance(self: Chain, timestamp: int) -> Iterator[None]:
        held = {}
        for operator in self._holding:
            held[operator] = operator.held_watermark
            operator.held_watermark = lambda: None  # type: ignore[method-assign]
        try:
            yield from original(self, timestamp)
        finally:
            for operator, before in held.items():
                operator.held_watermark = before  # type: ignore[method-assign]

    return advance


def _not_waited_for_at_the_end(patches: Patches) -> None:
    def end(self: Any, *, has_new: bool) -> bool:
        return True

    patches.put(Chain, "end", lambda _: end)


def _restored_in_another_order(patches: Patches) -> None:
    patches.put(
        FlightCodec, "restore", lambda original: lambda self, found, slot_of: original(self, found, slot_of)[::-1]
    )


def _emitted_in_any_order(patches: Patches) -> None:
    def take(self: Any) -> list[Any]:
        taken = [call for call in self._calls if call.has_ended]
        for call in taken:
            self._calls.remove(call)
        return taken

    patches.put(OrderedFlight, "take", lambda _: take)


def _emitted_and_kept(patches: Patches) -> None:
    def process(original: Any) -> Any:
        def remembering(self: Any, *args: Any) -> None:
            original(self, *args)
            self.kept = list(self._flight)

        return remembering

    patches.put(MapAsync, "process", process)
    patches.put(
        MapAsync,
        "snapshot",
        lambda _: lambda self: self._codec.snapshot(getattr(self, "kept", self._flight)),
    )


@pytest.mark.parametrize(
    "plant",
    [
        _not_in_the_checkpoint,
        _overtaken_by_watermarks,
        _not_waited_for_at_the_end,
        _restored_in_another_order,
        _emitted_in_any_order,
        _emitted_and_kept,
    ],
)
def test_a_planted_bug_of_asynchronous_functions_is_found(plant: Any) -> None:
    patches = Patches()
    plant(patches)
    try:
        assert any(_broken(range(max(SEEDS, BUDGET))))
    finally:
        patches.undo()
        functions.TIME_BROKE.clear()
