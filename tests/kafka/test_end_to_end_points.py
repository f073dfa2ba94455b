"""A job that is killed at a named instant of the protocol has the output of one that never was.

Each test names the instant, sees the process end by SIGKILL there, starts the job again and reads what a
read_committed reader reads.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.recovery.spending import QUICK, Spending, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS_BEFORE = 500


def kill_at(spending: Spending, fault: str, *options: str) -> None:
    """Starts the job, feeds it until it was killed at the fault point."""
    job = spending.home.start(*QUICK, *options, fault=fault)
    spending.feed_while(job)
    job.wait_until_killed()


@pytest.mark.parametrize(
    "fault",
    [
        # the first start, before any source has read
        "after_attempt_begun",
        "before_manifest",
        "after_manifest_durable",
        "after_start_checkpoint",
        "after_opening_recorded",
        "during_restore",
        # a checkpoint in the middle of work, from its first write to the last effect of its marker
        "produce_sent",
        "produce_sent@3",
        "before_manifest@3",
        "after_manifest_written@3",
        "after_manifest_renamed@3",
        "after_manifest_durable@3",
        "end_txn_sent",
        "end_txn_sent@2",
        "end_txn_answered@2",
        "before_marker@2",
        "after_marker@2",
        "during_release@2",
    ],
)
def test_a_kill_at_a_named_instant_loses_and_doubles_nothing(kafka: Kafka, tmp_path: Path, fault: str) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS_BEFORE)
        kill_at(spending, fault)
        spending.finish()


@pytest.mark.parametrize(
    "second",
    [
        "after_attempt_begun",
        "before_settling",
        "end_txn_sent",
        "end_txn_answered",
        "after_settling",
        "before_marker",
        "after_marker",
        "after_opening_recorded",
        "during_restore",
    ],
)
def test_a_second_kill_while_the_first_is_settled_loses_and_doubles_nothing(
    kafka: Kafka, tmp_path: Path, second: str
) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS_BEFORE)
        kill_at(spending, "after_manifest_durable@3")
        kill_at(spending, second)
        spending.finish()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("after_manifest_durable@2", None),
        ("end_txn_answered@2", None),  # one subtask's transaction is committed, the others wait
        ("end_txn_answered@2", "end_txn_answered@2"),
        ("end_txn_sent@3", "end_txn_sent"),
    ],
)
def test_transactions_of_three_subtasks_are_settled_together(
    kafka: Kafka, tmp_path: Path, first: str, second: str | None
) -> None:
    three = ("--parallelism", "3")
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS_BEFORE)
        kill_at(spending, first, *three)
        if second is not None:
            kill_at(spending, second, *three)
        spending.finish(*three)


def test_a_kill_while_the_state_is_dealt_out_to_another_parallelism_loses_nothing(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS_BEFORE)
        kill_at(spending, "after_manifest_durable@4")
        kill_at(spending, "after_settling", "--parallelism", "3")
        kill_at(spending, "during_restore", "--parallelism", "3")
        kill_at(spending, "before_manifest", "--parallelism", "2")
        spending.finish("--parallelism", "3")


def test_transactions_of_subtasks_that_are_gone_do_not_hold_readers_back(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS_BEFORE)
        kill_at(spending, "before_manifest@3", "--parallelism", "3")  # all three have written, no checkpoint says so
        spending.finish("--parallelism", "1")
