"""Where subtasks and splits lie: every one once, and forward channels within a process."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlet import Count, Job
from streamlet.runtime.task.placement import Placement, describe_placement, receivers_of, senders_of, splits_of
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


def _job(parallelism: int) -> Job:
    job = Job("j", parallelism=parallelism)
    numbers = job.source(Generator(int, count=1), uid="in")
    numbers.key_by(abs, uid="k").aggregate(Count(), uid="count").sink(Print(), uid="out")
    numbers.map(abs, uid="abs", parallelism=2).sink(Print(), uid="out2", parallelism=2)
    return job


@given(st.integers(1, 9), st.integers(0, 40))
def test_every_subtask_lies_in_one_process(processes: int, subtask: int) -> None:
    hosts = [here for here in range(processes) if Placement(processes, here).is_here(subtask)]
    assert hosts == [Placement(processes).process_of(subtask)]


@given(st.integers(1, 5))
def test_senders_and_receivers_of_an_edge_are_the_same_channels(parallelism: int) -> None:
    plan = _job(parallelism).plan()
    for task in plan.tasks:
        for edge in task.outputs:
            to = plan.tasks[edge.to_task]
            out = {(one, other) for one in range(task.parallelism) for other in receivers_of(plan, edge, one)}
            into = {(one, other) for other in range(to.parallelism) for one in senders_of(plan, edge, other)}
            assert out == into


@given(st.dictionaries(st.text(), st.integers()), st.integers(1, 7))
def test_every_split_is_read_by_one_subtask_and_the_load_is_even(splits: dict[str, int], parallelism: int) -> None:
    dealt = [splits_of(splits, subtask, parallelism) for subtask in range(parallelism)]
    assert sum(map(len, dealt)) == len(splits)
    assert {split: position for one in dealt for split, position in one.items()} == splits
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_the_placement_is_told_by_process() -> None:
    assert describe_placement(_job(3).plan(), 2) == (
        "process 0: in[0], in[2], count[0], count[2], abs[0]\nprocess 1: in[1], count[1], abs[1]"
    )
