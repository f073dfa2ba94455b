"""How a function that is slow of a sudden is stopped in the middle of a batch: after the record in hand.

A function is called once per record of a list, by one `map` or loop over an iterator.  Another thread sets that
iterator to the end of its list, as `copy` and `pickle` do (`__setstate__`), which the GIL makes one step: the call ends
after the record in hand.  That costs nothing per record, and the list stays as it is.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar


class Pause:
    """What the operators of a chain have left undone of the batch that they were given."""

    running: ClassVar[Any] = None
    """The iterator over what a function is called for just now.  There is one event loop in a process; if there are
    more, a pause may go to the wrong one, which goes on after a turn."""
    stopped: ClassVar[Any] = None
    """The iterator that was set to its end last."""

    def __init__(self) -> None:
        self.undone = 0
        """How many of the last rows."""

    def begin(self, values: list[Any]) -> Any:
        """Gives the iterator over the values that may be stopped."""
        ahead = Pause.running = iter(values)
        return ahead

    def end(self, given: int, done: int) -> None:
        """Notes how far it came."""
        Pause.running = None
        self.undone = given - done

    @staticmethod
    def over() -> None:
        """Ends calls that are for no rows of a batch: who made them knows how far they came."""
        Pause.running = None

    @staticmethod
    def ask() -> None:
        """Stops the function that runs just now, if one does, after its record."""
        running = Pause.running
        if running is not None:
            Pause.stopped = running
            running.__setstate__(sys.maxsize)
