"""`--processes` from the command line and from Python: what runs, and what is refused with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamlet.runtime.task.pressure import MemoryPressure
from tests.unit.cli_kit import cli, python, write_job

pytestmark = pytest.mark.outside

JOB = """
import sys
from dataclasses import dataclass
from streamlet import Count, Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

@dataclass
class Number:
    value: int

def made(number):
    return Number(number)

job = Job("job", parallelism=2)
(
    job.source(Generator(made, count=int(sys.argv[1]) if len(sys.argv) > 1 else 20), uid="numbers")
    .key_by(lambda number: (number.value % 3, "k"), uid="k")
    .aggregate(Count(), result=lambda key, count: [*key, count], uid="count")
    .sink(FileSink("out"), uid="out")
)
"""

WINDOWED = """
from datetime import timedelta
from streamlet import Count, Job, OutputTag, TumblingWindows, WatermarkStrategy
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

late = OutputTag("late")
job = Job("job", parallelism=3, trace_origins=True)
strategy = WatermarkStrategy.bounded_out_of_orderness(timedelta(milliseconds=5)).with_timestamps(
    lambda number: number + number * 7 % 5
)
numbers = job.source(Generator(lambda number: number, count=3000), watermarks=strategy, uid="numbers", parallelism=1)
counts = (
    numbers.key_by(lambda number: ("key", number % 7), uid="k")
    .window(TumblingWindows(timedelta(milliseconds=100)))
    .late_output(late)
    .aggregate(Count(), uid="count")
)
counts.union(counts.filter(lambda result: result.value > 14, uid="many"), uid="both").map(
    lambda result: [type(result.key).__name__, *result.key, result.window.start, result.value],
    uid="plain",
    parallelism=2,
).sink(FileSink("out"), uid="out")
counts.side_output(late).sink(FileSink("late"), uid="late")
"""


def _lines(folder: Path) -> list[list[int | str]]:
    return sorted(
        json.loads(line) for path in (folder / "out").glob("part-*") for line in path.read_text().splitlines()
    )


def _expected(count: int) -> list[list[int | str]]:
    return sorted([number % 3, "k", number // 3 + 1] for number in range(count))


def test_plan_shows_which_process_hosts_what(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    done = cli(tmp_path, "plan", "job.py", "--parallelism", "3", "--processes", "2")
    assert done.stdout.splitlines()[-2:] == [
        "process 0: numbers[0], numbers[2], count[0], count[2]",
        "process 1: numbers[1], count[1]",
    ]


def test_records_of_classes_and_tuple_keys_cross_processes_and_arguments_reach_the_workers(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    done = cli(tmp_path, "run", "job.py", "--processes", "2", "--", "50")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "job: finished: 50 records read, 50 written and committed"
    assert "ignored" not in done.stderr, "nothing is left open"
    assert _lines(tmp_path) == _expected(50)


def test_a_job_runs_in_processes_from_python_too(tmp_path: Path) -> None:
    write_job(tmp_path, JOB + "if __name__ == '__main__':\n    raise SystemExit(job.run(processes=2))\n")
    done = python(tmp_path, "job.py", "30")
    assert done.returncode == 0, done.stderr
    assert _lines(tmp_path) == _expected(30)


def test_watermarks_windows_and_their_results_cross_processes(tmp_path: Path) -> None:
    write_job(tmp_path, WINDOWED)
    outputs = []
    for processes in ("1", "3"):
        folder = tmp_path / processes
        folder.mkdir()
        done = cli(folder, "run", "../job.py", "--processes", processes)
        assert done.returncode == 0, done.stderr
        outputs.append(_lines(folder))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 30 * 7


def test_a_job_that_runs_while_it_is_imported_is_refused(tmp_path: Path) -> None:
    write_job(tmp_path, JOB + "raise SystemExit(job.run())\n")
    done = cli(tmp_path, "run", "job.py")
    assert done.returncode == 2
    assert "runs job 'job' while it is imported" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr


def test_more_processes_than_subtasks_are_refused(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    done = cli(tmp_path, "run", "job.py", "--processes", "3")
    assert done.returncode == 2
    assert "processes is 3, but no operator has more than 2 subtasks" in done.stderr
    assert "--parallelism 3" in done.stderr


def test_a_job_file_that_builds_another_graph_in_a_worker_is_refused(tmp_path: Path) -> None:
    write_job(
        tmp_path, JOB.replace('uid="count"', 'uid=f"count-{os.getpid()}"').replace("import sys", "import os, sys")
    )
    done = cli(tmp_path, "run", "job.py", "--processes", "2")
    assert done.returncode == 2
    assert "has built another job in a worker process" in done.stderr


def test_a_record_that_cannot_cross_stops_the_job_and_names_the_line(tmp_path: Path) -> None:
    write_job(tmp_path, JOB.replace("return Number(number)", "return type('Odd', (), {'value': number})()"))
    done = cli(tmp_path, "run", "job.py", "--processes", "2")
    assert done.returncode == 1
    assert "Odd cannot be sent to another process" in done.stderr
    assert f"{tmp_path / 'job.py'}:" in done.stderr
    assert "restart 1" not in done.stderr


def test_memory_that_is_full_in_another_process_holds_the_sources_here() -> None:
    told: list[bool] = []
    asked: list[str] = []
    pressure = MemoryPressure(lambda: asked.append("checkpoint"))
    pressure.on_own = told.append
    pressure.on_relieved.append(lambda: asked.append("go on"))
    pressure.hold(is_on=True)
    assert pressure.is_on
    assert told == [], "what others have is not told back to them"
    pressure.press("here")
    pressure.hold(is_on=False)
    assert pressure.is_on
    assert asked == ["checkpoint"]
    pressure.relieve("here")
    assert not pressure.is_on
    assert (told, asked) == ([True, False], ["checkpoint", "go on"])
