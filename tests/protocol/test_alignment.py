"""The aligner against every interleaving that Hypothesis finds: nothing overtakes a barrier."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlet.checkpoint.alignment import BarrierAligner
from streamlet.errors import StreamletError

RECORD, BARRIER, END = "record", "barrier", "end"


@st.composite
def inputs(draw: st.DrawFn) -> list[list[tuple[str, int]]]:
    """Some inputs that all carry the same barriers in order, with records anywhere and the end anywhere; a record
    carries the number of the checkpoint that it belongs to."""
    barriers = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=6)))
    made = []
    for _ in range(draw(st.integers(1, 5))):
        end_before = draw(st.integers(0, len(barriers)))
        elements: list[tuple[str, int]] = []
        for place in range(len(barriers) + 1):
            if place <= end_before:
                elements += [(RECORD, place)] * draw(st.integers(0, 3))
            if place == end_before:
                elements.append((END, place))
            if place < len(barriers):
                elements.append((BARRIER, barriers[place]))
        made.append(elements)
    return made


@settings(max_examples=400)
@given(inputs(), st.data())
def test_nothing_passes_between_an_inputs_barrier_and_the_alignment(
    queues: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    barriers = [number for kind, number in queues[0] if kind == BARRIER]
    records = sum(kind == RECORD for queue in queues for kind, _ in queue)
    aligner = BarrierAligner(len(queues))
    waiting = [list(queue) for queue in queues]
    aligned: list[int] = []
    ended = passed = 0
    while any(waiting):
        free = [index for index, queue in enumerate(waiting) if queue and not aligner.is_blocked(index)]
        assert free, "every input that has something is blocked: this can never go on"
        index = data.draw(st.sampled_from(free))
        kind, number = waiting[index].pop(0)
        if kind == RECORD:
            assert number == len(aligned), "a record of one checkpoint was taken during another"
            passed += 1
        elif kind == END:
            ended += aligner.end(index)
        elif aligner.barrier(index, number):
            aligned.append(number)
            assert aligner.checkpoint_id is None
            assert not any(aligner.is_blocked(one) for one in range(len(queues)))
        else:
            assert aligner.checkpoint_id == number
            assert aligner.is_blocked(index)
    assert aligned == barriers
    assert (passed, ended) == (records, 1)


@given(st.integers(2, 5), st.data())
def test_a_barrier_is_complete_exactly_when_the_last_input_had_it(count: int, data: st.DataObject) -> None:
    aligner = BarrierAligner(count)
    order = data.draw(st.permutations(range(count)))
    assert [aligner.barrier(index, 3) for index in order] == [False] * (count - 1) + [True]


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([("barrier", 0, 1), ("barrier", 0, 1)], "which is blocked by its last barrier"),
        ([("barrier", 0, 1), ("barrier", 0, 2)], "which is blocked by its last barrier"),
        ([("barrier", 0, 1), ("barrier", 1, 2)], "while 1 is aligned"),
        ([("barrier", 0, 2), ("barrier", 1, 1)], "while 2 is aligned"),
        ([("barrier", 0, 1), ("barrier", 1, 1), ("barrier", 0, 1)], "after barrier 1"),
        ([("barrier", 0, 5), ("barrier", 1, 5), ("barrier", 1, 4)], "after barrier 5"),
        ([("end", 0), ("end", 0)], "input 0 ended twice"),
    ],
)
def test_a_broken_order_is_refused(calls: list[tuple[Any, ...]], message: str) -> None:
    aligner = BarrierAligner(2)
    *before, (name, *arguments) = calls
    for method, *given_arguments in before:
        getattr(aligner, method)(*given_arguments)
    with pytest.raises(StreamletError, match=message):
        getattr(aligner, name)(*arguments)


def test_one_input_is_never_blocked() -> None:
    aligner = BarrierAligner(1)
    assert [aligner.barrier(0, number) for number in (0, 1, 7)] == [True] * 3
    assert not aligner.is_blocked(0)


def test_an_input_that_ended_still_takes_part_in_barriers() -> None:
    aligner = BarrierAligner(2)
    assert not aligner.end(0)
    assert not aligner.barrier(1, 1)
    assert aligner.barrier(0, 1)
    assert aligner.end(1)
