"""What a checkpoint has for a plan: its states numbered as they were, its snapshots by operator, and who had ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from streamlet.checkpoint.manifest import Manifest
from streamlet.errors import CheckpointError
from streamlet.graph.plan import ExecutionPlan
from streamlet.runtime.task.held_back import HELD_BACK
from streamlet.state.declaration import StateDeclaration
from streamlet.state.evolution.findings import raise_refused
from streamlet.state.upgrade.comparing import Compared, GoesOn, compare


def number_states(plan: ExecutionPlan, restored: Manifest | None) -> dict[tuple[str, str], StateDeclaration]:
    """Gives each declared state its id: the one it had, or the next free one; and what makes its values of those that
    are restored.  Raises `StateRefusedError` for restored state that does not fit what is declared, or that no operator
    of the job claims: it is never dropped silently."""
    before = {(spec.uid, spec.name): spec for spec in restored.states} if restored is not None else {}
    compared = compare_states(plan, restored)
    if restored is not None:
        raise_refused(compared.findings, f"checkpoint {restored.checkpoint_id}")
    next_id = max((spec.id for spec in before.values()), default=0) + 1
    numbered = {}
    for (uid, name), descriptor in plan.states().items():
        how = compared.goes_on.get((uid, name), GoesOn())
        known = None if how.begins_anew else before.get((uid, name))
        number = known.id if known is not None else next_id
        next_id += known is None
        numbered[uid, name] = msgspec.structs.replace(descriptor.declare(number, uid, name), convert=how.convert)
    return numbered


def compare_states(plan: ExecutionPlan, restored: Manifest | None) -> Compared:
    """Compares the keyed state of a checkpoint with what the job declares, without reading any."""
    places = {node.uid: str(node.place) for task in plan.tasks for node in task.nodes}
    declared = [descriptor.declare(0, uid, name) for (uid, name), descriptor in plan.states().items()]
    compared = compare(restored.states if restored is not None else [], declared, plan.allowed)
    findings = [msgspec.structs.replace(one, place=places.get(one.uid, "")) for one in compared.findings]
    return Compared(findings, compared.goes_on)


def snapshots_by_uid(operators: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What a checkpoint keeps of each operator beside its keyed state, in the order of the old subtasks."""
    found: dict[str, dict[int, Any]] = {}
    for key, snapshot in operators.items():
        uid, _, subtask = key.rpartition("/")
        found.setdefault(uid, {})[int(subtask)] = snapshot
    return {uid: [by_subtask[one] for one in sorted(by_subtask)] for uid, by_subtask in found.items()}


def check_snapshots_have_owners(plan: ExecutionPlan, restored: Manifest | None) -> None:
    """Raises `CheckpointError` for an operator's snapshot that no operator of the job claims: what was in flight there
    is never dropped silently."""
    for uid in snapshots_by_uid(restored.operators if restored is not None else {}):
        if uid.endswith(HELD_BACK):
            uid = uid.removesuffix(HELD_BACK)
        elif "@" in uid:
            continue
        if uid not in plan.parallelisms:
            raise CheckpointError(
                f"the checkpoint has a snapshot of operator {uid!r}, which the job does not have",
                remedy=f"give that operator uid={uid!r} again, or start without any state by --from none",
            )


def told_of_the_end(snapshots: Mapping[str, list[Any]], parallelism: Mapping[str, int]) -> frozenset[str]:
    """The uids of operators that had been told of the end in every one of their subtasks.  Then nothing was in flight
    before them."""
    ends = [set(one) for of, lists in snapshots.items() if of.endswith("@end") for one in lists]
    told = Counter(uid for one in ends for uid in one)
    return frozenset(uid for uid, count in told.items() if count == parallelism.get(uid))
