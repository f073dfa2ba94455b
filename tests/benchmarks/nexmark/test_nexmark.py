"""Every query gives what SQL gives over the same events, however often its job is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.nexmark.generator import START_MS, Nexmark, write
from tests.benchmarks.nexmark.jobs import QUERIES, job_of
from tests.benchmarks.nexmark.oracle import Oracle, WrongResult, written
from tests.recovery.part_files import hidden_files, part_files
from tests.recovery.running_jobs import PROJECT, SECONDS, RunningJob, a_home, a_seed, is_full_run
from tests.unit.job_kit import run

EVENTS = 20_000 if is_full_run() else 5_000
JOB = PROJECT / "tests" / "benchmarks" / "nexmark" / "job.py"
SITE = Nexmark(events_per_second=100, group=30, start_ms=START_MS - 10_000)
"""Some windows and auctions, out of order, over midnight."""

KILLS = 15 if is_full_run() else 4
POINTS = (
    ("file_prepared", 30), ("before_manifest", 2), ("after_manifest_written", 2), ("after_manifest_durable", 2),
    ("file_committed", 30), ("before_marker", 2), ("after_marker", 2),
)  # fmt: skip
"""Where a job that runs is killed, at which of its first passes there."""
AT_A_START = ("before_settling", "after_settling", "during_restore")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nexmark")
    write(folder, SITE, EVENTS)
    return folder


@pytest.fixture(scope="module")
def oracle(inputs: Path) -> Iterator[Oracle]:
    made = Oracle(inputs)
    yield made
    made.close()


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_gives_what_sql_gives(
    name: str, parallelism: int, inputs: Path, oracle: Oracle, tmp_path: Path
) -> None:
    job = job_of([name], inputs, tmp_path, state_dir=str(tmp_path / "state"), parallelism=parallelism)
    ran = run(job)
    assert ran.code == 0, ran.said
    assert oracle.check(QUERIES[name], tmp_path / name) > 0


def test_a_row_too_few_and_a_row_too_many_are_seen(inputs: Path, oracle: Oracle, tmp_path: Path) -> None:
    assert run(job_of(["q9"], inputs, tmp_path, state_dir=str(tmp_path / "state"))).code == 0
    newest = part_files(tmp_path / "q9")[-1]
    text = newest.read_text()
    first, rest = text.split("\n", 1)
    for wrong in (rest, first + "\n" + text, text.replace(f'"price":{written(tmp_path / "q9")[-1][5]},', '"price":7,')):
        newest.write_text(wrong)
        with pytest.raises(WrongResult, match="q9"):
            oracle.check(QUERIES["q9"], tmp_path / "q9")


def test_all_queries_in_one_job_give_what_sql_gives_after_kills(inputs: Path, oracle: Oracle, tmp_path: Path) -> None:
    chance = random.Random(a_seed())
    with a_home(JOB, tmp_path / "state", all_queries(inputs, tmp_path / "out")) as home:

        def start(fault: str) -> RunningJob:
            spread = ("--parallelism", chance.choice("12"))
            quick = ("--checkpoint-interval", "50ms", "--state-memory", "1MB")
            return home.start(*quick, *spread, fault=fault, NEXMARK_BATCH="20")

        for _ in range(KILLS):
            point, most = chance.choice(POINTS)
            start(f"{point}@{chance.randint(1, most)}").wait_until_killed()
            if chance.random() < 1 / 3:
                start(chance.choice(AT_A_START)).wait_until_killed()
        job = home.start()
        assert job.wait(4 * SECONDS) == 0, job.said
    check_all(oracle, tmp_path / "out")


def test_all_queries_in_one_job_of_two_worker_processes_give_what_sql_gives(
    inputs: Path, oracle: Oracle, tmp_path: Path
) -> None:
    with a_home(JOB, tmp_path / "state", all_queries(inputs, tmp_path / "out")) as home:
        job = home.start("--parallelism", "2", "--processes", "2")
        assert job.wait(4 * SECONDS) == 0, job.said
    check_all(oracle, tmp_path / "out")


def all_queries(inputs: Path, out: Path) -> dict[str, str]:
    return {"NEXMARK_QUERIES": ",".join(QUERIES), "NEXMARK_IN": str(inputs), "NEXMARK_OUT": str(out)}


def check_all(oracle: Oracle, out: Path) -> None:
    for name, query in QUERIES.items():
        assert oracle.check(query, out / name) > 0
        assert hidden_files(out / name) == []
