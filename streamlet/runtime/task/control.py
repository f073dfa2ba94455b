"""The seam between coordinator and subtasks: plain messages, no task reaches into another.

In one process both directions are queues.  Messages are structs that msgpack can carry, so that the same tasks can be
hosted elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from streamlet.checkpoint.messages import ToCoordinator, ToSubtask

SubtaskId = tuple[str, int]
"""Task name and subtask number."""


class ControlChannel(Protocol):
    """How messages travel. Order is kept per direction and subtask; nothing is lost while both sides live."""

    def tell(self, subtask: SubtaskId, message: ToSubtask) -> None:
        """Sends to one subtask."""
        ...

    def report(self, message: ToCoordinator) -> None:
        """Sends to the coordinator."""
        ...


class LocalControl:
    """Both sides in one process."""

    def __init__(self) -> None:
        self.inboxes: dict[SubtaskId, asyncio.Queue[ToSubtask]] = {}
        self.reports: asyncio.Queue[ToCoordinator] = asyncio.Queue()

    def inbox(self, subtask: SubtaskId) -> asyncio.Queue[ToSubtask]:
        """The messages for one subtask."""
        return self.inboxes.setdefault(subtask, asyncio.Queue())

    def tell(self, subtask: SubtaskId, message: ToSubtask) -> None:
        self.inbox(subtask).put_nowait(message)

    def report(self, message: ToCoordinator) -> None:
        self.reports.put_nowait(message)
