"""A checkpoint under the names that the job has now: `renamed_from` of its steps, and names of the first format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from streamlet.checkpoint.manifest import Manifest
from streamlet.graph.job_graph import Node
from streamlet.graph.plan import ExecutionPlan
from streamlet.runtime.task.held_back import HELD_BACK

NUMBERED = 1
"""In checkpoints up to this format steps without a uid are named by their number."""


def under_present_names(plan: ExecutionPlan, manifest: Manifest) -> Manifest:
    """The same checkpoint, where what a step had under a former name is under its present one.  Prepared output stays
    under the name that the outside knows."""
    names = dict(_former_names(plan, manifest))
    if not names:
        return manifest

    def now(uid: str) -> str:
        return names.get(uid, uid)

    return msgspec.structs.replace(
        manifest,
        parallelism={now(uid): count for uid, count in manifest.parallelism.items()},
        states=[msgspec.structs.replace(spec, uid=now(spec.uid)) for spec in manifest.states],
        stores=[msgspec.structs.replace(store, store=now(store.store)) for store in manifest.stores],
        positions={now(uid): splits for uid, splits in manifest.positions.items()},
        finished=list(map(now, manifest.finished)),
        operators={_key(key, now): _told(key, one, now) for key, one in manifest.operators.items()},
    )


def former_sinks(plan: ExecutionPlan) -> Mapping[str, Node]:
    """The sinks that have been renamed, by their former names: what they prepared is settled under these."""
    return {node.renamed_from: node for _, node in plan.sinks.values() if node.renamed_from is not None}


def _former_names(plan: ExecutionPlan, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Former name -> present one, for what the checkpoint has under the former and not under the present one."""
    known = {*manifest.parallelism, *(spec.uid for spec in manifest.states), *manifest.positions}
    own = {node.uid for task in plan.tasks for node in task.nodes if node.has_own_uid}
    for task in plan.tasks:
        for node in task.nodes:
            former = [node.renamed_from] if node.renamed_from is not None else []
            if manifest.format_version <= NUMBERED and not node.has_own_uid and node.numbered not in own:
                former.append(node.numbered)
            yield from ((name, node.uid) for name in former if name in known and node.uid not in known)


def _key(key: str, now: Callable[[str], str]) -> str:
    """The name of an operator's snapshot: `uid/subtask`, or `uid@what/subtask`."""
    of, _, subtask = key.rpartition("/")
    uid, at, what = of.partition("@")
    return f"{now(uid)}{at}{what}/{subtask}"


def _told(key: str, snapshot: Any, now: Callable[[str], str]) -> Any:
    """Who was told of the end is noted by uids, and so is of whose output event time is known, or what waits."""
    what = key.rpartition("/")[0].partition("@")[2]
    if what == "end":
        return list(map(now, snapshot))
    if what == "time" and "inputs" in snapshot:
        return {**snapshot, "inputs": {_input(of, now): time for of, time in snapshot["inputs"].items()}}
    if what == HELD_BACK[1:]:
        batches = [{**one, "input": _input(one["input"], now)} for one in snapshot["batches"]]
        return {**snapshot, "batches": batches}
    return snapshot


def _input(of: str, now: Callable[[str], str]) -> str:
    """The name of an output: `uid`, or `uid@tag`."""
    uid, at, tag = of.partition("@")
    return f"{now(uid)}{at}{tag}"
