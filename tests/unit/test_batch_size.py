"""How many records a batch has, by the time that batches take."""

from __future__ import annotations

import pytest

from streamlet.runtime.batch_size import BatchSize


def after(size: BatchSize, seconds_per_record: float, *, fixed: float = 0.0) -> int:
    """The size behind many batches that were as large as it allowed."""
    for _ in range(100):
        size.took(size(), fixed + size() * seconds_per_record)
    return size()


def test_a_batch_takes_about_two_milliseconds() -> None:
    assert after(BatchSize(100_000), 10e-6) == pytest.approx(200, abs=2)
    assert after(BatchSize(100_000), 2e-6) == pytest.approx(1_000, abs=10)
    assert after(BatchSize(100_000), 0.5e-6, fixed=0.001) == pytest.approx(2_000, abs=20)


def test_it_begins_small_and_has_bounds() -> None:
    assert BatchSize(2_000)() == 100
    assert BatchSize(7)() == 7
    assert after(BatchSize(2_000), 1e-9) == 2_000
    assert after(BatchSize(2_000), 0.0) == 2_000
    assert after(BatchSize(2_000), 1.0) == 1


def test_it_follows_what_becomes_slower_and_faster() -> None:
    size = BatchSize(2_000)
    assert after(size, 1e-6) == pytest.approx(2_000, abs=20)
    assert after(size, 20e-6) == pytest.approx(100, abs=2)
    assert after(size, 4e-6) == pytest.approx(500, abs=5)


def test_single_records_that_come_now_and_then_do_not_keep_it_small() -> None:
    size = BatchSize(2_000)
    for _ in range(100):
        size.took(1, 150e-6)
    needed = 0
    while size() < 700:
        size.took(size(), 150e-6 + size() * 2e-6)
        needed += 1
    assert needed < 15
