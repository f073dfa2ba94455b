"""The click sessions, tested with the test kit as a user would."""

from __future__ import annotations

from examples.click_sessions import Click, Session, job
from streamlet.testing import collect


def test_clicks_of_half_a_minute_are_one_session_and_a_late_click_is_put_aside() -> None:
    clicks = [Click("ann", 0, 3), Click("ann", 20_000, 1), Click("bob", 90_000, 7), Click("ann", 5_000, 2)]
    assert collect(job, {"clicks": clicks}) == {
        "out": [Session("ann", 0, 50_000, 2, (1, 3)), Session("bob", 90_000, 120_000, 1, (7, 7))],
        "late": [Click("ann", 5_000, 2)],
    }
