"""How much may be on the way to a task: what its receivers work off in a tenth of a second, by their own pace."""

from __future__ import annotations

import pytest

from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.pace import Waits


def _worked(backlog: Backlog, records: int, seconds: float, others: float = 0.0, times: int = 1) -> None:
    """Batches of one receiver, each of which took so long, and `others` beside it."""
    for _ in range(times):
        backlog.begin(0.0)
        backlog.done(seconds + others, records, seconds)


def _fill(backlog: Backlog, size: int = 1, epoch: int = 0) -> int:
    """Sends batches as long as there is room; gives how many records are on the way."""
    while backlog.has_room(epoch):
        backlog.add(epoch, size)
    return backlog.records


def test_one_record_may_come_before_anything_is_known() -> None:
    assert _fill(Backlog(1000)) == 1


def test_records_on_the_way_are_a_tenth_of_a_second_of_work() -> None:
    for seconds, records in ((0.2, 1), (0.045, 3), (0.02, 5), (0.001, 100), (1e-6, 1000)):
        backlog = Backlog(1000)
        _worked(backlog, 1, seconds, times=10)
        assert abs(_fill(backlog) - records) <= 1, seconds


def test_a_batch_of_any_size_may_come_where_nothing_is_on_the_way() -> None:
    backlog = Backlog(1000)
    _worked(backlog, 1, 0.2)
    assert _fill(backlog, size=5000) == 5000
    backlog.remove(0, 5000)
    assert backlog.has_room(0)


def test_the_pace_follows_a_function_that_becomes_slow_and_one_that_becomes_fast() -> None:
    backlog = Backlog(100_000)
    _worked(backlog, 1000, 0.002, times=100)
    assert backlog.seconds_per_record < 3e-6
    _worked(backlog, 1, 0.05, times=60)
    assert backlog.seconds_per_record > 0.03
    _worked(backlog, 1000, 0.002, times=10)
    assert backlog.seconds_per_record < 1e-3


def test_one_slow_record_in_a_hundred_is_remembered() -> None:
    backlog = Backlog(100_000)
    for _ in range(5):
        _worked(backlog, 1, 0.2)
        _worked(backlog, 1, 0.001, times=99)
    assert backlog.seconds_per_record > 0.0015


def test_a_stall_of_a_fast_function_is_soon_forgotten() -> None:
    backlog = Backlog(4000)
    _worked(backlog, 1000, 0.002, times=100)
    _worked(backlog, 1000, 0.5)
    _worked(backlog, 1000, 0.002, times=20)
    assert backlog.seconds_per_record < 2.5e-5


def test_time_that_does_not_grow_with_records_bounds_batches_and_not_records() -> None:
    backlog = Backlog(100_000)
    for size in (1, 2, 4, 8, 16, 32, 64):
        _worked(backlog, size, size * 1e-6, others=0.05)
    assert backlog.seconds_per_record < 1e-4
    assert _fill(backlog, size=64) == 128, "two batches take a tenth of a second"


def test_what_several_receivers_do_at_once_counts_once() -> None:
    backlog = Backlog(1000)
    for number in range(20):
        began = number * 0.02
        for _ in range(4):
            backlog.begin(began)
        for _ in range(4):
            backlog.done(began + 0.02, 1, 0.02)
    assert 0.004 < backlog.seconds_per_record < 0.008


def test_what_is_behind_a_barrier_takes_no_room_from_what_is_before_it() -> None:
    backlog = Backlog(1000)
    backlog.add(7, 1)
    assert not backlog.has_room(7)
    assert backlog.has_room(6)
    backlog.add(6, 1)
    assert not backlog.has_room(6)
    backlog.remove(6, 1)
    assert backlog.has_room(6)
    assert not backlog.has_room(7)


def test_who_waits_is_woken_once_when_there_is_room() -> None:
    backlog = Backlog(1000)
    woken: list[str] = []
    backlog.add(0, 1)
    backlog.add(0, 1)
    wake = lambda: woken.append("a")  # noqa: E731
    backlog.wake_when_roomy(0, wake)
    backlog.wake_when_roomy(0, wake)
    backlog.wake_when_roomy(0, lambda: woken.append("b"))
    backlog.remove(0, 1)
    assert woken == []
    backlog.remove(0, 1)
    assert woken == ["a", "b"]
    backlog.add(0, 1)
    backlog.remove(0, 1)
    assert woken == ["a", "b"]


def test_who_must_still_send_its_barrier_is_woken_when_only_what_waits_for_that_is_left() -> None:
    backlog = Backlog(1)
    backlog.add(1, 1)
    backlog.add(2, 1)
    woken: list[int] = []
    backlog.wake_when_roomy(1, lambda: woken.append(1))
    backlog.wake_when_roomy(2, lambda: woken.append(2))
    backlog.remove(1, 1)
    assert backlog.has_room(1) and not backlog.has_room(2)
    assert woken == [1]
    backlog.remove(2, 1)
    assert woken == [1, 2]


def test_a_pace_that_becomes_faster_wakes_too() -> None:
    backlog = Backlog(1000)
    woken: list[str] = []
    backlog.add(0, 1)
    backlog.wake_when_roomy(0, lambda: woken.append("a"))
    backlog.told(0.0, 0.01)
    assert woken == ["a"]


def test_waits_are_the_batchs_until_sizes_show_that_they_are_the_records() -> None:
    waits = Waits()
    for _ in range(5):
        waits.took(1, 0.1)
    assert waits.per_batch == pytest.approx(0.1) and waits.per_record == 0.0
    waits.took(2, 0.2)
    assert abs(waits.per_record - 0.1) < 1e-6
    assert waits.per_batch < 1e-6
