"""How a function that is slow of a sudden is stopped in the middle of a batch: after the record in hand.

A function is called once per record of a list, by one `map` or loop.  An iterator over a list ends where the list ends,
so whoever empties that list, from another thread too, ends it after the record in hand.  That costs nothing per record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class Pause:
    """What the operators of a chain have left undone of the batch that they were given."""

    running: ClassVar[list[Any] | None] = None
    """What a function is called for just now.  There is one event loop in a process; if there are more, a pause may go
    to the wrong one, which goes on after a turn."""

    def __init__(self) -> None:
        self.undone = 0
        """How many of the last rows."""

    def begin(self, values: Sequence[Any]) -> list[Any]:
        """Gives what to iterate over instead of the values."""
        ahead = Pause.running = list(values)
        return ahead

    def end(self, given: int, done: int) -> None:
        """Notes how far it came."""
        Pause.running = None
        self.undone = given - done

    @staticmethod
    def ask() -> None:
        """Stops the function that runs just now, if one does, after its record."""
        running = Pause.running
        if running is not None:
            running.clear()
