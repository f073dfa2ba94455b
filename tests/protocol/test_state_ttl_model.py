"""States with a time to live against dictionaries: whatever is written and read when, broken off anywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlet import StateTtl
from streamlet.operators.process import KeyedProcess
from tests.operators.living import COMMANDS, LASTING, expected
from tests.operators.recipe import Case, Clock, Mark, Rows, Step, crashing, evicting
from tests.recovery.running_jobs import is_full_run
from tests.unit.state_kit import STORES

RECORDS = st.lists(
    st.tuples(st.tuples(st.sampled_from(COMMANDS), st.integers(0, 9)), st.integers(-120, 60), st.sampled_from("ab")),
    max_size=5,
)


@st.composite
def _steps(draw: st.DrawFn) -> list[Step]:
    steps: list[Step] = []
    watermark = now = 0
    for what in draw(st.lists(st.sampled_from(["rows", "mark", "clock"]), min_size=1, max_size=7)):
        if what == "rows":
            records = draw(RECORDS)
            commands, keys = [record[0] for record in records], [record[2] for record in records]
            steps.append(Rows(commands, [watermark + record[1] for record in records], keys))
            steps.append(Rows([("look", 0)] * 2, [watermark + 1] * 2, ["a", "b"]))
        elif what == "mark":
            watermark += draw(st.integers(1, 130))
            steps.append(Mark(watermark))
        else:
            now += draw(st.integers(0, 130))
            steps.append(Clock(now))
    return steps


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("ttl", LASTING, ids=lambda ttl: f"{ttl.time}-{ttl.refresh}")
@settings(max_examples=200 if is_full_run() else 8, deadline=None)
@given(steps=_steps())
def test_what_is_over_is_never_seen_again_and_the_rest_always(
    ttl: StateTtl, kind: type[Any], steps: list[Step]
) -> None:
    case = Case("lasting", lambda: KeyedProcess(LASTING[ttl]()), steps, expected(ttl, steps))
    for run in (crashing, evicting):
        with tempfile.TemporaryDirectory() as folder:
            assert run(case, kind, Path(folder)) == list(case.expected)
