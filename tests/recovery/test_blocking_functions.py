"""A function of the job that blocks stops the event loop; the job names its line, and is back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.part_files import check_counts
from tests.recovery.running_jobs import PROJECT, a_home

pytestmark = pytest.mark.timeout(120)

BLOCKING = PROJECT / "tests" / "recovery" / "blocking.py"
COUNT = 4_000


@pytest.mark.parametrize("processes", [1, 2])
def test_a_function_that_blocks_is_named_and_interrupted_and_the_restart_goes_on_exactly_once(
    tmp_path: Path, processes: int
) -> None:
    line = next(number for number, text in enumerate(BLOCKING.read_text().splitlines(), 1) if "time.sleep" in text)
    with a_home(BLOCKING, tmp_path, {"COUNT": str(COUNT)}) as home:
        job = home.start("--processes", str(processes))
        assert job.wait() == 0, job.said
    spot = f"{BLOCKING}:{line} in blocking"
    assert f"warning: {spot} has held the event loop for " in job.said
    assert f"warning: {spot}: FunctionBlockedError: the function has held the event loop for " in job.said
    assert "in map 'blocking', subtask" in job.said
    assert "record: key " in job.said
    assert job.said.count("\nrestart ") == 1
    check_counts(tmp_path / "out", (number % 7 for number in range(COUNT)), key="key")
