"""A state many times larger than its memory, in a real process that is killed: exact, bounded, and cheap to keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.large_state import RAW_ENTRY_BYTES, Run
from tests.benchmarks.large_state_input import Input

GIVEN = Input(keys=300_000, passes=2, few=1_000, tail=600_000)
BOUND = "8MB"
MOST_RESIDENT_BYTES = 120 << 20
"""With all keys in memory it is some 180 MB: 138 MB of slots, and the interpreter."""
SECONDS = 240.0
OVERHEAD_BYTES = 4096


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run to the end of the input, killed in the second pass, and again soon after the restart."""
    folder: Path = tmp_path_factory.mktemp("large-state")
    with Run(GIVEN, BOUND, folder, interval_ms=200) as run:
        run.kill_when(lambda: run.changed() > 1.3 * GIVEN.keys, "the second pass is under way", SECONDS)
        before = len(run.manifests.seen)
        run.kill_when(lambda: len(run.manifests.seen) > before + 1, "the job goes on", SECONDS)
        job = run.finish(SECONDS)
        assert job.process.returncode == 0, job.said
        yield run


def test_every_sum_and_every_result_is_right_after_kill_9_in_a_state_larger_than_memory(run: Run) -> None:
    assert run.check() == GIVEN.keys


def test_memory_stays_bounded_by_folding_and_dropping_what_is_folded(run: Run) -> None:
    assert sum(one.is_base_new for one in run.manifests.seen) >= 10, "the state went into the base many times"
    assert run.peak_bytes < MOST_RESIDENT_BYTES
    assert run.peak_child_bytes < MOST_RESIDENT_BYTES


def test_the_log_of_a_checkpoint_is_as_large_as_what_changed(run: Run) -> None:
    for one in run.manifests.seen:
        assert one.log_bytes <= 2 * RAW_ENTRY_BYTES * one.changed + OVERHEAD_BYTES


def test_a_checkpoint_of_few_changes_brings_few_bytes_whatever_the_size_of_the_state(run: Run) -> None:
    few = [one for one in run.manifests.seen if one.changed <= GIVEN.few + 1 and not one.is_base_new]
    assert few, "the tail is longer than some checkpoint intervals"
    for one in few:
        assert one.log_bytes + one.base_bytes <= 2 * RAW_ENTRY_BYTES * one.changed + OVERHEAD_BYTES
    assert run.state_bytes() > 50 * max(one.log_bytes for one in few)
