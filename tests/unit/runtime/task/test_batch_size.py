"""How many records a batch has, by the time that batches take."""

from __future__ import annotations

import pytest

from streamlet.runtime.task.batch_size import BatchSize


def after(size: BatchSize, seconds_per_record: float, *, fixed: float = 0.0) -> int:
    """The size behind many batches that were as large as it allowed."""
    for _ in range(100):
        size.took(size(), fixed + size() * seconds_per_record)
    return size()


def test_a_batch_takes_about_two_milliseconds() -> None:
    assert after(BatchSize(100_000), 10e-6) == pytest.approx(200, abs=2)
    assert after(BatchSize(100_000), 2e-6) == pytest.approx(1_000, abs=10)
    assert after(BatchSize(100_000), 0.5e-6, fixed=0.001) == pytest.approx(2_000, abs=20)


def test_it_begins_with_one_record_and_has_bounds() -> None:
    assert BatchSize(2_000)() == 1
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


def test_what_each_record_lets_a_batch_wait_adds_up_to_a_tenth_of_a_second_at_most() -> None:
    size = BatchSize(2_000)
    for _ in range(30):
        size.took(size(), size() * 1e-6, waited=size() * 0.011)
        assert size() <= 16
    assert size() == 9


def test_a_sink_that_takes_as_long_for_one_record_as_for_many_is_given_many() -> None:
    size = BatchSize(2_000)
    for _ in range(15):
        size.took(size(), size() * 1e-6, waited=0.3 + size() * 1e-6)
    assert size() > 1_000


def test_a_batch_gives_those_behind_it_no_more_than_a_moments_work() -> None:
    size = BatchSize(2_000)
    for _ in range(100):
        size.took(size(), size() * 1e-6, behind=size() * 0.02)
    assert size() == 2
    for _ in range(100):
        size.took(1, 1e-6, behind=1000 * 0.02)
    assert size() == 1, "one record that gives a thousand cannot be cut"


def test_a_batch_has_at_most_twice_as_many_records_as_were_seen() -> None:
    size = BatchSize(2_000)
    for _ in range(100):
        size.took(3, 1e-6)
    assert size() == 6
