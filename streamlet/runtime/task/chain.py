"""One subtask's operators, wired so that a batch runs through all of them in one synchronous call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from streamlet.checkpoint.manifest import event_time_key, operator_key
from streamlet.clock import RisingClock
from streamlet.elements import MIN_TIMESTAMP, Batch, OutputTag
from streamlet.errors import CheckpointError, UserFunctionError
from streamlet.graph.job_graph import Node, Routing
from streamlet.graph.plan import TaskPlan
from streamlet.operators.error_policy import LeavingOut
from streamlet.operators.keying import SlotLookup
from streamlet.operators.operator import Emit, EmitSide, Operator, OperatorContext
from streamlet.operators.user_code.place import function_error
from streamlet.operators.user_code.raised import RAISED
from streamlet.runtime.task.held_back import HeldBack, Queues
from streamlet.runtime.task.meter import Meter, entrance_of
from streamlet.runtime.task.mutation import checked_ways
from streamlet.runtime.task.side_outputs import to_sides
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.snapshot import StateSpec
from streamlet.state.store import KeyedStore
from streamlet.tally import Tally

_CLOCK = "@clock"
"""Behind the name of a task: how far the wall clock had come for its operators."""

Exit = tuple[int, str | None]
"""A node and the name of its side output, None for its main output."""


class Leaf(Protocol):
    """Where a chain ends: a sink's writer or a router. Delivery may wait, so it happens after the call."""

    async def deliver(self, batch: Batch[Any]) -> None: ...


class _Step(NamedTuple):
    """One operator of the chain and where its output goes."""

    uid: str
    operator: Operator
    out: Emit


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
        leaves: Mapping[Exit, list[Leaf]],
        states: Mapping[tuple[str, str], StateSpec],
        *,
        show_records: bool,
        checks_mutation: bool = False,
        now_ms: Callable[[], int] = lambda: 0,
        monotonic: Callable[[], float] | None = None,
        key_groups: int = 128,
        told_before: Collection[str] = (),
        tally: Tally | None = None,
        key_types: Mapping[int, KeyType] | None = None,
        inputs: Sequence[str] = (),
    ) -> None:
        """Without `monotonic` a batch always runs through all of it.  `inputs`: whose output each input of the head is;
        `told_before`: the uids of operators that every one of their subtasks had told of the end in the restored
        checkpoint."""
        self.produced: list[tuple[Leaf, Batch[Any]]] = []
        self.ring: Callable[[], None] = lambda: None
        """Wakes the subtask up; set by it."""
        self.spawn: Callable[[Coroutine[Any, Any, None]], object]
        """Runs work beside the subtask; set by it."""
        self.watermark = MIN_TIMESTAMP
        """How far event time has come behind the chain: not beyond what operators hold."""
        self.queues = Queues(monotonic)
        self.meters = {node.id: Meter() for node in plan.nodes}
        self._inputs = inputs
        self._firing: dict[Operator, int] = {}
        """Operators that have more to fire, and up to which time."""
        self._told = 0
        """How many steps were told of the end."""
        self._told_before = told_before
        self._plan = plan
        self._leaves = leaves
        self._states = states
        self._show_records = show_records
        self._checks_mutation = checks_mutation
        self.clock = RisingClock(now_ms)
        """What its operators take for the wall clock; how far it came is in the snapshot."""
        self._key_groups = key_groups
        self._tally = tally or Tally()
        self._key_types = key_types or {}
        """Of each key_by: what the keys that it gives are."""
        self._subtask = subtask
        self._stores = stores
        self._steps: list[_Step] = []
        self._metered: dict[Operator, Meter] = {}
        self._woken: set[Operator] = set()
        self._entries: dict[int, list[Emit]] = {}
        for node in reversed(plan.nodes):
            self._entries[node.id] = self._entry(node)
        self._steps.reverse()  # now each comes behind those that it gets batches from
        self._gateless = {node.uid for node in plan.nodes[1:] if node.is_keyed and not node.is_sink}
        """Keyed operators to which no gate belongs here; with other parallelisms one may."""
        self._floors: dict[Operator, int] = {}
        """The first steps of these operators, and how far event time had come there before a restore."""
        self._clocked = [step for step in self._steps if type(step.operator).on_clock is not Operator.on_clock]
        operators = [step.operator for step in self._steps]
        self._bounded = [one for one in operators if type(one).has_room is not Operator.has_room]
        self._holding = [one for one in operators if type(one).held_watermark is not Operator.held_watermark]

    def enter(self, node_id: int, index: int = 0) -> Emit:
        """What takes the batches for an input of this node; for a source, what takes the batches that it read."""
        return self._entries[node_id][index]

    def side(self, node_id: int) -> EmitSide:
        """What takes the batches for the side outputs of a source."""
        node = next(node for node in self._plan.nodes if node.id == node_id)
        return self._sides(node, node.side_outputs)

    def restore(
        self, snapshots: Mapping[str, list[Any]], owner_of_split: Callable[[str], int | None] = lambda _: None
    ) -> None:
        """Gives every operator what its old subtasks remembered, by uid.  `owner_of_split` says which subtask reads a
        split of this chain's source now."""
        for key, clocks in snapshots.items():
            if key.endswith(_CLOCK):
                self.clock.not_before(max(clocks))
        for uid, operator, _ in self._steps:
            if uid in snapshots and not isinstance(operator, SlotLookup | HeldBack):
                operator.restore(snapshots[uid])
        self.queues.restore(snapshots, owner_of_split)
        for uid in self._gateless:
            # The highest of the old subtasks is right for all of them; see `InputGate.restore`.
            if seen := [one["watermark"] for one in snapshots.get(f"{uid}@time", [])]:
                self._come_to(uid, max(seen))

    def _come_to(self, uid: str, timestamp: int) -> None:
        """Gives an operator its event time back before anything reaches it, not beyond what waits in front of it."""
        steps = [step.operator for step in self._steps if step.uid == uid]
        self._floors[steps[0]] = timestamp
        for operator in steps:
            operator.context.event_time.watermark = timestamp
            if type(operator).on_watermark is not Operator.on_watermark:
                self._firing[operator] = timestamp
            held = operator.held_watermark()
            if held is not None:
                timestamp = min(timestamp, held)

    def snapshot(self) -> dict[str, Any]:
        """Packs what operators remember and is not keyed, as a report carries it."""
        packed: dict[str, Any] = {}
        if self.clock.high_ms:
            packed[operator_key(f"{self._plan.name}{_CLOCK}", self._subtask)] = self.clock.high_ms
        for uid, operator, _ in self._steps:
            if isinstance(operator, HeldBack):
                continue
            watermark = operator.context.current_watermark
            if uid in self._gateless and watermark != MIN_TIMESTAMP:
                packed[event_time_key(uid, self._subtask)] = {"watermark": watermark, "inputs": {}}
            found = operator.snapshot()
            if found is not None:
                try:
                    packed[operator_key(uid, self._subtask)] = msgspec.Raw(msgspec.msgpack.encode(found))
                except (TypeError, ValueError, OverflowError, RecursionError) as error:
                    place = operator.context.place
                    raise CheckpointError(
                        f"{place}: the snapshot of {place.operator} is no plain data: {error}"
                    ) from error
        return packed

    def advance(self, timestamp: int) -> Iterator[None]:
        """Moves event time on in the operators, in the order of the stream, as far as none before holds it.  It pauses
        where an operator has more to fire: what was produced by then should be delivered first.  Who does not go on
        then calls it anew later.

        The same timestamp again lets those go on that were held back before, or had more to fire.
        """
        self.queues.turn.begin()
        for _, operator, out in self._steps:
            if operator in self._floors:
                timestamp = max(timestamp, self._floors[operator])
            time = operator.context.event_time
            if operator in self._firing:
                yield from self._fire(operator, self._firing[operator], out)
            if timestamp > time.watermark:
                time.watermark = timestamp
                yield from self._fire(operator, timestamp, out)
            held = operator.held_watermark()
            if held is not None:
                timestamp = min(timestamp, held)
        self.watermark = timestamp

    def _fire(self, operator: Operator, timestamp: int, out: Emit) -> Iterator[None]:
        meter, turn = self._metered[operator], self.queues.turn
        while meter.timed(turn, operator.on_watermark, timestamp, out):
            self._firing[operator] = timestamp
            yield
            self.queues.turn.begin()
        self._firing.pop(operator, None)

    def end(self, *, has_new: bool) -> bool:
        """Tells operators that the whole input has ended, in the order of the stream, up to one that has records in
        flight; True when all have been told.  One that had been told before a restore is told again if it `has_new`
        records."""
        self.queues.turn.begin()
        for uid, operator, out in self._steps[self._told :]:
            if operator.held_watermark() is not None or operator in self._firing:
                return False
            self._told += 1
            if has_new or uid not in self._told_before:
                operator.on_end(out)
        return True

    def told(self, *, has_new: bool) -> list[str]:
        """The uids of operators that were told of the end: before the restore counts as long as nothing `has_new`."""
        now = {step.uid for step in self._steps[: self._told]} - {step.uid for step in self._steps[self._told :]}
        before = set() if has_new else {step.uid for step in self._steps}.intersection(self._told_before)
        return sorted(now | before)

    @property
    def is_held(self) -> bool:
        """True while any operator has records in flight, or they wait, or are to be fired."""
        return self.is_firing or any(operator.held_watermark() is not None for operator in self._holding)

    @property
    def is_firing(self) -> bool:
        """True while an operator has more to fire."""
        return bool(self._firing)

    @property
    def has_work(self) -> bool:
        """True while there is something to go on with before the next batch."""
        return self.queues.is_held_back or bool(self._firing)

    @property
    def has_room(self) -> bool:
        """True when the operators take the next batch."""
        return not self._bounded or all(operator.has_room() for operator in self._bounded)

    @property
    def has_clock(self) -> bool:
        """True when any operator works by the wall clock."""
        return bool(self._clocked)

    def next_clock_ms(self) -> int | None:
        """When `on_clock` is due next."""
        if self._woken:
            return MIN_TIMESTAMP
        times = [step.operator.next_clock_ms() for step in self._clocked]
        return min((at for at in times if at is not None), default=None)

    def on_clock(self, now_ms: int) -> None:
        """Calls every operator that is due by the wall clock or asked to be called."""
        self.queues.turn.begin()
        woken, self._woken = self._woken, set()
        for _, operator, out in self._clocked:
            at = operator.next_clock_ms()
            if operator in woken or (at is not None and at <= now_ms):
                self._metered[operator].timed(self.queues.turn, operator.on_clock, now_ms, out)

    def watermarks(self) -> dict[str, int]:
        """How far event time has come at each operator, by uid."""
        return {step.uid: step.operator.context.current_watermark for step in self._steps}

    def close(self) -> None:
        """Closes every operator, also when one of them fails to."""
        errors: list[BaseException] = []
        while self._steps:
            operator = self._steps.pop().operator
            try:
                operator.close()
            except UserFunctionError as error:
                errors.append(error)
            except RAISED as error:
                errors.append(function_error(error, operator.context.place, subtask=operator.context.subtask))
        if errors:
            raise errors[0]

    def _entry(self, node: Node) -> list[Emit]:
        out, behind, meter = self._exit(node.id, None), None, self.meters[node.id]
        if not node.is_sink:
            out = meter.exit(out)
        if node.is_source:
            return [out]
        if node.is_sink:
            ways = [out] * len(node.inputs)
        else:
            operator: Operator = node.made()  # type: ignore[operator]
            behind = operator if isinstance(operator, LeavingOut) else None
            self._open(node, operator, out)
            ways = [entrance_of(operator, index, len(node.inputs), out) for index in range(len(node.inputs))]
        ways = [
            self._through_lookup(node, way, behind) if edge.routing is Routing.HASH else way
            for edge, way in zip(node.inputs, ways, strict=True)
        ]
        if not node.is_sink:
            ways = [meter.entrance(way, self.queues.turn.pause) for way in ways]
        is_head = node is self._plan.head
        if not is_head and self.queues.turn.pause is None:
            return ways
        # What came straight on from several streams is in the order of splits that are not known here.
        has_order = any(edge.routing is Routing.FORWARD for edge in self._plan.inputs)
        held = self.queues.add(node, ways, self._inputs, is_head=is_head, may_keep_unkeyed=not has_order)
        held.meter = meter
        self._open(node, held, out)
        # Inside of a chain nothing waits at a sink, but what waited before a restore where it was a task of its own.
        return ways if is_head or node.is_sink else [held.entrance(index) for index in range(len(ways))]

    def _through_lookup(self, node: Node, way: Emit, behind: LeavingOut | None) -> Emit:
        lookup = SlotLookup(behind)
        self._open(node, lookup, way)
        return entrance_of(lookup, 0, 1, way)

    def _open(self, node: Node, operator: Operator, out: Emit) -> None:
        def wake() -> None:
            self._woken.add(operator)
            self.ring()

        operator.open(
            OperatorContext(
                node.place,
                self._subtask,
                self._plan.parallelism,
                self._stores.get(node.id),
                {name: spec for (uid, name), spec in self._states.items() if uid == node.uid},
                self._show_records,
                side=self._sides(node, operator.side_outputs),
                now_ms=self.clock.now_ms,
                untimed=self._plan.untimed.get(node.id),
                spawn=lambda work: self.spawn(work),
                monotonic=self.queues.turn.monotonic,
                count=self._tally.of(node.uid),
                key_type=self._key_types.get(node.id),
                pause=self.queues.turn.pause,
                key_groups=self._key_groups,
                wake=wake,
            )
        )
        self._metered[operator] = self.meters[node.id]
        self._steps.append(_Step(node.uid, operator, out))

    def _sides(self, node: Node, known: Collection[OutputTag[Any]]) -> EmitSide:
        """Where a node's side outputs go; what nobody takes is counted, and told of once unless the plan has done so
        (`known`)."""
        tags = {edge.tag for edge in self._plan.chained if edge.from_node == node.id}
        tags |= {tag for node_id, tag in self._leaves if node_id == node.id}
        ways = {tag: self._exit(node.id, tag) for tag in tags if tag is not None}
        told = {tag.name for tag in known}
        return to_sides(node.place, ways, told, self._tally.of(node.uid), self.meters[node.id])

    def _exit(self, node_id: int, tag: str | None) -> Emit:
        """Where one output of a node goes: further nodes of the chain, and leaves."""
        nodes = {node.id: node for node in self._plan.nodes}
        named: list[tuple[Node | None, Emit]] = [
            (nodes[edge.to_node], self._entries[edge.to_node][0])
            for edge in self._plan.chained
            if edge.from_node == node_id and edge.tag == tag
        ]
        named.extend((None, self._to_leaf(leaf)) for leaf in self._leaves.get((node_id, tag), ()))
        ways = [way for _, way in named]
        if len(ways) == 1:
            return ways[0]
        if self._checks_mutation:
            return checked_ways(nodes[node_id].place, named)

        def each(batch: Batch[Any]) -> None:
            for way in ways:
                way(batch)

        return each

    def _to_leaf(self, leaf: Leaf) -> Callable[[Batch[Any]], None]:
        produced = self.produced
        return lambda batch: produced.append((leaf, batch))
