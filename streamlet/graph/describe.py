"""An ExecutionPlan as text."""

from __future__ import annotations

from collections.abc import Iterator

from streamlet.graph.plan import ExecutionPlan


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
    """Operators whose state, positions or output are found again by a derived name only."""
    stateful = {uid for uid, _ in plan.states()}
    for task in plan.tasks:
        for node in task.nodes:
            if not node.has_own_uid and (node.is_source or node.is_sink or node.uid in stateful):
                yield (
                    f"{node.place}: {node.place.operator} has no uid of its own: after a change of the job file its "
                    f'state may not be found; write uid="..."'
                )
