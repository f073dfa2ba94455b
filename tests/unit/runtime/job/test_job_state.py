"""The states of a job."""

from __future__ import annotations

from itertools import pairwise

import pytest

from streamlet.errors import StreamletError
from streamlet.runtime.job.job_state import JobLife, JobState

ENDS = (JobState.FINISHED, JobState.SUSPENDED, JobState.FAILED)


def _life(*states: str) -> JobLife:
    life = JobLife()
    for state in states:
        life.transition_to(JobState(state))
    return life


@pytest.mark.parametrize(
    "way",
    [
        ("restoring", "running", "finished"),
        ("restoring", "finished"),
        ("restoring", "running", "stopping", "suspended"),
        ("restoring", "suspended"),
        ("restoring", "running", "restarting", "restoring", "running", "failed"),
        ("restoring", "restarting", "suspended"),
        ("failed",),
    ],
)
def test_the_ways_through_a_life_are_allowed(way: tuple[str, ...]) -> None:
    assert _life(*way).state is JobState(way[-1])


@pytest.mark.parametrize("way", [("restoring", "stopping"), ("running",), ("restoring", "running", "restoring")])
def test_what_the_table_does_not_have_is_refused_and_changes_nothing(way: tuple[str, ...]) -> None:
    life = _life(*way[:-1])
    before = life.state
    with pytest.raises(StreamletError, match=f"a job that is {before.value} cannot become {way[-1]}"):
        life.transition_to(JobState(way[-1]))
    assert life.state is before


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("then", JobState)
def test_nothing_follows_an_end(end: JobState, then: JobState) -> None:
    life = JobLife()
    life.state = end
    with pytest.raises(StreamletError):
        life.transition_to(then)


def test_every_state_but_the_ends_can_fail() -> None:
    for state in JobState:
        life = JobLife()
        life.state = state
        if state not in ENDS:
            life.transition_to(JobState.FAILED)


def test_a_life_walks_only_through_neighbours() -> None:
    way = [JobState.CREATED, JobState.RESTORING, JobState.RUNNING, JobState.RESTARTING, JobState.RESTORING]
    life = JobLife()
    for before, after in pairwise(way):
        assert life.state is before
        life.transition_to(after)
