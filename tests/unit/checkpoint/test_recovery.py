"""What a start goes on from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from streamlet.checkpoint.manifest import ListedCommittable, Manifest
from streamlet.checkpoint.recovery import NOTHING, JobFacts, RecoveryPlan, Request, choose, plan_start
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.errors import CheckpointDamagedError, CheckpointError, ConfigError
from streamlet.sink import Committable

JOB = JobFacts(key_groups=8, sinks=frozenset({"out"}))


def unit(number: int, sink: str = "out") -> ListedCommittable:
    return ListedCommittable(sink, 0, number, Committable(f"t-{number}", {}, 10, f"topic of {number}"))


def info(
    number: int,
    *,
    marked: bool = False,
    parent: int | None = -1,
    lists: Collection[int] = (),
    readable: bool = True,
    sink: str = "out",
    **more: Any,
) -> CheckpointInfo:
    fields: dict[str, Any] = {"kind": "periodic", "key_groups": 8, "parallelism": {"out": 1}}
    manifest = Manifest(
        job="job",
        checkpoint_id=number,
        attempt=1,
        parent=(number - 1 if number else None) if parent == -1 else parent,
        committables=[unit(one, sink) for one in lists],
        **fields | more,
    )
    return CheckpointInfo(
        id=number,
        path=Path(f"/state/job/chk-{number:08d}"),
        manifest=manifest if readable else None,
        problem=None if readable else f"chk-{number:08d}/manifest is damaged",
        is_marked=marked,
    )


def plan(infos: list[CheckpointInfo], request: Request = "latest", **more: Any) -> RecoveryPlan:
    return choose(infos, request, JOB, **{"has_history": bool(infos)} | more)


def units(found: RecoveryPlan) -> list[int]:
    return [listed.checkpoint_id for listed in found.unsettled]


def test_a_new_job_starts_empty_and_writes_its_first_checkpoint() -> None:
    found = plan([])
    assert found.restore is None and found.needs_start and found.candidates == (NOTHING,)


def test_a_job_with_history_never_starts_empty_unless_told() -> None:
    with pytest.raises(CheckpointError, match="has run on this state directory before") as caught:
        plan([], has_history=True)
    assert "--from none" in str(caught.value.remedy)
    assert plan([], "none", has_history=True).restore is None


def test_a_marked_newest_checkpoint_is_restored_as_it_is() -> None:
    found = plan([info(1, marked=True), info(2, marked=True, lists=[1, 2])])
    assert found.restore is not None and found.restore.id == 2
    assert units(found) == [] and not found.needs_start


def test_the_newest_unmarked_checkpoint_is_restored_when_its_output_allows_it() -> None:
    found = plan([info(1), info(2, marked=True), info(3, lists=[2, 3]), info(4, lists=[2, 3, 4])])
    assert found.candidates == (4, 3, 2)
    assert units(found) == [3, 4], "what the marker of 2 covers is committed"
    assert not found.needs_start and not found.is_forced


def test_falling_back_follows_parents_and_never_ids() -> None:
    infos = [
        info(30, marked=True),
        info(31, lists=[31]),
        info(33, marked=False, parent=30, lists=[33]),
        info(34, parent=33, lists=[33, 34]),
    ]
    found = plan(infos)
    assert found.candidates == (34, 33, 30)
    assert units(found) == [33, 34]


def test_what_lies_before_the_candidates_is_told_by_parent_without_branches_that_were_given_up() -> None:
    infos = [
        info(1, marked=True, parent=None),
        info(30, marked=True, parent=1),
        info(31, marked=True, parent=30),
        info(33, marked=True, parent=30),
        info(34, lists=[34]),
    ]
    assert (plan(infos).candidates, plan(infos).older) == ((34, 33), (30, 1))
    unreadable = [info(1, marked=True, readable=False), *infos[1:]]
    assert plan(unreadable).older == (30,)


def test_a_damaged_newest_checkpoint_is_passed_over_when_it_is_unmarked() -> None:
    infos = [info(1, marked=True), info(2, lists=[2]), info(3, lists=[2, 3])]
    found = plan(infos, damage={3: "files/x is gone"})
    assert found.candidates == (2, 1)
    assert units(found) == [2, 3], "what 3 prepared must be aborted first"
    assert found.needs_start and found.damage == "files/x is gone"
    assert plan(infos, damage={3: "a", 2: "b"}).candidates == (1,)
    with pytest.raises(CheckpointDamagedError, match="a"):
        plan(infos, damage={3: "a", 2: "b", 1: "c"})


def test_a_damaged_marked_checkpoint_stops_the_start() -> None:
    with pytest.raises(CheckpointDamagedError, match="files/x is gone"):
        plan([info(1, marked=True), info(2, marked=True)], damage={2: "files/x is gone"})


@pytest.mark.parametrize("marked", [False, True])
def test_an_unreadable_newest_manifest_stops_the_start(marked: bool) -> None:
    infos = [info(1, marked=True), info(2, marked=marked, readable=False)]
    with pytest.raises(CheckpointDamagedError, match="chk-00000002/manifest") as caught:
        plan(infos)
    assert "--from ID" in str(caught.value.remedy)


def test_an_unreadable_checkpoint_in_the_middle_only_shortens_the_way_back() -> None:
    infos = [info(1, marked=True), info(2, readable=False, lists=[2]), info(3, lists=[2, 3])]
    found = plan(infos)
    assert found.candidates == (3,)
    assert units(found) == [2, 3]


def test_a_marker_counts_even_where_its_manifest_cannot_be_read() -> None:
    found = plan([info(2, marked=True, readable=False), info(3, lists=[2, 3])])
    assert found.candidates == (3,)
    assert units(found) == [3]


def test_an_older_checkpoint_by_id_gives_up_what_came_after_it() -> None:
    infos = [info(1, marked=True), info(2, marked=True), info(3, lists=[3])]
    found = plan(infos, 1)
    assert found.candidates == (1,) and found.is_forced and found.needs_start
    assert units(found) == [3]


def test_the_newest_checkpoint_by_id_is_no_choice_against_newer_ones() -> None:
    infos = [info(1, marked=True), info(2, lists=[2])]
    found = plan(infos, 2)
    assert not found.is_forced and not found.needs_start and units(found) == [2]
    with pytest.raises(CheckpointDamagedError):
        plan(infos, 2, damage={2: "gone"})


def test_a_checkpoint_of_a_branch_that_was_given_up_brings_its_own_output_along() -> None:
    infos = [info(30, marked=True), info(31, lists=[31]), info(32, marked=True, parent=30), info(33, lists=[33])]
    found = plan(infos, 31)
    assert found.candidates == (31,)
    assert units(found) == [31, 33]


def test_a_missing_id_names_those_that_are_there() -> None:
    with pytest.raises(ConfigError, match="no checkpoint 9") as caught:
        plan([info(1), info(2)], 9)
    assert "1, 2" in str(caught.value.remedy)


def test_starting_empty_gives_up_everything_and_says_what_it_cannot_look_up() -> None:
    infos = [info(1, marked=True), info(2, lists=[2]), info(3, readable=False)]
    found = plan(infos, "none")
    assert found.restore is None and found.candidates == (NOTHING,) and units(found) == [2]
    assert "checkpoint 3 prepared cannot be looked up" in found.warnings[0]


def test_a_checkpoint_from_elsewhere_needs_its_marker() -> None:
    found = plan([info(1, lists=[1])], info(40, marked=True))
    assert found.restore is not None and found.restore.id == 40
    assert found.candidates == (NOTHING,) and units(found) == [1] and found.needs_start
    with pytest.raises(CheckpointError, match="has no marker"):
        plan([], info(40, lists=[40]))


def test_a_sink_that_is_gone_with_output_waiting_stops_the_start() -> None:
    infos = [info(1, marked=True), info(2, lists=[2], sink="old")]
    with pytest.raises(CheckpointError, match=r"no exactly-once sink old any more.*10 records in 1 units"):
        plan(infos)
    found = plan(infos, accept_lost_output=True)
    assert units(found) == [] and found.needs_start and "given up as asked" in found.warnings[0]
    assert plan([info(1, marked=True), info(2, marked=True, lists=[2], sink="old")]).warnings == ()


def test_another_number_of_key_groups_stops_the_start() -> None:
    with pytest.raises(CheckpointError, match="has 16 key groups, the job has 8"):
        plan([info(1, marked=True, key_groups=16)])


def test_planning_verifies_before_anything_else_and_goes_back_over_what_is_damaged() -> None:
    infos = [info(1, marked=True), info(2, lists=[2]), info(3, lists=[2, 3])]
    asked: list[int] = []

    def verify(one: CheckpointInfo) -> None:
        asked.append(one.id)
        if one.id == 3:
            raise CheckpointDamagedError("files/x is gone")

    found = plan_start(infos, "latest", JOB, has_history=True, verify=verify)
    assert asked == [3, 2] and found.candidates == (2, 1)
    with pytest.raises(CheckpointDamagedError, match="files/x"):
        plan_start(infos, 3, JOB, has_history=True, verify=verify)
    with pytest.raises(CheckpointDamagedError, match="files/x"):
        plan_start(infos, info(3, marked=True), JOB, has_history=True, verify=verify)
