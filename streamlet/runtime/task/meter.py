"""What is counted of one operator of one subtask: plain numbers, once per batch. Nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from streamlet.elements import Batch
from streamlet.operators.operator import Emit, Operator
from streamlet.operators.user_code.pausing import Pause

if TYPE_CHECKING:
    from streamlet.runtime.task.held_back import Turn

T = TypeVar("T")


class Meter:
    """The numbers of one operator of one subtask."""

    __slots__ = ("busy_seconds", "records_in", "records_out")

    def __init__(self) -> None:
        self.records_in = 0
        self.records_out = 0
        self.busy_seconds = 0.0

    def entrance(self, way: Emit, pause: Pause | None) -> Emit:
        """The entrance of one input of an operator, which counts what it takes in."""

        def enter(batch: Batch[Any]) -> None:
            way(batch)
            # What it was stopped before comes again.
            self.records_in += len(batch) if pause is None else len(batch) - pause.undone

        return enter

    def exit(self, way: Emit) -> Emit:
        """A way out that counts what goes by it."""

        def out(batch: Batch[Any]) -> None:
            self.records_out += len(batch)
            way(batch)

        return out

    def timed(self, turn: Turn, call: Callable[..., T], *args: Any) -> T:
        """Calls the operator beside its batches; what it puts out is worked off by others, and is their time."""
        began, before = turn.monotonic(), turn.spent
        found = call(*args)
        self.busy_seconds += turn.monotonic() - began - (turn.spent - before)
        return found


def entrance_of(operator: Operator, index: int, inputs: int, out: Emit) -> Emit:
    """The entrance of one input of an operator."""
    process, process_input = operator.process, operator.process_input
    if inputs == 1:
        return lambda batch: process(batch, out)
    return lambda batch: process_input(index, batch, out)
