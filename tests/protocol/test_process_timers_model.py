"""Timers of a process function against sets and sorting: whatever its records and timers order, broken off anywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlet.operators.process import KeyedProcess
from tests.operators.commanded import Commanded, expected, with_end
from tests.operators.recipe import Case, Clock, Mark, Rows, Step, crashing, evicting
from tests.recovery.running_jobs import is_full_run
from tests.unit.state_kit import STORES

TIMES = st.integers(0, 30)
COMMANDS = st.lists(st.tuples(st.sampled_from(["event+", "event-", "processing+", "processing-"]), TIMES), max_size=3)
ORDERS = st.tuples(COMMANDS, st.dictionaries(TIMES, COMMANDS, max_size=3))
RECORDS = st.lists(st.tuples(ORDERS, TIMES, st.sampled_from(["", "a", "b"])), max_size=4)


@st.composite
def _steps(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    watermark = now = 0
    for what in draw(st.lists(st.sampled_from(["rows", "mark", "clock"]), min_size=1, max_size=7)):
        if what == "rows":
            records = draw(RECORDS)
            orders, times, keys = [one[0] for one in records], [one[1] for one in records], [one[2] for one in records]
            steps.append(Rows(orders, times, keys))
        elif what == "mark":
            watermark += draw(st.integers(1, 15))
            steps.append(Mark(watermark))
        else:
            now += draw(st.integers(0, 15))
            steps.append(Clock(now))
    return with_end(steps)


@pytest.mark.parametrize("kind", STORES)
@settings(max_examples=500 if is_full_run() else 15, deadline=None)
@given(steps=_steps())
def test_a_function_with_timers_does_the_same_whenever_it_is_restored(kind: type[Any], steps: list[Step]) -> None:
    case = Case("commanded", lambda: KeyedProcess(Commanded()), steps, expected(steps))
    for run in (crashing, evicting):
        with tempfile.TemporaryDirectory() as folder:
            assert run(case, kind, Path(folder)) == list(case.expected)
