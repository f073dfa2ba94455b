"""The JobGraph: what the user wrote, as data. Nodes are operators, edges say how rows travel."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from streamlet.elements import OutputTag
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.place import Place
from streamlet.operators.watermark_strategy import WatermarkStrategy
from streamlet.sink import Sink
from streamlet.source import Source


class Routing(Enum):
    """How rows go from the subtasks of one node to those of the next."""

    FORWARD = "forward"
    """To the subtask of the same number."""
    HASH = "hash"
    """To the subtask that owns the row's key group."""
    REBALANCE = "rebalance"
    """Batch by batch in turn."""
    BROADCAST = "broadcast"
    """To every subtask."""


@dataclass(frozen=True)
class Edge:
    """From the node `source`, by `routing`. FORWARD between different parallelisms becomes REBALANCE."""

    source: int
    routing: Routing
    tag: str | None = None
    """The name of the side output that travels here; None for the main output."""
    is_timeless: bool = False
    """True where event time behind the node does not depend on what comes here."""


@dataclass
class Node:
    """One source, operator or sink."""

    id: int
    place: Place
    made: Source[Any] | Sink[Any] | Callable[[], Operator]
    """The source, the sink, or what makes the operator of one subtask."""
    inputs: list[Edge]
    parallelism: int | None
    has_own_uid: bool
    renamed_from: str | None = None
    """The uid under which checkpoints of before keep what belongs to it."""
    structure: str = ""
    """Its uid, or where it was given none a name by what it is and what comes to it."""
    numbered: str = ""
    """What checkpoints of the first format call it where it was given no uid."""
    follows_input: bool = False
    """True where it has as many subtasks as what it reads, unless told: spread over more of them, rows of one key would
    overtake each other on their way to the subtask of that key."""
    watermarks: WatermarkStrategy[Any] | None = None
    """Of a source: how event time moves on there; None where nobody asked for it."""
    leaves_out: bool = False
    """Of a source: records for which a function of its strategy fails are left out; of a sink: those that cannot be
    written."""
    letters: OutputTag[Any] | None = None
    """Where these go as dead letters; None for nowhere."""

    @property
    def side_outputs(self) -> Collection[OutputTag[Any]]:
        """Of a source or sink: the tags under which it puts records out."""
        own = () if self.letters is None else (self.letters,)
        return (*self.made.side_outputs, *own) if isinstance(self.made, Source) else own

    @property
    def uid(self) -> str:
        return self.place.uid

    @property
    def is_source(self) -> bool:
        return isinstance(self.made, Source)

    @property
    def is_sink(self) -> bool:
        return isinstance(self.made, Sink)

    @property
    def is_keyed(self) -> bool:
        """True when its rows come with keys that it may have state for."""
        return any(edge.routing is Routing.HASH for edge in self.inputs)


@dataclass
class JobGraph:
    """All nodes of a job; a node's inputs have smaller ids, so the list is in topological order."""

    nodes: list[Node] = field(default_factory=list)

    def consumers(self, node_id: int) -> list[Node]:
        """The nodes that read from this one."""
        return [node for node in self.nodes if any(edge.source == node_id for edge in node.inputs)]

    def sources_of(self, node: Node) -> list[Node]:
        """The sources on which event time at this node depends: those whose records can come to it, but for what
        comes by timeless edges."""
        found, ahead = set(), [node.id]
        while ahead:
            one = ahead.pop()
            if one not in found:
                found.add(one)
                ahead += [edge.source for edge in self.nodes[one].inputs if not edge.is_timeless]
        return [self.nodes[one] for one in sorted(found) if self.nodes[one].is_source]
