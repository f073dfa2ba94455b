"""Planted bugs of asynchronous functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamlet.operators.asynchronous.in_flight import FlightCodec, OrderedFlight
from streamlet.operators.asynchronous.map_async import MapAsync
from streamlet.runtime.task.chain import Chain
from streamlet.testing.patches import Patches
from tests.simulation.planting import planted_in
from tests.simulation.timed_scenarios import run_asynchronous

planted = planted_in("async", run_asynchronous, range(100))


@planted
def not_in_the_checkpoint(patches: Patches) -> None:
    patches.put(FlightCodec, "snapshot", lambda _: lambda self, flight: None)


@planted
def overtaken_by_watermarks(patches: Patches) -> None:
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


@planted
def not_waited_for_at_the_end(patches: Patches) -> None:
    def end(self: Any, *, has_new: bool) -> bool:
        return True

    patches.put(Chain, "end", lambda _: end)


@planted
def restored_in_another_order(patches: Patches) -> None:
    patches.put(
        FlightCodec, "restore", lambda original: lambda self, found, slot_of: original(self, found, slot_of)[::-1]
    )


@planted
def emitted_in_any_order(patches: Patches) -> None:
    def take(self: Any) -> list[Any]:
        taken = [call for call in self._calls if call.has_ended]
        for call in taken:
            self._calls.remove(call)
        return taken

    patches.put(OrderedFlight, "take", lambda _: take)


@planted
def emitted_and_kept(patches: Patches) -> None:
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
