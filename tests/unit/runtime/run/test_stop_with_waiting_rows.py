"""A job that stops while rows wait for a slow function: its last checkpoint has them, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from streamlet import Job
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, lines, make_job, run

COUNT, SECONDS = 120, 0.005


@pytest.mark.outside
def test_what_the_last_barrier_has_overtaken_is_worked_on_after_the_next_start_and_only_there(tmp_path: Path) -> None:
    called: list[int] = []

    def slowly(number: int) -> int:
        called.append(number)
        if len(called) == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS)
        return number

    def job() -> Job:
        made = make_job(tmp_path, batch_records=COUNT)
        many = made.source(Waiting(COUNT // 10), uid="numbers").flat_map(lambda n: range(10 * n, 10 * n + 10))
        many.map(slowly, uid="slow", parallelism=2).sink(FileSink(str(tmp_path / "out")), uid="out")
        return made

    stopped = run(job())
    assert stopped.code == 0, stopped
    assert len(called) < COUNT, "nothing waited"
    assert run(job()).code == 0
    assert sorted(called) == list(range(COUNT))
    assert sorted(lines(tmp_path / "out")) == list(range(COUNT))
