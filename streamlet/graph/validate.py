"""What must hold for a JobGraph. Every error names the user's line."""

from __future__ import annotations

import re

from streamlet.config import JobConfig
from streamlet.errors import JobDefinitionError, StateTypeError
from streamlet.graph.job_graph import JobGraph, Node
from streamlet.operators.operator import Operator
from streamlet.sink import Sink

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:#-]{0,119}")


def validate(graph: JobGraph, config: JobConfig) -> None:
    """Raises `JobDefinitionError` for the first thing that is wrong."""
    if not any(node.is_source for node in graph.nodes):
        raise JobDefinitionError("the job has no source", remedy="begin with job.source(...)")
    _check_names(graph)
    seen: dict[str, Node] = {}
    for node in graph.nodes:
        _check_uid(node, seen)
        _check_parallelism(node, config)
        _check_time(node, graph)
        if not node.is_sink and not graph.consumers(node.id):
            raise JobDefinitionError(
                f"{node.place}: the output of {node.place.operator} goes nowhere",
                remedy="end the stream with .sink(...)",
            )


def prototype(node: Node) -> Operator:
    """An operator of the node, not open; raises `JobDefinitionError` naming the line when it cannot be made."""
    try:
        return node.made()  # type: ignore[operator]
    except (JobDefinitionError, StateTypeError) as error:
        raise JobDefinitionError(
            f"{node.place}: {node.place.operator}: {error.message}", remedy=error.remedy
        ) from error


def check_uid(uid: str, line: str) -> None:
    """Refuses a uid that cannot be part of file and transaction names."""
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise JobDefinitionError(
            f"{line}: uid {uid!r} cannot be used",
            remedy="use 1 to 120 letters, digits, '.', '_', ':', '#' and '-', beginning with a letter or digit",
        )


def _check_uid(node: Node, seen: dict[str, Node]) -> None:
    check_uid(node.uid, str(node.place))
    if node.uid in seen:
        raise JobDefinitionError(
            f"{node.place}: uid {node.uid!r} is taken by the {seen[node.uid].place.kind} at {seen[node.uid].place}",
            remedy="give each operator its own uid: its state is found by it",
        )
    seen[node.uid] = node


def _check_names(graph: JobGraph) -> None:
    """Refuses steps that only their places tell apart, where a checkpoint has something of each; and former names that
    are not former."""
    known: dict[str, Node] = {}
    for node in graph.nodes:
        if not node.has_own_uid and _is_stateful(node):
            other = known.setdefault(node.structure, node)
            if other is not node:
                raise JobDefinitionError(
                    f"{node.place}: this {node.place.kind} and the one at {other.place} cannot be told apart: both "
                    "are of one kind, behind the same stream and key",
                    remedy='give both a uid, by which their state is found whatever the job file becomes: uid="..."',
                )
    names = {node.uid: node for node in graph.nodes}
    for node in graph.nodes:
        if node.renamed_from in names:
            raise JobDefinitionError(
                f"{node.place}: renamed_from={node.renamed_from!r}, which is the uid of the step at "
                f"{names[node.renamed_from].place}",
                remedy="give the uid that the checkpoint has, and that no step of the job has any more",
            )


def _is_stateful(node: Node) -> bool:
    """True for what a checkpoint has something of that is found by its uid."""
    if isinstance(node.made, Sink):
        return type(node.made).committer is not Sink.committer
    if node.is_source:
        return True
    operator = prototype(node)
    while isinstance(inner := getattr(operator, "inner", None), Operator):
        operator = inner
    return bool(operator.declared_states()) or type(operator).snapshot is not Operator.snapshot


def _check_time(node: Node, graph: JobGraph) -> None:
    if node.is_source or node.is_sink or not prototype(node).uses_time:
        return
    for source in graph.sources_of(node):
        if source.watermarks is None:
            raise JobDefinitionError(
                f"{node.place}: {node.place.operator} works by event time, but {source.place.operator} at "
                f"{source.place} does not say how that moves on",
                remedy=f"write there job.source(..., uid={source.uid!r}, "
                "watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5))), "
                "with as long a time as its records may come late",
            )


def _check_parallelism(node: Node, config: JobConfig) -> None:
    parallelism = node.parallelism
    if parallelism is None:
        return
    if type(parallelism) is not int or parallelism < 1:
        raise JobDefinitionError(f"{node.place}: parallelism is {parallelism!r}", remedy="give a whole number from 1")
    if node.is_keyed and parallelism > config.key_groups:
        raise JobDefinitionError(
            f"{node.place}: parallelism {parallelism} is above key_groups {config.key_groups}",
            remedy="a key group is the smallest piece of keyed state: raise key_groups on a new job",
        )
