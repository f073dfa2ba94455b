"""Two processes and one job: one runs, the other is refused; one that was stopped and wakes up decides nothing."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.recovery.running_jobs import RunningJob
from tests.recovery.spending import QUICK, Spending, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

RECORDS = 500


def test_a_second_copy_is_refused_and_told_who_runs_the_job(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS)
        first = spending.home.start(*QUICK)
        spending.wait_for_output(first)
        second = spending.home.start(*QUICK)
        assert second.wait() == 3
        assert f"process {first.pid} on" in second.said
        assert "--take-over" in second.said
        spending.feed(RECORDS)
        spending.wait_for_output(first)
        assert first.stop() == 0, first.said
        spending.check()


def finish_beside_a_sleeper(spending: Spending, sleeper: RunningJob) -> None:
    """Another process takes over and finishes the work; then the sleeper wakes up, and must give up."""
    second = spending.home.start(*QUICK, "--take-over")
    spending.feed(RECORDS)
    spending.wait_for_output(second)
    assert sleeper.stands_still
    sleeper.send(signal.SIGCONT)
    assert sleeper.wait() == 1, sleeper.said
    assert re.search("was taken over by another process|another process has taken this job over", sleeper.said)
    assert "go on with" not in sleeper.said
    spending.feed(RECORDS)
    spending.wait_for_output(second)
    assert second.stop() == 0, second.said
    spending.check()


def test_a_stopped_process_that_wakes_up_after_a_take_over_gives_up(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS)
        first = spending.home.start(*QUICK)
        spending.wait_for_output(first)
        spending.feed(RECORDS)
        first.send(signal.SIGSTOP)
        first.wait_until(lambda: first.stands_still, "it stands still")
        finish_beside_a_sleeper(spending, first)


@pytest.mark.parametrize(
    "point",
    [
        "produce_sent@3",
        "before_manifest@3",
        "after_manifest_written@3",
        "after_manifest_durable@3",
        "end_txn_sent@2",
        "end_txn_answered@2",
        "before_marker@2",
        "during_release@2",
    ],
)
def test_a_process_stopped_at_a_named_instant_decides_nothing_when_it_wakes_up(
    kafka: Kafka, tmp_path: Path, point: str
) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS)
        first = spending.home.start(*QUICK, fault=point, stops=True)
        while not first.stands_still:
            assert not first.has_ended, first.said
            spending.feed(100)
        finish_beside_a_sleeper(spending, first)
