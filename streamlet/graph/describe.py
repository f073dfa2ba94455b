"""An ExecutionPlan as text."""

from __future__ import annotations

from collections.abc import Iterator

from streamlet.graph.job_graph import Node
from streamlet.graph.plan import ExecutionPlan
from streamlet.graph.validate import prototype


def describe_plan(plan: ExecutionPlan) -> str:
    """One line per task and per channel bundle."""
    lines = []
    for task in plan.tasks:
        chain = " > ".join(node.place.operator for node in task.nodes)
        lines.append(f"task {task.name} x{task.parallelism}: {chain}")
        lines.extend(
            f"  {edge.routing.value} -> task {plan.tasks[edge.to_task].name} x{plan.tasks[edge.to_task].parallelism}"
            for edge in task.outputs
        )
    return "\n".join(lines)


def warnings_of(plan: ExecutionPlan) -> Iterator[str]:
    """What is allowed and hardly meant: operators whose state, positions or output are found again by a derived name
    only, and side outputs that nobody takes."""
    stateful = {uid for uid, _ in plan.states()}
    for task in plan.tasks:
        for node in task.nodes:
            if not node.has_own_uid and (node.is_source or node.is_sink or node.uid in stateful):
                yield (
                    f"{node.place}: {node.place.operator} has no uid of its own: its state is found by its kind, "
                    f'key and inputs, while these stay; write uid="..."'
                )
            yield from _not_taken(plan, node)


def _not_taken(plan: ExecutionPlan, node: Node) -> Iterator[str]:
    tags = node.side_outputs
    if not node.is_source and not node.is_sink:
        tags = prototype(node).side_outputs
    taken = plan.taken(node.id)
    for tag in tags:
        if tag.name not in taken:
            others = ", ".join(f"{name!r} at {place}" for name, place in taken.items() if name is not None)
            yield (
                f"{node.place}: nobody takes what {node.place.operator} puts out under {tag.name!r}, so it is dropped"
                f"{f' (taken is {others})' if others else ''}; write stream.side_output(tag).sink(...)"
            )
