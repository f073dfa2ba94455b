"""What people are told of an outage, however many parts meet it."""

from __future__ import annotations

import pytest

from streamlet.connect import Outages
from streamlet.observe.health import Health, judge
from tests.unit.state_kit import SteppingClock


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_an_outage_is_told_when_it_begins_each_half_minute_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = SteppingClock()
    outages = Outages(clock)
    for second in range(70):
        clock.seconds = second
        for _ in range(3):
            outages.away("Kafka", f"refused {second}")
    assert outages.describe() == "Kafka has not answered for 69 s (refused 69)"
    clock.seconds = 70
    for _ in range(3):
        outages.back("Kafka")
    assert outages.describe() == ""
    assert told(caplog) == [
        "Kafka does not answer: refused 0; trying on",
        "Kafka does not answer for 30 s: refused 30; trying on",
        "Kafka does not answer for 60 s: refused 60; trying on",
        "Kafka answers again, after 70.0 s",
    ]


def test_what_comes_and_goes_is_no_flood_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    clock = SteppingClock()
    outages = Outages(clock)
    for second in range(60):
        clock.seconds = second
        outages.away("Kafka", "refused")
        outages.back("Kafka")
    assert len(told(caplog)) == 4


def test_each_outage_has_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(SteppingClock())
    outages.away("Kafka", "refused")
    outages.away("a store", "no route")
    assert outages.describe() == "Kafka has not answered for 0 s (refused); a store has not answered for 0 s (no route)"
    outages.away("broker 1 of Kafka", "no need to tell, with all of Kafka away")
    assert "broker 1" not in outages.describe()
    outages.back("Kafka")
    assert "broker 1 of Kafka has not answered" in outages.describe()
    outages.back("broker 1 of Kafka")
    outages.back("what was never away")
    assert outages.describe() == "a store has not answered for 0 s (no route)"
    assert len(told(caplog)) == 5


def test_a_job_is_healthy_while_nothing_is_wrong_and_else_the_cause_is_the_reason() -> None:
    assert judge(outages="", failure="", trouble="").is_healthy
    assert judge(outages="", failure="", trouble="slow") == Health("slow")
    assert judge(outages="", failure="it broke", trouble="slow").reason == "it broke"
    unhealthy = judge(outages="Kafka is away", failure="it broke", trouble="slow")
    assert (unhealthy.is_healthy, unhealthy.reason) == (False, "Kafka is away")
