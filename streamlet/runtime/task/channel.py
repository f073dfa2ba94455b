"""A channel between two subtasks: elements in order, and how much is on the way.

What lies in the channels to a task is bounded by a `Backlog`; a subtask that finds no room there begins no batch, and
that is the back-pressure of the whole job.  One queue hop costs about a microsecond, so what hops is a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from streamlet.elements import Barrier, Batch, Element, Watermark
from streamlet.runtime.task.backlog import Backlog


class Sender(Protocol):
    """The end of a channel where elements go in. Their order is kept, and none is lost while both sides live."""

    backlog: Backlog
    """Where to ask for room before a batch is begun."""

    def send(self, element: Element) -> None:
        """Puts an element in, whether there is room or not."""
        ...


class Receiving(Protocol):
    """What a channel leads to: a gate, as far as a channel knows it."""

    backlog: Backlog

    def wake(self) -> None:
        """Says that a channel has something."""
        ...


class Channel:
    """From one subtask to one gate, in order."""

    def __init__(self, gate: Receiving) -> None:
        self.backlog = gate.backlog
        self.waiting: deque[Element] = deque()
        self._gate = gate
        self._barrier_in = self._barrier_out = 0
        self.barriers = 0
        """How many wait here."""

    def send(self, element: Element) -> None:
        """Puts an element in, whether there is room or not."""
        if type(element) is Batch:
            self.backlog.add(self._barrier_in, len(element))
        elif type(element) is Barrier:
            self._barrier_in = element.checkpoint_id
            self.barriers += 1
        elif type(element) is Watermark and self.waiting and type(self.waiting[-1]) is Watermark:
            # Nothing came in between, so the newer one says it all: a channel without records stays small.
            self.waiting.pop()
        self.waiting.append(element)
        self._gate.wake()

    def take(self) -> Element:
        """Takes the oldest element out; if it makes room, senders that wait for it go on."""
        element = self.waiting.popleft()
        if type(element) is Batch:
            self.backlog.remove(self._barrier_out, len(element))
        elif type(element) is Barrier:
            self._barrier_out = element.checkpoint_id
            self.barriers -= 1
        return element

    def lift(self) -> tuple[Batch[Any], Callable[[], None]]:
        """Takes a batch out that takes up its room until the function is called."""
        batch: Any = self.waiting.popleft()
        return batch, partial(self.backlog.remove, self._barrier_out, len(batch))
