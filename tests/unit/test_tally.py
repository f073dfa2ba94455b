"""What people see of records that went another way than the rest: in the progress line and in the last one."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, DeadLetter, OutputTag, TumblingWindows, WatermarkStrategy
from streamlet.observe.facts import WorkFacts, total
from streamlet.tally import Tally, told
from streamlet_connectors.files import FileSink, JsonLines
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import Ran, make_job, run

SECOND = timedelta(seconds=1)
TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda at: at)
LATE = OutputTag[int]("late")
LETTERS = OutputTag[DeadLetter]("letters")


def _last(ran: Ran) -> str:
    """The last line, without the job's name and what was written."""
    return re.sub(r"job: finished: |, \d+ written and committed", "", ran.said.splitlines()[-1])


def test_counts_are_kept_by_operator_and_told_by_kind() -> None:
    here, there = Tally(), Tally()
    here.of("windows")("late dropped", 2)
    here.of("parse")("left out", 1_200)
    there.of("windows")("late dropped", 3)
    there.of("windows")("late put aside", 0)
    both = total([WorkFacts(counts=here.counts()), WorkFacts(counts=there.counts())])
    assert both.counts == {"windows": {"late dropped": 5}, "parse": {"left out": 1_200}}
    assert told(both.counts) == ["1,200 left out", "5 late dropped"]


@pytest.mark.parametrize("puts_aside, said", [(False, "9 late dropped"), (True, "9 late put aside, 9 not taken")])
def test_the_last_line_says_how_many_records_were_late(puts_aside: bool, said: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, batch_records=1)
    source = job.source(Generator(lambda i: 90_000 if i == 0 else i, count=10), uid="in", watermarks=TIMES)
    windows = source.key_by(lambda _: 0).window(TumblingWindows(SECOND))
    counted = (windows.late_output(LATE) if puts_aside else windows).aggregate(Count(), uid="count")
    counted.sink(FileSink(str(tmp_path / "out")), uid="out")
    assert _last(run(job)) == f"10 records read, {said}"


def test_what_a_policy_leaves_out_is_in_the_last_line_once_each(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    source = job.source(Generator(lambda i: i, count=10), uid="in", watermarks=TIMES)
    kept: Any = source.map(lambda at: 1 // (at % 5) and at, on_error="skip", uid="some")
    kept.flat_map(lambda at: [1 // (at - 1)], on_error=LETTERS, uid="more").sink(
        FileSink(str(tmp_path / "out")), uid="o"
    )
    assert _last(run(job)) == "10 records read, 2 left out, 1 dead letters, 1 not taken"


def test_bad_records_of_a_file_are_counted(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a": 1}\nnot json\n{"a": 2}\nnor this\n')
    job = make_job(tmp_path)
    source: Any = job.source(JsonLines(str(tmp_path / "in.jsonl"), on_bad_record="skip"), uid="in")
    source.sink(FileSink(str(tmp_path / "out")), uid="out")
    assert _last(run(job)) == "2 records read, 2 left out"
