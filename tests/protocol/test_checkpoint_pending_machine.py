"""Whatever messages come in whatever order, a checkpoint ends one way, and the way does not depend on the order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.messages import Acknowledge, Decline, SubtaskReport
from streamlet.checkpoint.pending import CheckpointState, PendingCheckpoint, Verdict
from streamlet.errors import CheckpointError

TASKS = [("in", 0), ("in", 1), ("out", 0)]
ALLOWED = {
    (CheckpointState.PENDING, CheckpointState.COMPLETED),
    (CheckpointState.PENDING, CheckpointState.ABORTED),
    (CheckpointState.COMPLETED, CheckpointState.COMMITTED),
    (CheckpointState.COMPLETED, CheckpointState.SUBSUMED),
    (CheckpointState.COMMITTED, CheckpointState.SUBSUMED),
}

places = st.sampled_from([*TASKS, ("in", 2), ("other", 0)])
ids = st.tuples(st.integers(1, 3), st.integers(6, 8))
events = st.lists(st.tuples(st.sampled_from(["ack", "decline", "time_out"]), ids, places), max_size=25)


@given(events)
def test_it_completes_exactly_when_all_answered_before_anyone_declined(
    sent: list[tuple[str, tuple[int, int], tuple[str, int]]],
) -> None:
    one = PendingCheckpoint(7, 2, TASKS)
    answered: set[tuple[str, int]] = set()
    is_over = False
    for kind, (attempt, number), (task, subtask) in sent:
        is_for_us = (attempt, number) == (2, 7) and (task, subtask) in TASKS
        if kind == "time_out":
            assert (one.time_out() is Verdict.ACCEPTED) == (not is_over)
            is_over = True
        elif kind == "decline":
            verdict = one.decline(Decline(attempt, number, task, subtask, "why"))
            assert (verdict is Verdict.ACCEPTED) == (is_for_us and not is_over)
            is_over |= is_for_us
        else:
            verdict = one.acknowledge(Acknowledge(attempt, number, SubtaskReport(task=task, subtask=subtask)))
            is_new = is_for_us and not is_over and (task, subtask) not in answered
            assert (verdict is Verdict.ACCEPTED) == is_new
            if is_new:
                answered.add((task, subtask))
    assert (one.state is CheckpointState.ABORTED) == is_over
    assert one.is_fully_acknowledged == (answered == set(TASKS))
    assert one.missing() == sorted(set(TASKS) - answered)


@given(st.lists(st.sampled_from(CheckpointState), min_size=1, max_size=8))
def test_only_the_steps_of_the_diagram_are_taken(wanted: list[CheckpointState]) -> None:
    one = PendingCheckpoint(7, 2, [])
    seen = [one.state]
    for state in wanted:
        try:
            one.transition_to(state)
        except CheckpointError:
            assert (one.state, state) not in ALLOWED
        else:
            seen.append(state)
    assert all(step in ALLOWED for step in pairwise(seen))


@given(st.permutations(TASKS))
def test_the_manifest_does_not_depend_on_the_order_of_answers(order: list[tuple[str, int]]) -> None:
    def built(subtasks: list[tuple[str, int]]) -> Manifest:
        one = PendingCheckpoint(7, 2, TASKS)
        for task, subtask in subtasks:
            positions = {task: {f"split-{subtask}": subtask}}
            one.acknowledge(Acknowledge(2, 7, SubtaskReport(task=task, subtask=subtask, positions=positions)))
        return one.manifest(
            job="j", kind="periodic", parent=None, created_ms=0, key_groups=8, parallelism={}, states=[]
        )

    assert built(order) == built(TASKS)
