"""One subtask's operators, wired so that a batch runs through all of them in one synchronous call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from streamlet.elements import Batch
from streamlet.graph.job_graph import Node
from streamlet.graph.plan import TaskPlan
from streamlet.operators.keying import SlotLookup
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.state.snapshot import StateSpec
from streamlet.state.store import KeyedStore


class Leaf(Protocol):
    """Where a chain ends: a sink's writer or a router. Delivery may wait, so it happens after the call."""

    async def deliver(self, batch: Batch[Any]) -> None: ...


class Chain:
    """The operators of one subtask of one task.

    `enter` gives the entrance of a node.  What reaches the end of the chain is put on `produced`, in order, with the
    leaf it is for; the task delivers it, and only then takes the next batch: that is how back-pressure reaches here.
    """

    def __init__(
        self,
        plan: TaskPlan,
        subtask: int,
        stores: Mapping[int, KeyedStore],
        leaves: Mapping[int, list[Leaf]],
        states: Mapping[tuple[str, str], StateSpec],
        *,
        show_records: bool,
    ) -> None:
        self.produced: list[tuple[Leaf, Batch[Any]]] = []
        self._plan = plan
        self._leaves = leaves
        self._states = states
        self._show_records = show_records
        self._subtask = subtask
        self._stores = stores
        self._operators: list[Operator] = []
        self._entries: dict[int, Emit] = {}
        for node in reversed(plan.nodes):
            self._entries[node.id] = self._entry(node)

    def enter(self, node_id: int) -> Emit:
        """What takes the batches for this node; for a source, what takes the batches that it read."""
        return self._entries[node_id]

    def close(self) -> None:
        """Closes every operator, also when one of them fails to."""
        errors = []
        while self._operators:
            try:
                self._operators.pop().close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _entry(self, node: Node) -> Emit:
        out = self._exit(node)
        if node.is_source:
            return out
        entry = out if node.is_sink else self._through(node, node.made(), out)  # type: ignore[operator]
        return self._through(node, SlotLookup(), entry) if node.is_keyed else entry

    def _through(self, node: Node, operator: Operator, out: Emit) -> Emit:
        context = OperatorContext(
            node.place,
            self._subtask,
            self._plan.parallelism,
            self._stores.get(node.id),
            {name: spec for (uid, name), spec in self._states.items() if uid == node.uid},
            self._show_records,
        )
        operator.open(context)
        self._operators.append(operator)
        process = operator.process
        return lambda batch: process(batch, out)

    def _exit(self, node: Node) -> Emit:
        """Where a node's output goes: further nodes of the chain, and leaves."""
        ways: list[Emit] = [self._entries[to] for source, to, _ in self._plan.chained if source == node.id]
        ways.extend(self._to_leaf(leaf) for leaf in self._leaves.get(node.id, ()))
        if len(ways) == 1:
            return ways[0]

        def each(batch: Batch[Any]) -> None:
            for way in ways:
                way(batch)

        return each

    def _to_leaf(self, leaf: Leaf) -> Callable[[Batch[Any]], None]:
        produced = self.produced
        return lambda batch: produced.append((leaf, batch))
