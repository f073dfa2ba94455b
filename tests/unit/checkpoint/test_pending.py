"""One checkpoint on its way: who may answer, what is merged, what may become of it."""

from __future__ import annotations

from typing import Any

import pytest

from streamlet.checkpoint.manifest import ListedCommittable, Manifest
from streamlet.checkpoint.messages import Acknowledge, Decline, SubtaskReport
from streamlet.checkpoint.pending import CheckpointState, PendingCheckpoint, Verdict
from streamlet.errors import CheckpointError
from streamlet.sink import Committable
from streamlet.state.snapshot import StoreSnapshot


def pending(*expected: tuple[str, int]) -> PendingCheckpoint:
    return PendingCheckpoint(7, 2, expected or (("in", 0), ("out", 0)))


def acknowledge(task: str, subtask: int = 0, *, attempt: int = 2, number: int = 7, **report: Any) -> Acknowledge:
    return Acknowledge(attempt, number, SubtaskReport(task=task, subtask=subtask, **report))


def unit(name: str, number: int) -> ListedCommittable:
    return ListedCommittable("out", 0, number, Committable(name, {}, 1, name))


def manifest(one: PendingCheckpoint) -> Manifest:
    return one.manifest(
        job="job", kind="periodic", parent=6, created_ms=5, key_groups=8, parallelism={"in": 1}, states=[]
    )


def test_it_is_complete_when_every_subtask_has_answered() -> None:
    one = pending()
    assert one.missing() == [("in", 0), ("out", 0)]
    assert one.acknowledge(acknowledge("in")) is Verdict.ACCEPTED
    assert not one.is_fully_acknowledged
    assert one.acknowledge(acknowledge("out")) is Verdict.ACCEPTED
    assert one.is_fully_acknowledged
    one.transition_to(CheckpointState.COMPLETED)


def test_a_second_answer_is_refused_and_changes_nothing() -> None:
    one = pending(("in", 0))
    one.acknowledge(acknowledge("in", positions={"in": {"p": 1}}))
    assert one.acknowledge(acknowledge("in", positions={"in": {"p": 2}})) is Verdict.DUPLICATE
    assert manifest(one).positions == {"in": {"p": 1}}


def test_an_answer_of_another_attempt_or_checkpoint_is_refused() -> None:
    one = pending(("in", 0))
    assert one.acknowledge(acknowledge("in", attempt=1)) is Verdict.STALE
    assert one.acknowledge(acknowledge("in", number=6)) is Verdict.STALE
    assert one.decline(Decline(1, 7, "in", 0, "full")) is Verdict.STALE
    assert one.state is CheckpointState.PENDING and one.missing() == [("in", 0)]


def test_an_answer_of_a_stranger_is_refused() -> None:
    one = pending(("in", 0))
    assert one.acknowledge(acknowledge("in", 1)) is Verdict.STRANGER
    assert one.decline(Decline(2, 7, "other", 0, "full")) is Verdict.STRANGER
    assert one.state is CheckpointState.PENDING


def test_a_declined_checkpoint_is_abandoned_and_takes_no_answer_any_more() -> None:
    one = pending()
    assert one.decline(Decline(2, 7, "out", 0, "flush failed")) is Verdict.ACCEPTED
    assert one.state is CheckpointState.ABORTED
    assert one.reason == "out[0] declined: flush failed"
    assert one.acknowledge(acknowledge("in")) is Verdict.CLOSED
    assert one.abandon("again") is Verdict.CLOSED
    assert one.reason == "out[0] declined: flush failed"


def test_the_decline_that_abandons_it_says_whether_that_was_an_outage_and_no_later_one() -> None:
    one = pending()
    one.decline(Decline(2, 7, "out", 0, "disk full", is_outage=True))
    assert one.decline(Decline(2, 7, "in", 0, "disk full, too", is_outage=True)) is Verdict.CLOSED
    assert one.is_outage


def test_a_time_out_names_those_who_did_not_answer() -> None:
    one = pending(("in", 0), ("out", 0), ("out", 1))
    one.acknowledge(acknowledge("in"))
    one.time_out()
    assert one.reason == "timed out waiting for out[0] (the barrier has not come), out[1] (the barrier has not come)"


def test_a_complete_checkpoint_cannot_be_abandoned() -> None:
    one = pending(("in", 0))
    one.acknowledge(acknowledge("in"))
    one.transition_to(CheckpointState.COMPLETED)
    assert one.abandon("late") is Verdict.CLOSED
    assert one.state is CheckpointState.COMPLETED


def test_it_cannot_complete_while_an_answer_is_missing() -> None:
    one = pending()
    one.acknowledge(acknowledge("in"))
    with pytest.raises(CheckpointError, match=r"out\[0\]"):
        one.transition_to(CheckpointState.COMPLETED)
    with pytest.raises(CheckpointError, match=r"out\[0\]"):
        manifest(one)


def test_a_task_has_finished_when_all_its_subtasks_have() -> None:
    one = pending(("in", 0), ("in", 1), ("out", 0))
    one.acknowledge(acknowledge("in", 0, positions={"in": {"a": "end"}}, finished=True))
    one.acknowledge(acknowledge("in", 1, positions={"in": {"b": 3}}))
    one.acknowledge(acknowledge("out", finished=True))
    found = manifest(one)
    assert found.positions == {"in": {"a": "end", "b": 3}}
    assert found.finished == ["out"], "in[1] is still running"


def test_everything_that_was_reported_is_merged() -> None:
    store = StoreSnapshot("count", 0, 0, 8, 7, 0, (), ())
    one = pending(("count", 0), ("out", 0))
    one.acknowledge(acknowledge("out", committables=[unit("t-7", 7), unit("t-5", 5)], operators={"x/0": {"a": 1}}))
    one.acknowledge(acknowledge("count", stores=[store]))
    found = manifest(one)
    assert found.stores == [store]
    assert found.operators == {"x/0": {"a": 1}}
    assert [listed.committable.id for listed in found.committables] == ["t-5", "t-7"]
    assert (found.checkpoint_id, found.attempt, found.parent, found.created_ms) == (7, 2, 6, 5)


def test_two_subtasks_that_claim_one_split_or_operator_are_refused() -> None:
    for report in ({"positions": {"in": {"p": 1}}}, {"operators": {"in/0": 1}}):
        one = pending(("in", 0), ("in", 1))
        one.acknowledge(acknowledge("in", 0, **report))
        one.acknowledge(acknowledge("in", 1, **report))
        with pytest.raises(CheckpointError, match="two subtasks"):
            manifest(one)
