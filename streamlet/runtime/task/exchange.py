"""How channels cross the border between processes, as far as subtasks and their wiring know it."""

from __future__ import annotations

from typing import Protocol

from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.channel import Sender
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.placement import ChannelAddress, Placement


class Exchange(Protocol):
    """The channels between this process and others that host subtasks of the same job."""

    placement: Placement

    def sender(self, address: ChannelAddress, most_records: int, place: Place) -> Sender:
        """Gives the sending end of a channel to another process; at most `most_records` are on the way to its task
        there. `place` is that of the operator behind it."""
        ...

    def receiver(self, address: ChannelAddress, gate: InputGate) -> None:
        """Adds a channel from another process to a gate."""
        ...
