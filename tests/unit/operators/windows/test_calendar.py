"""Windows of days, weeks and months of a time zone, over every change of its clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet import Count, TumblingWindows, WatermarkStrategy
from streamlet.errors import JobDefinitionError
from streamlet.operators.windows.calendar import Calendar
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import lines, make_job, run

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # puts its clocks forward at midnight
    "America/Havana",  # puts them back to midnight
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # left out the 30th of December 2011
    "Asia/Kathmandu",
    "Africa/Cairo",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_TIMES = st.integers(-(2 * 10**12), 4 * 10**12)


def ms(text: str, zone: str = "UTC") -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)) - _EPOCH) // _MS


def shown(time: int, zone: str) -> datetime:
    return (_EPOCH + time * _MS).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


@pytest.mark.parametrize(
    "day, hours", [("2024-03-30", 24), ("2024-03-31", 23), ("2024-10-27", 25), ("2024-10-28", 24), ("1940-04-01", 23)]
)
def test_a_day_has_the_hours_that_the_clocks_give_it(day: str, hours: int) -> None:
    start, end = Calendar(ZoneInfo("Europe/Berlin"), days=1).around(ms(f"{day}T12:00", "Europe/Berlin"))
    assert end - start == hours * 3_600_000


@given(st.sampled_from(ZONES), st.sampled_from(["days", "weeks", "months"]), st.integers(1, 3), _TIMES)
def test_stretches_follow_each_other_and_begin_at_a_midnight(zone: str, what: str, number: int, time: int) -> None:
    calendar = Calendar(ZoneInfo(zone), **{what: number})
    start, end = calendar.around(time)
    assert start <= time < end
    assert calendar.around(start) == calendar.around(end - 1) == (start, end)
    assert calendar.around(end)[0] == end and calendar.around(start - 1)[1] == start
    first = shown(start, zone)
    assert first.hour <= 1 and shown(start - 1, zone).date() <= first.date()
    if what == "weeks" and zone != "Pacific/Apia":
        assert first.weekday() == 0
    if what == "months":
        assert first.day == 1


@given(st.sampled_from(ZONES), _TIMES)
def test_a_record_lies_in_the_day_that_the_clocks_show(zone: str, time: int) -> None:
    start, _ = Calendar(ZoneInfo(zone), days=1).around(time)
    assert shown(start, zone).date() == shown(time, zone).date()


@pytest.mark.parametrize("what", ["days", "weeks", "months"])
@pytest.mark.parametrize(
    "time", [-(1 << 62), (1 << 62), 10**15, -(10**15), ms("9998-06-01T00:00"), ms("0002-01-01T00:00")]
)
def test_times_beyond_every_calendar_lie_in_one_stretch_that_ends_where_days_begin(what: str, time: int) -> None:
    calendar = Calendar(ZoneInfo("Europe/Berlin"), **{what: 1})
    start, end = calendar.around(time)
    assert start <= time < end
    assert calendar.around(start) == calendar.around(end - 1) == (start, end)


def test_an_offset_goes_by_the_clocks_of_the_zone() -> None:
    windows = TumblingWindows(days=1, timezone="Europe/Berlin", offset=timedelta(hours=6))
    (window,) = windows.assign(None, ms("2024-03-31T05:59", "Europe/Berlin"))
    assert (window.start, window.end) == (
        ms("2024-03-30T06:00", "Europe/Berlin"),
        ms("2024-03-31T06:00", "Europe/Berlin"),
    )
    assert window.end - window.start == 23 * 3_600_000


def test_whole_days_in_a_zone_are_days_of_its_calendar() -> None:
    one, other = TumblingWindows(timedelta(days=1), timezone="Europe/Berlin"), TumblingWindows(days=1)
    at = ms("2024-10-27T23:30", "Europe/Berlin")
    (window,) = one.assign(None, at)
    assert window.end - window.start == 25 * 3_600_000
    (window,) = other.assign(None, at)
    assert (window.start, window.end) == (ms("2024-10-27T00:00"), ms("2024-10-28T00:00"))


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: TumblingWindows(days=1, timezone="Europe/Berlyn"), "no zone that this machine knows"),
        (lambda: TumblingWindows(timedelta(hours=1), timezone="Europe/Berlin"), "in a time zone"),
        (lambda: TumblingWindows(days=1, weeks=1), "days=1, weeks=1"),
        (lambda: TumblingWindows(days=-1), "days=-1"),
        (lambda: TumblingWindows(days=1.5), "days=1.5"),  # type: ignore[arg-type]
        (lambda: TumblingWindows(timezone="UTC"), "in a time zone"),
        (lambda: TumblingWindows(timedelta(days=1), days=1), "days, weeks or months"),
        (lambda: TumblingWindows(), "the size of a window is None"),
    ],
)
def test_what_is_no_calendar_is_refused_with_the_line(make: Callable[[], Any], word: str) -> None:
    with pytest.raises(JobDefinitionError) as raised:
        make()
    assert word in str(raised.value) and "test_calendar.py" in str(raised.value)


def test_a_job_counts_by_the_days_of_a_place(tmp_path: Path) -> None:
    hour = 3_600_000
    first = ms("2024-03-30T00:30", "Europe/Berlin")
    job = make_job(tmp_path)
    times: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda at: at)
    source = job.source(Generator(lambda i: first + i * hour, count=72), uid="hours", watermarks=times)
    source.key_by(lambda _: "all").window(TumblingWindows(days=1, timezone="Europe/Berlin")).aggregate(
        Count(), uid="count", result=lambda key, window, n: [window.start, n]
    ).sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    days = [ms(f"{day}T00:00", "Europe/Berlin") for day in ("2024-03-30", "2024-03-31", "2024-04-01", "2024-04-02")]
    assert sorted(lines(tmp_path / "out")) == [[day, n] for day, n in zip(days, (24, 23, 24, 1), strict=True)]
