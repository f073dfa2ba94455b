"""What lies where: subtasks in processes, splits in subtasks. Pure rules, the same in every process of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streamlet.elements import Position
from streamlet.graph.job_graph import Routing
from streamlet.graph.plan import ChannelEdge, ExecutionPlan


class ChannelAddress(NamedTuple):
    """Names one channel of a plan, in every process."""

    task: int
    """The task that it leads to."""
    input: int
    sender: int
    receiver: int
    """Subtasks of the two tasks."""


@dataclass(frozen=True)
class Placement:
    """Subtask i of every task lies in process i mod `processes`, so that forward channels never leave a process."""

    processes: int = 1
    here: int = 0
    """The process that asks."""

    def process_of(self, subtask: int) -> int:
        """Gives the process that hosts the subtasks of this number."""
        return subtask % self.processes

    def is_here(self, subtask: int) -> bool:
        """True when the subtasks of this number are hosted by the process that asks."""
        return self.process_of(subtask) == self.here


def senders_of(plan: ExecutionPlan, edge: ChannelEdge, receiver: int) -> Iterator[int]:
    """Gives the subtasks from which one subtask may get rows by an edge."""
    if edge.routing is Routing.FORWARD:
        yield receiver
    else:
        yield from range(plan.tasks[edge.from_task].parallelism)


def receivers_of(plan: ExecutionPlan, edge: ChannelEdge, sender: int) -> Iterator[int]:
    """Gives the subtasks to which one subtask may send rows by an edge."""
    if edge.routing is Routing.FORWARD:
        yield sender
    else:
        yield from range(plan.tasks[edge.to_task].parallelism)


def splits_of(splits: Mapping[str, Position], subtask: int, parallelism: int) -> dict[str, Position]:
    """Gives the splits of one subtask: dealt out in order of their ids, so that the load is even."""
    return {split: splits[split] for split in sorted(splits)[subtask::parallelism]}


def describe_placement(plan: ExecutionPlan, processes: int) -> str:
    """Gives one line for each process with the subtasks that it hosts."""
    lines = []
    for process in range(processes):
        placement = Placement(processes, process)
        here = [
            f"{task.name}[{subtask}]"
            for task in plan.tasks
            for subtask in range(task.parallelism)
            if placement.is_here(subtask)
        ]
        lines.append(f"process {process}: {', '.join(here) or 'nothing'}")
    return "\n".join(lines)
