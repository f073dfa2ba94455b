"""Limits of the system: named before the start with what the job will need, and when one is met."""

from __future__ import annotations

import logging
import resource
import subprocess
from pathlib import Path

import pytest

from streamlet.connect import Outages, SystemClock
from streamlet.limits import with_limit
from tests.unit.cli_kit import environment, write_job

pytestmark = pytest.mark.outside


def limited(folder: Path, *limits: str) -> subprocess.CompletedProcess[str]:
    write_job(folder)
    command = " && ".join([*(f"ulimit {one}" for one in limits), "exec python -m streamlet run job.py"])
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_too_little_address_space_is_refused_before_a_library_ends_the_process(tmp_path: Path) -> None:
    ran = limited(tmp_path, "-v 500000")
    assert ran.returncode == 2
    assert "a process may have 488 MB of address space (`ulimit -v`), and this job may need 1024 MB" in ran.stderr
    assert "-> start it with `ulimit -v unlimited`" in ran.stderr


def test_address_space_that_may_become_too_little_is_told_and_the_job_runs(tmp_path: Path) -> None:
    ran = limited(tmp_path, "-v 1000000")
    assert ran.returncode == 0, ran.stderr
    assert "warning: a process may have 976 MB of address space" in ran.stderr


def test_too_few_open_files_are_refused_or_told_with_what_the_job_needs(tmp_path: Path) -> None:
    ran = limited(tmp_path, "-n 20")
    assert ran.returncode == 2
    assert "a process may have 20 files open (`ulimit -n`), and this job may need 76: 1 stores with 24" in ran.stderr
    ran = limited(tmp_path, "-n 40")
    assert ran.returncode == 0, ran.stderr
    assert "warning: a process may have 40 files open" in ran.stderr


def test_a_soft_limit_is_raised_as_far_as_it_may_be(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 200
    ran = limited(tmp_path, "-S -n 40")
    assert ran.returncode == 0, ran.stderr
    assert "ulimit" not in ran.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("broker b:9092 cannot be reached: Too many open files", "`ulimit -n 4096`"),
        ("OSError: [Errno 23] Too many open files in system: 'x'", "fs.file-max"),
        ("RuntimeError: can't start new thread", "`ulimit -u`"),
        ("std::bad_alloc", "--state-memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "`ulimit -v`"),
        ("job.py:3 in f: MemoryError: ", "--state-memory"),
    ],
)
def test_an_error_that_meets_a_limit_names_it_once(text: str, words: str) -> None:
    named = with_limit(text)
    assert named.startswith(f"{text}\n  -> ")
    assert words in named
    assert with_limit(named) == named


def test_an_outage_that_is_a_limit_of_this_process_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Outages(SystemClock()).away("Kafka at b:9092", "Too many open files")
    assert "Kafka at b:9092 does not answer: Too many open files; trying on\n  -> a process may have" in caplog.text
