"""Bugs that are planted into the engine for one run: the simulator that does not find each of them is too weak.

They are patches of these tests, not switches of the product.  Each is a mistake that was made in some stream processor
or that this engine's rules exist to prevent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from streamlet.testing.patches import Patches

Plant = Callable[[Patches], None]
BUDGET = 300
"""Most are found within 40 seeds; which seeds show the rarest depends on every detail of the schedule."""


@dataclass(frozen=True)
class Planted:
    """One bug, and where it is hunted."""

    family: str
    plant: Plant
    run: Callable[[int], object] | None
    """Runs what a seed stands for; None for the scenarios of the campaign."""
    seeds: Sequence[int]


PLANTED: dict[str, Planted] = {}


def planted_in(
    family: str, run: Callable[[int], object] | None, seeds: Sequence[int] = range(BUDGET)
) -> Callable[[Plant], Plant]:
    """Bugs of one family are hunted in scenarios of their own."""

    def note(function: Plant) -> Plant:
        name = f"{family}: {function.__name__.strip('_').replace('_', ' ')}".removeprefix("engine: ")
        assert name not in PLANTED
        PLANTED[name] = Planted(family, function, run, seeds)
        return function

    return note


planted = planted_in("engine", None)


@contextlib.contextmanager
def with_bug(name: str) -> Iterator[None]:
    """Runs what is inside with that bug in the engine."""
    patches = Patches()
    PLANTED[name].plant(patches)
    try:
        yield
    finally:
        patches.undo()
