"""What coordinator and subtasks say to each other: plain data that msgpack can carry."""

from __future__ import annotations

from typing import Any

import msgspec

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.elements import Position
from streamlet.state.snapshot import StoreSnapshot


class SubtaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """One subtask's part of a checkpoint. Every file in it is durable."""

    task: str
    subtask: int
    stores: list[StoreSnapshot] = []
    positions: dict[str, dict[str, Position]] = {}
    """Source uid -> split id -> the position after the last record that was sent before the barrier."""
    committables: list[ListedCommittable] = []
    operators: dict[str, Any] = {}
    """Snapshots that are not keyed, under `operator_key(uid, subtask)`."""
    finished: bool = False
    """True when its input had ended before the barrier."""


class Trigger(msgspec.Struct, frozen=True, tag=True):
    """To a source: inject the barrier of this checkpoint now. After the last one nothing more is read."""

    checkpoint_id: int
    is_last: bool = False


class Marked(msgspec.Struct, frozen=True, tag=True):
    """To every subtask: the marker of this checkpoint is durable; it covers all before it."""

    checkpoint_id: int


class AddSplits(msgspec.Struct, frozen=True, tag=True):
    """To a source subtask: read these splits too, from these positions."""

    splits: dict[str, Position]


class Acknowledge(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: its part of the checkpoint is durable."""

    attempt: int
    checkpoint_id: int
    report: SubtaskReport


class Decline(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: its part of the checkpoint cannot be made; the next one will carry what it holds."""

    attempt: int
    checkpoint_id: int
    task: str
    subtask: int
    reason: str
    is_outage: bool = False
    """True when something outside is why, such as a full disk: text alone would not tell."""


class Busy(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: what it has begun to do for a checkpoint. Nothing decides by it; people want to know."""

    checkpoint_id: int
    task: str
    subtask: int
    doing: str


class Opened(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: the writers of its sinks are open, so what it writes to has answered."""

    task: str
    subtask: int


class Started(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: its first batch is through."""


class Pressed(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: memory is full of what only a checkpoint can free."""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """From a subtask: all its input was read and handled."""

    task: str
    subtask: int


ToSubtask = Trigger | Marked | AddSplits
ToCoordinator = Acknowledge | Decline | Busy | Opened | Started | Pressed | Ended
