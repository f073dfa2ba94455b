"""Bugs that are planted into the engine for one run: the simulator that does not find each of them is too weak.

They are patches of these tests, not switches of the product.  Each is a mistake that was made in some stream processor
or that this engine's rules exist to prevent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tests.simulation.patches import Patches

Plant = Callable[[Patches], None]
PLANTED: dict[str, Plant] = {}


def planted(function: Plant) -> Plant:
    PLANTED[function.__name__.replace("_", " ")] = function
    return function


@contextlib.contextmanager
def with_bug(name: str) -> Iterator[None]:
    """Runs what is inside with that bug in the engine."""
    patches = Patches()
    PLANTED[name](patches)
    try:
        yield
    finally:
        patches.undo()
