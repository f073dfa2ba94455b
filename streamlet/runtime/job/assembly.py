"""Builds the subtasks of an attempt: stores, chains, channels and writers, by the plan and what is restored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.messages import Pressed
from streamlet.elements import MIN_TIMESTAMP, Position
from streamlet.graph.job_graph import Node, Routing
from streamlet.graph.plan import ChannelEdge, ExecutionPlan, StorePlan, TaskPlan
from streamlet.graph.validate import prototype
from streamlet.observe.facts import StoreFacts, WorkFacts, total, total_lag
from streamlet.operators.error_policy import LeavingOut
from streamlet.operators.user_code.place import connector_at
from streamlet.runtime.job.restored import snapshots_by_uid, told_of_the_end
from streamlet.runtime.job.surroundings import Surroundings
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.batch_size import BatchSize
from streamlet.runtime.task.chain import Chain, Exit, Leaf
from streamlet.runtime.task.channel import Sender
from streamlet.runtime.task.exchange import Exchange
from streamlet.runtime.task.gated_subtask import GatedSubtask
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.left_out import LeftOut
from streamlet.runtime.task.placement import ChannelAddress, Placement, receivers_of, senders_of, splits_of
from streamlet.runtime.task.pressure import MemoryPressure
from streamlet.runtime.task.routing import Router
from streamlet.runtime.task.sink_leaf import SinkLeaf
from streamlet.runtime.task.snapshots import SubtaskSnapshots
from streamlet.runtime.task.source_subtask import SourceSubtask
from streamlet.runtime.task.split_watermarks import SplitWatermarks
from streamlet.runtime.task.subtask import Subtask
from streamlet.runtime.task.wiring import Wiring
from streamlet.source import ReaderContext
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.declaration import StateDeclaration
from streamlet.state.encoding.key_groups import group_range
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.snapshot import StateSpec
from streamlet.state.store import KeyedStore
from streamlet.task_group import TaskGroup
from streamlet.turns import LoopTurns

Splits = Mapping[str, Mapping[str, Position]]
"""Source uid -> split -> position."""


class Assembly:
    """The subtasks of one attempt, wired and with their state opened, not yet running."""

    def __init__(
        self,
        plan: ExecutionPlan,
        around: Surroundings,
        states: Mapping[tuple[str, str], StateDeclaration],
        restored: Manifest | None,
        positions: Splits,
        exchange: Exchange | None = None,
    ) -> None:
        """`exchange` reaches the subtasks that other processes host; without it all are hosted here."""
        self.subtasks: list[Subtask] = []
        self.stores: list[KeyedStore] = []
        self.pressure = MemoryPressure(lambda: around.control.report(Pressed()))
        self._plan = plan
        self._around = around
        self._states = states
        self._restored = restored.stores if restored is not None else []
        self._finished = frozenset(restored.finished if restored is not None else ())
        self._positions = positions
        self._key_types: dict[str, KeyType] = {}
        self._parallelism_before = restored.parallelism if restored is not None else {}
        self._snapshots = snapshots_by_uid(restored.operators if restored is not None else {})
        self._told = told_of_the_end(self._snapshots, self._parallelism_before)
        self._exchange = exchange
        self._placement = Placement() if exchange is None else exchange.placement
        self._turns = LoopTurns()
        most = plan.config.channel_records
        self._backlogs = {task.id: Backlog(most * max(1, len(self._hosted(task)))) for task in plan.tasks}
        self._gates = {
            (task.id, subtask): self._gate(task, subtask)
            for task in plan.tasks
            if not task.is_source
            for subtask in self._hosted(task)
        }

    async def build(self) -> None:
        """Opens state and wires everything; what was opened is in `stores` even when this fails."""
        for task in self._plan.tasks:
            for subtask in self._hosted(task):
                self.subtasks.append(await self._subtask(task, subtask))

    async def run(self) -> None:
        """Runs all subtasks until it is cancelled; whichever fails ends them all."""
        async with TaskGroup() as group:
            for subtask in self.subtasks:
                group.create_task(subtask.run(), name=f"{subtask.plan.name}-{subtask.subtask}")

    def facts(self) -> WorkFacts:
        """What the subtasks have done, and what they hold."""
        sources = [subtask for subtask in self.subtasks if isinstance(subtask, SourceSubtask)]
        found = [subtask.facts() for subtask in self.subtasks]
        stores = [store_facts(store) for store in self.stores]
        return total(
            [
                WorkFacts(
                    sum(subtask.records for subtask in sources),
                    total_lag(subtask.lag() for subtask in sources),
                    sum(store.keys for store in stores),
                    sum(store.bytes for store in stores),
                    self._around.tally.counts(),
                    [operator for operators, _ in found for operator in operators],
                    [split for subtask in sources for split in subtask.splits()],
                    stores,
                    [sink for _, sinks in found for sink in sinks],
                ),
                *(WorkFacts(phases=subtask.snapshots.phases.seconds) for subtask in self.subtasks),
            ]
        )

    async def close(self) -> None:
        """Closes the stores, also after a `build` that failed."""
        for store in self.stores:
            with contextlib.suppress(Exception):
                await self._around.workers.run_apart(store.close)
            while store.let_go():  # noqa: ASYNC110 - a turn for others, not a wait
                await asyncio.sleep(0)

    def _hosted(self, task: TaskPlan) -> list[int]:
        return [subtask for subtask in range(task.parallelism) if self._placement.is_here(subtask)]

    def _gate(self, task: TaskPlan, subtask: int) -> InputGate:
        """The gate of a subtask, with the channels from elsewhere; those from here are added by their senders."""
        timeless = [edge.input for edge in task.inputs if edge.is_timeless]
        gate = InputGate(self._backlogs[task.id], [_upstream(self._plan, edge) for edge in task.inputs], timeless)
        for edge in task.inputs:
            for sender in senders_of(self._plan, edge, subtask):
                if self._exchange is not None and not self._placement.is_here(sender):
                    address = ChannelAddress(task.id, edge.input, sender, subtask)
                    self._exchange.receiver(address, gate)
        return gate

    async def _subtask(self, task: TaskPlan, subtask: int) -> Subtask:
        stores = await self._open_stores(task, subtask)
        sinks = self._sinks(task, subtask)
        # A list, not a table by edge: a union may name the same stream twice, and each needs its own channels.
        routers = [(edge, self._router(edge, subtask)) for edge in task.outputs]
        wiring = Wiring(
            plan=task,
            subtask=subtask,
            chain=self._chain(task, subtask, stores, sinks, routers),
            sinks=list(sinks.values()),
            routers=[router for _, router in routers],
            snapshots=self._subtask_snapshots(task, subtask, stores),
            control=self._around.control,
            clock=self._around.ports.clock,
            batch_size=BatchSize(self._plan.config.batch_records),
            had_ended=self._had_ended(task),
            turns=self._turns,
        )
        return self._source_subtask(wiring) if task.is_source else self._gated_subtask(wiring)

    async def _open_stores(self, task: TaskPlan, subtask: int) -> dict[str, KeyedStore]:
        """By name; operators that follow the same key share a store."""
        plans = {store.name: store for store in task.stores.values()}
        return {name: await self._open_store(plan, task, subtask) for name, plan in plans.items()}

    def _chain(
        self,
        task: TaskPlan,
        subtask: int,
        stores: Mapping[str, KeyedStore],
        sinks: Mapping[int, SinkLeaf],
        routers: Iterable[tuple[ChannelEdge, Router]],
    ) -> Chain:
        """The operators with their restored snapshots; what leaves them goes to the sinks and routers."""
        around, config = self._around, self._plan.config
        leaves: dict[Exit, list[Leaf]] = {(node_id, None): [leaf] for node_id, leaf in sinks.items()}
        for edge, router in routers:
            leaves.setdefault((edge.from_node, edge.tag), []).append(router)
        chain = Chain(
            task,
            subtask,
            {node_id: stores[store.name] for node_id, store in task.stores.items()},
            leaves,
            {key: declaration.spec for key, declaration in self._states.items()},
            show_records=config.show_records,
            checks_mutation=config.check_mutation,
            now_ms=around.ports.clock.now_ms,
            monotonic=around.ports.clock.monotonic,
            key_groups=config.key_groups,
            told_before=self._told,
            tally=around.tally,
            key_types=self._key_types_by_node(),
            inputs=[_upstream(self._plan, edge) for edge in task.inputs],
        )
        for node in task.nodes:
            if node.is_sink and node.leaves_out:
                sinks[node.id].left_out = LeftOut(node, chain.side(node.id), around.tally.of(node.uid))
        splits = sorted(self._positions.get(task.name, ()))
        owners = {split: number % task.parallelism for number, split in enumerate(splits)}
        chain.restore(self._snapshots, owners.get)
        return chain

    def _subtask_snapshots(self, task: TaskPlan, subtask: int, stores: Mapping[str, KeyedStore]) -> SubtaskSnapshots:
        around = self._around
        return SubtaskSnapshots(
            task.name,
            subtask,
            task.name if task.is_source else None,
            around.attempt,
            stores.values(),
            around.control,
            around.workers,
            around.ports.processes,
            self.pressure,
            around.ports.clock,
        )

    def _gated_subtask(self, wiring: Wiring) -> GatedSubtask:
        task = wiring.plan
        gate = self._gates[task.id, wiring.subtask]
        event_times = self._snapshots.get(f"{task.name}@time", [])
        if len(event_times) < self._parallelism_before.get(task.name, 0):
            # The others had heard of no watermark yet, and theirs is the lowest.
            event_times = [*event_times, {"watermark": MIN_TIMESTAMP, "inputs": {}}]
        gate.restore(event_times, is_mesh=self._was_mesh(task))
        return GatedSubtask(wiring, gate)

    def _source_subtask(self, wiring: Wiring) -> SourceSubtask:
        around, task, subtask = self._around, wiring.plan, wiring.subtask
        positions = splits_of(self._positions[task.name], subtask, task.parallelism)
        strategy = task.head.watermarks
        context = ReaderContext(
            around.job,
            task.name,
            subtask,
            task.parallelism,
            wiring.batch_size,
            around.ports.clock,
            around.workers.run_blocking,
            around.outages,
            wants_timestamps=strategy is not None and strategy.takes_times_of_source,
            count=around.tally.of(task.name),
        )
        with connector_at(task.head.place):
            reader = task.head.made.reader(context, positions)  # type: ignore[union-attr]
        return SourceSubtask(
            wiring,
            reader=reader,
            positions=positions,
            pressure=self.pressure,
            times=self._times(task, subtask, positions),
            count=around.tally.of(task.name),
        )

    def _was_mesh(self, task: TaskPlan) -> bool:
        """True when in the restored checkpoint every subtask of the task was fed by all of those before it."""
        before = self._parallelism_before
        nodes = {node.id: node.uid for one in self._plan.tasks for node in one.nodes}
        # With equal parallelism a stream goes straight on, whatever it does now.
        return all(
            edge.routing in (Routing.HASH, Routing.BROADCAST)
            or before.get(nodes[edge.from_node]) != before.get(task.name)
            for edge in task.inputs
        )

    def _had_ended(self, task: TaskPlan) -> bool:
        """True when all that a task does had been told of the end, in whatever tasks that was done then."""
        operators = {node.uid for node in task.nodes if not node.is_source and not node.is_sink}
        return operators <= self._told and (not task.is_source or task.name in self._finished)

    def _times(self, task: TaskPlan, subtask: int, splits: Iterable[str]) -> SplitWatermarks | None:
        strategy, around = task.head.watermarks, self._around
        if strategy is None:
            return None
        times = SplitWatermarks(
            strategy,
            task.head.place,
            subtask,
            around.ports.clock,
            splits,
            show_records=self._plan.config.show_records,
            count=around.tally.of(task.name),
        )
        times.restore(self._snapshots.get(f"{task.name}@time", []))
        return times

    def _sinks(self, task: TaskPlan, subtask: int) -> dict[int, SinkLeaf]:
        nodes = {node.id: node for node in task.nodes if node.is_sink}
        is_end = all(edge.from_node in nodes for edge in task.outputs)
        leaves: dict[int, SinkLeaf] = {}
        for node in nodes.values():
            # One writer alone may hang its cache on the keys: where no other sink sees the same ones.
            owns_memo = not leaves and bool(task.stores) and is_end
            context = self._around.sink_context(self._plan, node.uid, subtask, task.parallelism, owns_memo)
            with connector_at(node.place):
                writer = _sink(node).writer(context)
            leaves[node.id] = SinkLeaf(node.place, subtask, writer, self._around.ports.clock, self._turns)
        return leaves

    def _key_types_by_node(self) -> dict[int, KeyType]:
        """Of each key_by the type that a store of its keys has, wherever that store is."""
        return {
            edge.source: self._key_type(task.stores[node.id])
            for task in self._plan.tasks
            for node in task.nodes
            for edge in node.inputs
            if node.id in task.stores and edge.routing is Routing.HASH
        }

    def _key_type(self, store: StorePlan) -> KeyType:
        return self._key_types.setdefault(store.name, KeyType(f"keyed state of {store.name!r}"))

    def _router(self, edge: ChannelEdge, subtask: int) -> Router:
        config = self._plan.config
        to = self._plan.tasks[edge.to_task]
        channels = [self._sender(edge, subtask, target) for target in receivers_of(self._plan, edge, subtask)]
        return Router(
            edge.routing,
            subtask,
            channels,
            config.key_groups,
            to.head.place,
            traces_origins=config.trace_origins,
            defers_bad_keys=not to.head.is_sink and isinstance(prototype(to.head), LeavingOut),
        )

    def _sender(self, edge: ChannelEdge, subtask: int, target: int) -> Sender:
        if self._exchange is None or self._placement.is_here(target):
            return self._gates[edge.to_task, target].connect(edge.input)
        address = ChannelAddress(edge.to_task, edge.input, subtask, target)
        most = self._plan.config.channel_records
        return self._exchange.sender(address, most, self._plan.tasks[edge.to_task].head.place)

    async def _open_store(self, plan: StorePlan, task: TaskPlan, subtask: int) -> KeyedStore:
        config, around = self._plan.config, self._around
        first, end = group_range(subtask, task.parallelism, config.key_groups)
        declared = [self._states[key] for key in plan.states]
        ids = {declaration.spec.id for declaration in declared}
        count = sum(len({s.name for s in t.stores.values()}) * t.parallelism for t in self._plan.tasks)
        make: Any = RocksDbKeyedStore if config.state_backend == "rocksdb" else MemoryKeyedStore
        store: KeyedStore = make(
            plan.name,
            subtask,
            key_groups=config.key_groups,
            first_group=first,
            end_group=end,
            files=around.folder.store_files(plan.name, subtask),
            work_dir=around.folder.work_folder() / f"{task.id}-{subtask}-{len(self.stores)}",
            memory_bytes=max(1 << 20, config.state_memory // count),
            states=declared,
            clock=around.ports.clock,
            keys=self._key_type(plan),
        )
        self.stores.append(store)
        mine = [
            snapshot
            for snapshot in self._restored
            if snapshot.first_group < end and first < snapshot.end_group and ids & set(snapshot.states)
        ]
        await around.workers.run_blocking(store.open, mine)
        return store


def _upstream(plan: ExecutionPlan, edge: ChannelEdge) -> str:
    """Names an output for ever: whose it is, and its tag."""
    uid = next(node.uid for node in plan.tasks[edge.from_task].nodes if node.id == edge.from_node)
    return uid if edge.tag is None else f"{uid}@{edge.tag}"


def store_facts(store: KeyedStore) -> StoreFacts:
    """What a store holds in memory."""
    held = store.memory_bytes() - store.cache_bytes()
    return StoreFacts(store.name, store.subtask, store.keys_in_memory, held, store.evictions)


def _sink(node: Node) -> Any:
    return node.made


def specs_of(states: Mapping[tuple[str, str], StateDeclaration]) -> list[StateSpec]:
    """What manifests say of the declared states."""
    return [declaration.spec for declaration in states.values()]
