"""A job that reads files to their ends and has finished says what they have that it does not read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from streamlet_connectors.files import Csv, FileSink, TextLines
from tests.unit.connectors.files.test_rotation import append
from tests.unit.job_kit import make_job, run


def run_again(folder: Path, source: TextLines | Csv[dict[str, str]] | None = None) -> str:
    """What it says of new input, behind the names; "" if nothing."""
    job = make_job(folder)
    job.source(source or TextLines(str(folder / "*.txt")), uid="in").sink(FileSink(str(folder / "out")), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    if "has new input" not in ran.said:
        return ""
    assert "\n  -> read it by a job of another name" in ran.said
    return ran.said.partition("a job that has finished does not read: ")[2].partition("\n")[0]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    append(tmp_path / "a.txt", "1")
    assert run_again(tmp_path) == ""
    assert run_again(tmp_path) == ""
    return tmp_path


def test_files_that_came_since_are_named(finished: Path) -> None:
    append(finished / "b.txt", "2")
    assert run_again(finished) == str(finished / "b.txt")
    (finished / "a.txt").unlink()
    assert run_again(finished) == str(finished / "b.txt"), "a file that was read and is gone hides no other one"


def test_a_known_file_that_grew_is_named(finished: Path) -> None:
    append(finished / "a.txt", "2", "3")
    assert run_again(finished) == f"{finished / 'a.txt'} (grew from 2 to 6 bytes)"
    append(finished / "b.txt", "4")
    (finished / "a.txt").rename(finished / "c.txt")
    assert run_again(finished) == f"{finished / 'b.txt'}, {finished / 'c.txt'} (grew from 2 to 6 bytes)"


def test_a_known_file_that_was_cut_or_written_anew_is_named(finished: Path) -> None:
    file = finished / "a.txt"
    file.write_text("2\n")
    os.utime(file, (2e9, 2e9))
    assert run_again(finished) == f"{file} (was written anew)"
    file.write_text("")
    assert run_again(finished) == f"{file} (shrank from 2 to 0 bytes)"
    file.write_text("1\n")
    assert run_again(finished) == "", "a new time alone is nothing new"


def test_files_of_which_nothing_was_to_be_read_are_not_new(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "open.csv").write_text("a,b\n1,2")
    (tmp_path / "blank.csv").write_text("a,b\n1,2\n\n\n")
    (tmp_path / "packed.csv").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    source: Csv[dict[str, str]] = Csv(str(tmp_path / "*.csv"))
    for _ in range(2):
        assert run_again(tmp_path, source) == ""
