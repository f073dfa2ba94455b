"""The ExecutionPlan: which operators run as one chain, how many subtasks, which channels between them.

Operators are chained into one task when no row has to change its subtask between them: a forward edge between equal
parallelisms, or a keyed edge where both sides have parallelism 1.  A node with several inputs begins a task of its
own, because barriers must be aligned there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamlet.config import JobConfig
from streamlet.errors import ConfigError, JobDefinitionError, StateTypeError
from streamlet.graph.job_graph import JobGraph, Node, Routing
from streamlet.graph.validate import validate
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.place import Place
from streamlet.state.descriptor import Descriptor
from streamlet.state.evolution.findings import NOTHING_ALLOWED, Allowed


@dataclass(frozen=True)
class ChannelEdge:
    """A bundle of channels: every subtask of one task to the subtasks of another."""

    from_task: int
    from_node: int
    to_task: int
    to_node: int
    routing: Routing
    tag: str | None = None
    """The side output of `from_node` that travels here; None for its main output."""
    input: int = 0
    """Which input of `to_node` it is."""
    is_timeless: bool = False
    """True where watermarks that come here mean nothing."""


@dataclass(frozen=True)
class ChainedEdge:
    """An edge inside a chain: FORWARD or HASH."""

    from_node: int
    to_node: int
    tag: str | None


@dataclass(frozen=True)
class StorePlan:
    """One keyed store of a task: the states of all operators behind one `key_by`."""

    name: str
    states: dict[tuple[str, str], Descriptor]
    """(uid, state name) -> its declaration."""


@dataclass
class TaskPlan:
    """One chain. `nodes` are in topological order, the head first."""

    id: int
    parallelism: int
    nodes: list[Node]
    chained: list[ChainedEdge] = field(default_factory=list)
    inputs: list[ChannelEdge] = field(default_factory=list)
    outputs: list[ChannelEdge] = field(default_factory=list)
    stores: dict[int, StorePlan] = field(default_factory=dict)
    """Keyed node -> its store. Nodes behind the same `key_by` share one."""
    untimed: dict[int, Place] = field(default_factory=dict)
    """Node -> a source of its records that has no watermark strategy, where there is one."""

    @property
    def head(self) -> Node:
        return self.nodes[0]

    @property
    def name(self) -> str:
        """What messages and checkpoints call the task: its head's uid."""
        return self.head.uid

    @property
    def is_source(self) -> bool:
        return self.head.is_source


@dataclass
class ExecutionPlan:
    """All tasks of a job, in topological order."""

    tasks: list[TaskPlan]
    config: JobConfig
    allowed: Allowed = NOTHING_ALLOWED
    """What of a checkpoint may go, or may have another meaning, when a start goes on from it."""

    @property
    def sources(self) -> dict[str, tuple[TaskPlan, Node]]:
        return {task.head.uid: (task, task.head) for task in self.tasks if task.is_source}

    @property
    def sinks(self) -> dict[str, tuple[TaskPlan, Node]]:
        return {node.uid: (task, node) for task in self.tasks for node in task.nodes if node.is_sink}

    @property
    def parallelisms(self) -> dict[str, int]:
        return {node.uid: task.parallelism for task in self.tasks for node in task.nodes}

    def taken(self, node_id: int) -> dict[str | None, str]:
        """The outputs of a node that are taken, by tag (None for the main one), and where in the job."""
        nodes = (node for task in self.tasks for node in task.nodes)
        return {edge.tag: str(node.place) for node in nodes for edge in node.inputs if edge.source == node_id}

    def states(self) -> dict[tuple[str, str], Descriptor]:
        """Every declared keyed state of the job."""
        return {key: one for task in self.tasks for store in task.stores.values() for key, one in store.states.items()}


def plan(graph: JobGraph, config: JobConfig) -> ExecutionPlan:
    """Validates the graph and lays it out. The same graph and config always give the same plan."""
    validate(graph, config)
    tasks: list[TaskPlan] = []
    task_of: dict[int, TaskPlan] = {}
    key_of: dict[int, int] = {}
    for node in graph.nodes:
        parallelism = node.parallelism or config.parallelism
        if node.follows_input and node.parallelism is None:
            parallelism = task_of[node.inputs[0].source].parallelism
        if _is_chained(node, parallelism, task_of, graph):
            (edge,) = node.inputs
            task = task_of[edge.source]
            task.nodes.append(node)
            task.chained.append(ChainedEdge(edge.source, node.id, edge.tag))
        else:
            task = TaskPlan(len(tasks), parallelism, [node])
            tasks.append(task)
            for index, edge in enumerate(node.inputs):
                upstream = task_of[edge.source]
                routing = _between(edge.routing, upstream, parallelism)
                channel = ChannelEdge(
                    upstream.id, edge.source, task.id, node.id, routing, edge.tag, index, edge.is_timeless
                )
                upstream.outputs.append(channel)
                task.inputs.append(channel)
        task_of[node.id] = task
        untimed = next((source for source in graph.sources_of(node) if source.watermarks is None), None)
        if untimed is not None:
            task.untimed[node.id] = untimed.place
        if node.is_keyed:
            key_of[node.id] = node.inputs[0].source
            _add_store(task, node, key_of)
    _check_processes(tasks, config)
    return ExecutionPlan(tasks, config)


def _check_processes(tasks: list[TaskPlan], config: JobConfig) -> None:
    highest = max((task.parallelism for task in tasks), default=1)
    if config.processes > highest:
        raise ConfigError(
            f"processes is {config.processes}, but no operator has more than {highest} subtask{'s' * (highest != 1)}",
            remedy=f"give at least as many subtasks: --parallelism {config.processes}",
        )


def _is_chained(node: Node, parallelism: int, task_of: dict[int, TaskPlan], graph: JobGraph) -> bool:
    if len(node.inputs) != 1:
        return False
    edge = node.inputs[0]
    if task_of[edge.source].parallelism != parallelism or graph.nodes[edge.source].is_sink:
        # What a sink leaves out is known only behind the call in which event time, or the end, has passed the chain.
        return False
    return edge.routing is Routing.FORWARD or (edge.routing is Routing.HASH and parallelism == 1)


def _between(routing: Routing, upstream: TaskPlan, parallelism: int) -> Routing:
    if routing is Routing.FORWARD and upstream.parallelism != parallelism:
        return Routing.REBALANCE
    return routing


def _add_store(task: TaskPlan, node: Node, key_of: dict[int, int]) -> None:
    declared = {} if node.is_sink else {(node.uid, name): one for name, one in _declared_states(node).items()}
    shared = next(
        (store for other, store in task.stores.items() if key_of[other] == key_of[node.id]),
        None,
    )
    if shared is None:
        shared = StorePlan(node.uid, {})
    shared.states.update(declared)
    task.stores[node.id] = shared


def _declared_states(node: Node) -> Mapping[str, Descriptor]:
    """The states of a node's operator; raises `JobDefinitionError` naming the line for a type that cannot be stored."""
    make: Callable[[], Operator] | Any = node.made
    try:
        declared: Mapping[str, Descriptor] = make().declared_states()
        for name, one in declared.items():
            one.declare(0, node.uid, name)
    except (JobDefinitionError, StateTypeError) as error:
        raise JobDefinitionError(
            f"{node.place}: {node.place.operator}: {error.message}", remedy=error.remedy
        ) from error
    return declared
