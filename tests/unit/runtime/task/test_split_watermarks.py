"""Event time at a source: strategies, idle splits by a virtual clock, times that are none, and what is restored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from streamlet import WatermarkStrategy
from streamlet.connect import Batch
from streamlet.elements import Watermark
from streamlet.errors import JobDefinitionError, RecordError, UserFunctionError
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.split_watermarks import SplitWatermarks
from streamlet.windows import MIN_TIMESTAMP
from tests.unit.operator_kit import Origin

PLACE = Place(__file__, 3, "source", "clicks")
MINUTE = 60_000
DAY = 24 * 3600 * 1000


class VirtualClock:
    def __init__(self) -> None:
        self.seconds = 1000.0
        self.skew_ms = 0

    def now_ms(self) -> int:
        return int(self.seconds * 1000) + self.skew_ms

    def monotonic(self) -> float:
        return self.seconds


CLOCK = VirtualClock()
BOUNDED = WatermarkStrategy.bounded_out_of_orderness(timedelta(milliseconds=10))


def _times(strategy: WatermarkStrategy[Any], *splits: str, clock: VirtualClock = CLOCK) -> SplitWatermarks:
    return SplitWatermarks(strategy, PLACE, 0, clock, splits)


def _read(times: SplitWatermarks, split: str, *timestamps: int) -> bool:
    """Does with a batch what the subtask does; True when the watermark changed."""
    before = times.current
    times.hear(split)
    times.follow(times.timed(Batch(list(timestamps), list(timestamps), split=split)))
    return times.current != before


def test_it_stays_the_delay_and_one_millisecond_behind_the_newest_record() -> None:
    times = _times(BOUNDED, "a")
    assert _read(times, "a", 100, 50, 90)
    assert times.current == Watermark(89)
    assert not _read(times, "a", 99)
    assert times.current == Watermark(89)


def test_monotonic_lets_equal_times_follow() -> None:
    times = _times(WatermarkStrategy.monotonic(), "a")
    _read(times, "a", 100)
    assert times.current == Watermark(99)


def test_a_function_gives_the_watermark_of_each_record_or_none() -> None:
    times = _times(WatermarkStrategy.from_function(lambda value, time: time if value % 2 else None), "a")
    _read(times, "a", 3, 7, 8)
    assert times.current == Watermark(7)
    assert not _read(times, "a", 10, 12)


def test_the_lowest_split_counts_and_a_new_one_holds_back_what_comes_after_it() -> None:
    times = _times(BOUNDED, "a", "b")
    _read(times, "a", 100)
    assert times.current == Watermark(MIN_TIMESTAMP)
    _read(times, "b", 60)
    assert times.current == Watermark(49)
    times.add("c")
    assert not _read(times, "b", 200)
    assert _read(times, "c", 150)
    assert times.current == Watermark(89)


def test_a_subtask_without_splits_is_idle_until_it_gets_one() -> None:
    times = _times(BOUNDED)
    assert times.current == Watermark(MIN_TIMESTAMP, is_idle=True)
    times.add("a")
    assert times.check()
    assert times.current == Watermark(MIN_TIMESTAMP)


def test_a_silent_split_is_idle_after_the_time_out_and_speaks_again_with_its_next_record() -> None:
    clock = VirtualClock()
    times = _times(BOUNDED.with_idleness(timedelta(seconds=5)), "a", "b", clock=clock)
    _read(times, "b", 100)
    clock.seconds += 4
    _read(times, "a", 300)
    assert times.next_check() == 1005.0
    assert not times.check()
    clock.seconds += 1
    assert times.check()
    assert times.current == Watermark(289)
    assert times.next_check() == 1009.0
    assert not _read(times, "b", 150)
    _read(times, "a", 400)
    assert times.current == Watermark(289)
    assert _read(times, "b", 350)
    assert times.current == Watermark(339)


def test_when_all_splits_are_silent_the_subtask_is_idle() -> None:
    clock = VirtualClock()
    times = _times(BOUNDED.with_idleness(timedelta(seconds=5)), "a", "b", clock=clock)
    _read(times, "b", 100)
    clock.seconds += 5
    assert times.check()
    assert times.current == Watermark(89, is_idle=True)
    assert times.next_check() is None
    assert times.hear("a")
    assert times.current == Watermark(89)


def test_time_in_which_the_job_could_not_read_makes_nobody_idle() -> None:
    clock = VirtualClock()
    times = _times(BOUNDED.with_idleness(timedelta(seconds=5)), "a", clock=clock)
    _read(times, "a", 100)
    clock.seconds += 60
    times.held(58)
    assert not times.check()
    assert times.next_check() == 1000.0 + 5 + 58
    clock.seconds += 3
    assert times.check()


def test_a_wall_clock_that_jumps_makes_nobody_idle() -> None:
    clock = VirtualClock()
    times = _times(BOUNDED.with_idleness(timedelta(seconds=5)), "a", clock=clock)
    _read(times, "a", 100)
    clock.skew_ms = DAY
    assert not times.check()


def test_a_silent_split_that_holds_others_back_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    times = _times(BOUNDED, "a", "b", clock=clock)
    with caplog.at_level(logging.WARNING, "streamlet.runtime"):
        for second in range(40):
            clock.seconds += 1
            _read(times, "a", second)
            due = times.next_check()
            assert due is None or due > clock.seconds - 1
            times.check()
    (record,) = caplog.records
    assert "split b of source 'clicks' has had no record for" in record.getMessage()
    assert ".with_idleness(" in record.getMessage()


@pytest.mark.parametrize("splits", [("a",), ("a", "b")])
def test_where_all_are_silent_or_idleness_is_set_nothing_is_told(
    splits: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    for strategy in (BOUNDED, BOUNDED.with_idleness(timedelta(seconds=3))):
        clock = VirtualClock()
        times = _times(strategy, *splits, clock=clock)
        for split in splits:
            _read(times, split, 1)
        for second in range(40):
            clock.seconds += 1
            if strategy is not BOUNDED:
                _read(times, "a", second)
            times.check()
            due = times.next_check()
            assert due is None or due > clock.seconds - 1 or strategy is not BOUNDED
    assert not caplog.records


def test_a_time_far_ahead_of_the_clock_does_not_move_the_watermark(caplog: pytest.LogCaptureFixture) -> None:
    times = _times(BOUNDED, "a")
    with caplog.at_level(logging.WARNING, "streamlet.runtime"):
        _read(times, "a", 100, CLOCK.now_ms() + MINUTE + 1, 110)
        _read(times, "a", CLOCK.now_ms() + 2 * DAY, CLOCK.now_ms() + MINUTE + 1)
    assert times.current == Watermark(99)
    assert times.ahead == 3
    (record,) = caplog.records
    assert "source 'clicks': a record is more than 0:01:00" in record.getMessage()
    assert _read(times, "a", CLOCK.now_ms() + MINUTE)


@pytest.mark.parametrize(
    "time, unit, day",
    [
        (1_700_000_000, "seconds", "2023-11-14"),
        (1_700_000_000_000_000, "microseconds", "2023-11-14"),
        (1_700_000_000_123_456_789, "nanoseconds", "2023-11-14"),
        (1_700_000_000_000, None, ""),
        (0, None, ""),
        (-86_400_000, None, ""),
        (5_000_000, None, ""),
    ],
)
def test_a_time_in_another_unit_than_milliseconds_is_told_of_once(
    time: int, unit: str | None, day: str, caplog: pytest.LogCaptureFixture
) -> None:
    times = _times(BOUNDED.with_timestamps(lambda value: value), "a")
    with caplog.at_level(logging.WARNING, "streamlet.operators"):
        for _ in range(2):
            times.timed(Batch([time, time + 1], split="a", origin=Origin()))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (unit is not None)
    assert not said or (f"in {unit} that is {day}" in said[0] and "If it is in" in said[0])


def test_a_far_watermark_of_a_function_is_named_and_the_others_of_its_batch_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = _times(WatermarkStrategy.from_function(lambda value, timestamp: value), "a")
    now = CLOCK.now_ms()
    values = [now - 30, now + 2 * DAY, None, now - 20, now + 3 * DAY, now - 25]
    times.hear("a")
    with caplog.at_level(logging.WARNING, "streamlet.runtime"):
        assert times.follow(times.timed(Batch(values, [1, 2, 3, 4, 5, 6], split="a", origin=Origin())))
        assert (times.current, times.ahead) == (Watermark(now - 20), 2)
        assert not times.follow(times.timed(Batch([now + 2 * DAY, None], [7, 8], split="a")))
    (record,) = caplog.records
    assert "record 4" in record.getMessage()
    assert (times.current, times.ahead) == (Watermark(now - 20), 3)


def test_the_limit_ahead_of_the_clock_can_be_set_and_lifted() -> None:
    times = _times(BOUNDED.with_max_ahead(None), "a")
    _read(times, "a", CLOCK.now_ms() + 9 * DAY)
    assert times.current == Watermark(CLOCK.now_ms() + 9 * DAY - 11)
    times = _times(BOUNDED.with_max_ahead(timedelta(seconds=1)), "a")
    assert not _read(times, "a", CLOCK.now_ms() + 1001)
    times = _times(WatermarkStrategy.from_function(lambda _, timestamp: timestamp), "a")
    assert not _read(times, "a", CLOCK.now_ms() + DAY + 1)
    assert times.ahead == 1


def test_processing_time_follows_the_clock_with_and_without_records() -> None:
    clock = VirtualClock()
    times = _times(WatermarkStrategy.processing_time(), "a", "b", clock=clock)
    batch = times.timed(Batch(["x", "y"], [1, 2], split="a"))
    assert batch.timestamps == [1_000_000, 1_000_000]
    clock.seconds += 0.2
    assert times.check()
    assert times.current == Watermark(1_000_199)
    clock.skew_ms = -5000
    assert not times.check()
    assert times.timed(Batch(["x"], split="a")).timestamps == [1_000_200]


def test_processing_time_goes_on_from_where_it_stood_when_the_clock_was_set_back_between_two_starts() -> None:
    clock = VirtualClock()
    first = _times(WatermarkStrategy.processing_time(), "a", clock=clock)
    first.follow(first.timed(Batch(["x"], split="a")))
    clock.skew_ms = -5000
    second = _times(WatermarkStrategy.processing_time(), "a", clock=clock)
    second.restore([first.snapshot()])
    assert second.timed(Batch(["y"], split="a")).timestamps == [1_000_000]
    assert second.current == Watermark(999_999)


def test_times_from_the_value_replace_those_of_the_source() -> None:
    times = _times(BOUNDED.with_timestamps(lambda value: value["at"]), "a")
    batch = times.timed(Batch([{"at": 7}], [99], split="a", next_position=4, rows=[3]))
    assert batch.timestamps == [7]
    assert (batch.split, batch.next_position, batch.rows) == ("a", 4, [3])


@pytest.mark.parametrize("wrong", [None, "2020-01-01", True, -(1 << 63), 1.5, 1 << 63], ids=repr)
def test_what_is_no_time_names_line_operator_record_and_remedy(wrong: Any) -> None:
    def time_of(value: Any) -> Any:
        return wrong if value == "bad" else 5

    line = time_of.__code__.co_firstlineno
    times = _times(BOUNDED.with_timestamps(time_of), "a")
    with pytest.raises(RecordError) as caught:
        times.timed(Batch(["fine", "bad"], split="a", origin=Origin()))
    first, text, *rest = caught.value.message.splitlines()
    assert first == f"{__file__}:{line}: the timestamp function gave {wrong!r} as the time of a record"
    assert text.strip() == "def time_of(value: Any) -> Any:"
    assert rest[0].startswith(f"  in source 'clicks', subtask 0, made at {__file__}:3")
    assert rest[1] == "  record: record 1"
    assert "epoch milliseconds" in str(caught.value.remedy)


def test_a_time_of_the_source_that_is_none_says_so() -> None:
    with pytest.raises(RecordError, match=r"the source gave -1 as the time of a record(.|\n)*with_timestamps"):
        _times(BOUNDED, "a").timed(Batch(["x"], [-1], split="a"))
    with pytest.raises(JobDefinitionError, match=r"clicks' have no time of their own(.|\n)*with_timestamps"):
        _times(BOUNDED, "a").timed(Batch(["x"], split="a"))


def test_functions_that_raise_name_their_line() -> None:
    times = _times(BOUNDED.with_timestamps(lambda value: value["at"]), "a")
    with pytest.raises(UserFunctionError, match=r"test_split_watermarks\.py:\d+ in <lambda>: KeyError"):
        times.timed(Batch([{}], split="a"))
    times = _times(WatermarkStrategy.from_function(lambda value, _: value), "a")
    with pytest.raises(RecordError, match="the watermark function gave 'x'"):
        times.follow(times.timed(Batch(["x"], [1], split="a")))


def test_splits_are_restored_wherever_they_are_read_now() -> None:
    one, other = _times(BOUNDED, "a", "b"), _times(BOUNDED, "c")
    _read(one, "a", 100)
    _read(one, "b", 60)
    _read(other, "c", 500)
    snapshots = [one.snapshot(), other.snapshot(), _times(BOUNDED).snapshot()]
    moved = _times(BOUNDED, "c", "a")
    moved.restore(snapshots)
    assert moved.current == Watermark(89)
    assert not _read(moved, "c", 600)
    assert _read(moved, "a", 700)
    assert moved.current == Watermark(589)


def test_what_an_idle_split_let_pass_is_not_taken_back_by_a_restore() -> None:
    clock = VirtualClock()
    times = _times(BOUNDED.with_idleness(timedelta(seconds=5)), "a", "b", clock=clock)
    _read(times, "b", 10)
    clock.seconds += 5
    _read(times, "a", 100)
    times.check()
    assert times.current == Watermark(89)
    restored = _times(BOUNDED, "a", "b")
    restored.restore([times.snapshot()])
    assert restored.current == Watermark(89)


@pytest.mark.parametrize(
    "build",
    [
        lambda: WatermarkStrategy.bounded_out_of_orderness(5),  # type: ignore[arg-type]
        lambda: WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=-1)),
        lambda: BOUNDED.with_idleness(timedelta(0)),
        lambda: BOUNDED.with_max_ahead(timedelta(seconds=-1)),
        lambda: BOUNDED.with_timestamps("at"),  # type: ignore[arg-type]
        lambda: WatermarkStrategy.from_function(None),  # type: ignore[arg-type]
        lambda: WatermarkStrategy.processing_time().with_timestamps(int),
    ],
)
def test_a_wrong_strategy_names_the_line(build: Callable[[], object]) -> None:
    with pytest.raises(JobDefinitionError, match=r"test_split_watermarks\.py:\d+: ") as caught:
        build()
    assert caught.value.remedy is not None
