"""The states of a subtask."""

from __future__ import annotations

from itertools import pairwise

import pytest

from streamlet.errors import StreamletError
from streamlet.runtime.task.subtask_state import SubtaskLife, SubtaskState

WAYS = (
    ("created", "opening", "running", "ending", "ended", "closed"),
    ("created", "opening", "running", "stopped", "closed"),
    ("created", "opening", "running", "ending", "closed"),
    ("created", "opening", "running", "ending", "stopped", "closed"),
    ("created", "opening", "running", "closed"),
    ("created", "opening", "closed"),
    ("created", "closed"),
)
MOVES = {move for way in WAYS for move in pairwise(way)}
NO_MOVES = sorted({(one.value, other.value) for one in SubtaskState for other in SubtaskState} - MOVES)


def _at(state: str) -> SubtaskLife:
    life = SubtaskLife()
    way = next(way for way in WAYS if state in way)
    for step in way[1 : way.index(state) + 1]:
        life.transition_to(SubtaskState(step))
    return life


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_through_a_life_are_allowed(way: tuple[str, ...]) -> None:
    life = SubtaskLife()
    for step in way[1:]:
        life.transition_to(SubtaskState(step))
    assert life.state is SubtaskState(way[-1])


@pytest.mark.parametrize(("state", "to"), NO_MOVES)
def test_what_the_table_does_not_have_is_refused_and_changes_nothing(state: str, to: str) -> None:
    life = _at(state)
    with pytest.raises(StreamletError, match=f"a subtask that is {state} cannot become {to}"):
        life.transition_to(SubtaskState(to))
    assert life.state is SubtaskState(state)


def test_a_subtask_is_ending_from_where_its_input_was_taken_in_and_ended_when_its_operators_are() -> None:
    assert [(_at(one.value).is_ending, _at(one.value).is_ended) for one in SubtaskState] == [
        (False, False),
        (False, False),
        (False, False),
        (True, False),
        (True, True),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize(("state", "then"), [("running", "stopped"), ("ending", "stopped"), ("ended", "ended")])
def test_a_last_barrier_that_comes_twice_stops_what_has_not_ended_once(state: str, then: str) -> None:
    life = _at(state)
    life.stop()
    life.stop()
    assert life.state is SubtaskState(then)
