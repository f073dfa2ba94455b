"""A transaction that the broker aborts while the job is down: the job goes back where that loses nothing, and stops
and says what is at risk where it cannot."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.kafka.reading import check_running_counts, read_committed
from tests.recovery.running_jobs import PROJECT, RunningJob
from tests.recovery.spending import PARTITIONS, Spending, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

JOB = PROJECT / "tests" / "recovery" / "two_sinks.py"
RECORDS = 500

Line = tuple[str, int, int]
"""User, count, sum."""


def kill_at(spending: Spending, fault: str) -> RunningJob:
    job = spending.home.start(fault=fault)
    spending.feed_while(job)
    job.wait_until_killed()
    return job


def lines(kafka: Kafka, topic: str) -> list[Line]:
    """What a reader sees, once no transaction is open: each is committed or was aborted by then."""
    values = [json.loads(record.value or b"") for record in read_committed(kafka.bootstrap, topic)]
    return [(value["user"], value["count"], value["sum"]) for value in values]


def by_user(seen: list[Line]) -> dict[str, list[tuple[int, int]]]:
    sorted_out: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for user, count, total in seen:
        sorted_out[user].append((count, total))
    return sorted_out


def test_a_job_whose_only_prepared_output_timed_out_goes_back_and_writes_it_again(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path, JOB) as spending:
        spending.feed(RECORDS)
        kill_at(spending, "after_manifest_durable@4")  # the first two are made before any output
        before = lines(kafka, spending.out_topic)  # waits for the broker's abort
        assert len(before) < len(spending.fed)
        job = spending.home.start()
        spending.wait_for_output(job)
        assert "warning: going back from checkpoint" in job.said
        assert job.stop() == 0, job.said
        spending.check()


@contextlib.contextmanager
def half_committed(kafka: Kafka, folder: Path) -> Iterator[tuple[Spending, str, RunningJob]]:
    """A job that was killed after it had committed the first of two sinks, and found the other aborted at its next
    start, which has ended."""
    second = f"second-{uuid.uuid4().hex[:12]}"
    kafka.create_topic(second, PARTITIONS)
    with a_spending(kafka, folder, JOB, OUT_TOPIC_2=second) as spending:
        spending.feed(RECORDS)
        kill_at(spending, "end_txn_answered")
        assert lines(kafka, second) == []  # waits for the broker's abort
        stopped = spending.home.start()
        assert stopped.wait() == 1, stopped.said
        yield spending, second, stopped


def lost_records(stopped: RunningJob) -> int:
    found = re.search(r"sink second\[0\].*, (\d+) records: aborted", stopped.said)
    assert found, stopped.said
    return int(found[1])


def test_output_that_timed_out_beside_committed_output_stops_the_start_and_names_it(
    kafka: Kafka, tmp_path: Path
) -> None:
    with half_committed(kafka, tmp_path) as (spending, second, stopped):
        said = stopped.said
        assert "checkpoint 1 cannot be restored without losing or doubling output" in said
        assert re.search(rf"checkpoint 1, sink second\[0\], .*{second}.*partitions? .*\d+ records: aborted", said), said
        assert re.search(rf"checkpoint 1, sink first\[0\], .*{spending.out_topic}.*\d+ records: committed", said), said
        assert "--accept-lost-output" in said
        assert "`--from 0` loses nothing and writes again" in said
        assert spending.home.start().wait() == 1  # and again: nothing was decided by refusing
        assert lines(kafka, second) == []


def test_accepted_lost_output_is_missing_and_nothing_else(kafka: Kafka, tmp_path: Path) -> None:
    with half_committed(kafka, tmp_path) as (spending, second, stopped):
        spending.feed(RECORDS)
        job = spending.home.start("--accept-lost-output")
        spending.wait_for_output(job)
        assert "output is lost, as accepted" in job.said
        assert job.stop() == 0, job.said
        spending.check()
        whole, rest = by_user(lines(kafka, spending.out_topic)), by_user(lines(kafka, second))
        missing = sum(map(len, whole.values())) - sum(map(len, rest.values()))
        assert missing == lost_records(stopped)
        for user, numbers in rest.items():
            assert numbers == whole[user][-len(numbers) :], f"of user {user} more is missing than what came first"


def test_an_older_checkpoint_writes_again_what_was_committed_since(kafka: Kafka, tmp_path: Path) -> None:
    with half_committed(kafka, tmp_path) as (spending, second, _):
        early = by_user(lines(kafka, spending.out_topic))
        job = spending.home.start("--from", "0")
        doubled = sum(map(len, early.values()))
        spending.feed(RECORDS)
        job.wait_until(
            lambda: len(lines(kafka, spending.out_topic)) >= len(spending.fed) + doubled, "the output is there"
        )
        assert "will be written a second time" in job.said
        assert job.stop() == 0, job.said
        check_running_counts(spending.fed, read_committed(kafka.bootstrap, second))
        whole = by_user(lines(kafka, second))
        for user, numbers in by_user(lines(kafka, spending.out_topic)).items():
            assert numbers == early.get(user, []) + whole[user]


@pytest.mark.parametrize(("second", "is_pinned"), [("after_settling", False), ("after_start_checkpoint", True)])
def test_a_kill_while_lost_output_is_accepted_leaves_it_accepted_or_still_to_be_accepted(
    kafka: Kafka, tmp_path: Path, second: str, *, is_pinned: bool
) -> None:
    with half_committed(kafka, tmp_path) as (spending, topic, stopped):
        spending.home.start("--accept-lost-output", fault=second).wait_until_killed()
        if not is_pinned:
            refused = spending.home.start()
            assert refused.wait() == 1, refused.said
            assert "--accept-lost-output" in refused.said
        spending.feed(RECORDS)
        job = spending.home.start(*([] if is_pinned else ["--accept-lost-output"]))
        spending.wait_for_output(job)
        assert job.stop() == 0, job.said
        spending.check()
        whole, rest = by_user(lines(kafka, spending.out_topic)), by_user(lines(kafka, topic))
        assert sum(map(len, whole.values())) - sum(map(len, rest.values())) == lost_records(stopped)
