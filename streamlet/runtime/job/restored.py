"""What a checkpoint has for a plan: its states numbered as they were, its snapshots by operator, and who had ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from streamlet.checkpoint.manifest import Manifest
from streamlet.graph.plan import ExecutionPlan
from streamlet.runtime.job.renaming import former_sinks
from streamlet.runtime.task.held_back import HELD_BACK
from streamlet.state.declaration import StateDeclaration
from streamlet.state.evolution.findings import Finding, dropping, raise_refused
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


def compare_with(plan: ExecutionPlan, restored: Manifest, *, is_settled: bool = False) -> list[Finding]:
    """Compares all that a checkpoint has with the job as it is: states, positions of sources, what operators had in
    flight, and prepared output of sinks, unless that is settled.  Nothing but the manifest is looked at."""
    return [
        *compare_states(plan, restored).findings,
        *_compare_sources(plan, restored),
        *_compare_snapshots(plan, restored),
        *([] if is_settled else _compare_sinks(plan, restored)),
    ]


def check_fits(plan: ExecutionPlan, restored: Manifest) -> None:
    """Raises `StateRefusedError` where a checkpoint does not fit the job, but for prepared output, which is settled by
    rules of its own."""
    raise_refused(compare_with(plan, restored, is_settled=True), f"checkpoint {restored.checkpoint_id}")


def _compare_sources(plan: ExecutionPlan, restored: Manifest) -> Iterator[Finding]:
    for uid, (_, node) in plan.sources.items():
        is_known = uid in restored.positions
        what = "" if is_known else "begins at its start option"
        yield Finding("kept" if is_known else "new", "source", uid, what=what, place=str(node.place))
    for uid in restored.positions.keys() - plan.sources.keys():
        yield _orphan(plan, "source", uid, "no source of the job has this uid, and what it read is in the checkpoint")


def _compare_snapshots(plan: ExecutionPlan, restored: Manifest) -> Iterator[Finding]:
    """What was in flight in an operator is never dropped silently."""
    for uid in dict.fromkeys(uid.removesuffix(HELD_BACK) for uid in snapshots_by_uid(restored.operators)):
        if "@" not in uid and uid not in plan.parallelisms:
            yield _orphan(plan, "operator", uid, "no step of the job has this uid, and it had records in flight")


def _compare_sinks(plan: ExecutionPlan, restored: Manifest) -> Iterator[Finding]:
    known = {*plan.sinks, *former_sinks(plan)}
    records: Counter[str] = Counter()
    for listed in restored.committables:
        records[listed.sink_uid] += listed.committable.records
    for uid, count in records.items():
        if uid in known:
            yield Finding("kept", "sink", uid, what=f"{count:,} records are prepared, and are settled at the start")
        else:
            yield _orphan(plan, "sink", uid, f"no sink of the job has this uid, and {count:,} records are prepared")


def _orphan(plan: ExecutionPlan, kind: Literal["source", "sink", "operator"], uid: str, what: str) -> Finding:
    if plan.allowed.may_drop(uid):
        return Finding("dropped", kind, uid, what="the job does not have it")
    step = "step" if kind == "operator" else kind
    remedy = (
        f'give its {step} uid="{uid}" again, say renamed_from="{uid}" on the one that goes on from it, '
        f"or let it go by {dropping(uid)}"
    )
    return Finding("refused", kind, uid, what=what, remedy=remedy)


def told_of_the_end(snapshots: Mapping[str, list[Any]], parallelism: Mapping[str, int]) -> frozenset[str]:
    """The uids of operators that had been told of the end in every one of their subtasks.  Then nothing was in flight
    before them."""
    ends = [set(one) for of, lists in snapshots.items() if of.endswith("@end") for one in lists]
    told = Counter(uid for one in ends for uid in one)
    return frozenset(uid for uid, count in told.items() if count == parallelism.get(uid))
