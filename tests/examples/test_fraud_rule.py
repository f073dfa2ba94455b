"""The fraud rule, tested with the test kit as a user would."""

from __future__ import annotations

from examples.fraud_rule import Alarm, Event, FraudRule, job
from streamlet.testing import FunctionHarness, collect, crash_everywhere


def test_two_large_payments_within_a_minute_are_an_alarm() -> None:
    events = [Event("c", 0, 950), Event("c", 30_000, 950), Event("c", 40_000, 0)]
    assert collect(job, {"events": events})["out"] == [Alarm("c", 30_000, "two large payments within a minute")]


def test_a_payment_that_nothing_confirms_is_an_alarm_after_five_minutes() -> None:
    assert collect(job, {"events": [Event("c", 0, 10)]})["out"] == [
        Alarm("c", 300_000, "not confirmed within five minutes")
    ]


def test_a_kill_at_any_step_raises_the_same_alarms() -> None:
    events = [Event(f"card-{number % 3}", 20_000 * number, 950 * (number % 2)) for number in range(40)]
    assert crash_everywhere(job, {"events": events}, at_most=20).killed == 20


def test_a_confirmed_payment_leaves_no_timer_behind() -> None:
    with FunctionHarness(FraudRule()) as h:
        assert [*h.push("c", Event("c", 0, 10), at=0), *h.push("c", Event("c", 1, 0), at=1)] == []
        assert h.watermark(300_000) == []
