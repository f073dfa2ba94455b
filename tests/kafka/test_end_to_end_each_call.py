"""A job on the real broker that is killed right before one fsync, rename or EndTxn after another: output is exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.recovery.running_jobs import is_full_run
from tests.recovery.spending import QUICK, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600 if is_full_run() else 120)]

CALLS = {"fsync": range(1, 61), "rename": range(1, 31)} if is_full_run() else {"fsync": (9, 22), "rename": (5, 9)}
COMMITS = 15 if is_full_run() else 1


@pytest.mark.parametrize("call", CALLS)
def test_each_call_that_puts_something_on_disk(kafka: Kafka, tmp_path: Path, call: str) -> None:
    with a_spending(kafka, tmp_path) as spending:
        for number in CALLS[call]:
            job = spending.home.start(*QUICK, main="tests.recovery.kill_at_each", KILL_AT=f"{call}@{number}")
            spending.feed_while(job, at_most=200_000)
            job.wait_until_killed()
        spending.finish()


def test_each_commit_of_a_transaction(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path) as spending:
        for number in range(1, COMMITS + 1):
            for point in ("end_txn_sent", "end_txn_answered"):
                job = spending.home.start(*QUICK, fault=f"{point}@{number}")
                spending.feed_while(job, at_most=200_000)
                job.wait_until_killed()
        spending.finish()
