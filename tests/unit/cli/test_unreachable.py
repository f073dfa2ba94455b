"""A sink that never answered may have a wrong address: its restarts are counted, in whatever process it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli_kit import cli, write_job

pytestmark = pytest.mark.outside

JOB = """
from datetime import timedelta
from streamlet import Job, Json, Restart
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink

job = Job("job", parallelism=2, restart=Restart.fixed(timedelta(milliseconds=50), attempts=2))
sink = KafkaSink("127.0.0.1:1", "out", value=Json(), connect_timeout_seconds=0.3, delivery="%s")
job.source(Generator(lambda number: number, count=9), uid="numbers").sink(sink, uid="out")
"""


@pytest.mark.parametrize(
    ("delivery", "processes"), [("at_least_once", "1"), ("at_least_once", "2"), ("exactly_once", "1")]
)
def test_a_wrong_address_suspends_the_job_after_the_attempts_that_it_may_have(
    delivery: str, processes: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path, JOB % delivery)
    ran = cli(tmp_path, "run", str(job), "--processes", processes)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    said = ran.stdout + ran.stderr
    assert "127.0.0.1:1" in said
    assert [path.name for path in (tmp_path / "streamlet-state" / "job").glob("attempt-*")] == ["attempt-3"]
