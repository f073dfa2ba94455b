"""Finds the sessions of users: `streamlet run examples/click_sessions.py`, no server needed.

A session ends when its user did not click for 30 seconds.  Clicks come up to 5 seconds out of order; one that is late
for its session goes to `late`.  Kill it at any instant and run it again: every session is found exactly once.
"""

from datetime import timedelta

import msgspec

from streamlet import Count, Job, Max, Min, OutputTag, SessionWindows, WatermarkStrategy, Window
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


class Click(msgspec.Struct, frozen=True):
    user: str
    at: int
    page: int


class Session(msgspec.Struct, frozen=True):
    user: str
    start: int
    end: int
    clicks: int
    pages: tuple[int, int]


def click(number: int) -> Click:
    jitter = number * 7919 % 5000
    return Click(f"user-{number * number % 101}", 1_700_000_000_000 + 1500 * number - jitter, number % 13)


def session(user: str, window: Window, clicks: int, low: int, high: int) -> Session:
    return Session(user, window.start, window.end, clicks, (low, high))


LATE = OutputTag[Click]("late")

job = Job("click-sessions")

sessions = (
    job.source(
        Generator(click, count=20_000),
        uid="clicks",
        watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5)).with_timestamps(lambda one: one.at),
    )
    .key_by(lambda one: one.user)
    .window(SessionWindows(timedelta(seconds=30)))
    .late_output(LATE)
    .aggregate(Count(), Min(lambda one: one.page), Max(lambda one: one.page), result=session, uid="sessions")
)
sessions.sink(FileSink("out"), uid="out")
sessions.side_output(LATE).sink(FileSink("late"), uid="late")

if __name__ == "__main__":
    raise SystemExit(job.run())
