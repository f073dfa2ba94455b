"""What every subtask is made of: its part of the plan, what it runs and feeds, and its ways to the outside."""

from __future__ import annotations

from dataclasses import dataclass

from streamlet.clock import Clock
from streamlet.graph.plan import TaskPlan
from streamlet.runtime.task.batch_size import BatchSize
from streamlet.runtime.task.chain import Chain
from streamlet.runtime.task.control import LocalControl
from streamlet.runtime.task.routing import Router
from streamlet.runtime.task.sink_leaf import SinkLeaf
from streamlet.runtime.task.snapshots import SubtaskSnapshots
from streamlet.turns import LoopTurns


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The parts of one subtask. A source subtask has a reader besides, a gated subtask a gate."""

    plan: TaskPlan
    subtask: int
    chain: Chain
    sinks: list[SinkLeaf]
    routers: list[Router]
    snapshots: SubtaskSnapshots
    control: LocalControl
    clock: Clock
    batch_size: BatchSize
    had_ended: bool
    """In the restored checkpoint, every operator of this task had been given the end of its input."""
    turns: LoopTurns
