"""One file under several names, and several files under one: each line is given once, or it is said what is not."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamlet.connect import Position
from streamlet_connectors.files import FileMissingError, FileSink, JsonLines, TextLines
from tests.unit.connectors.files.test_sources import Reading
from tests.unit.job_kit import lines, make_job, run


class Follower:
    """A job that follows files, is stopped and started, and looks for new files in between."""

    def __init__(self, *paths: str, **options: Any) -> None:
        self.paths, self.options = paths, options
        self.known: dict[str, Position] = {}
        self.values: list[str] = []
        self.start()

    def start(self) -> None:
        self.source = TextLines(list(self.paths), follow=True, poll_seconds=0, **self.options)
        self.known = {**self.known, **asyncio.run(self.source.discover(self.known))}
        self.asked = dict(self.known)
        self.reading = Reading(self.source, dict(self.known), batch_records=2)

    def restart(self) -> None:
        asyncio.run(self.reading.reader.close())
        self.start()

    def look(self) -> None:
        more = asyncio.run(self.source.discover(self.asked))
        self.asked |= more
        self.known |= more
        self.reading.reader.add_splits(more)

    def read(self) -> list[str]:
        """Reads until nothing comes any more."""
        before, idle = len(self.values), 0
        while idle < 4:
            batches = self.reading.fetch() or []
            idle = 0 if batches else idle + 1
            for batch in batches:
                self.values += batch.values
                self.known[batch.split] = batch.next_position
        return self.values[before:]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(path: Path, *texts: str) -> None:
    with path.open("a") as file:
        file.write("".join(text + "\n" for text in texts))


def copytruncate(path: Path, copy: Path) -> None:
    shutil.copyfile(path, copy)
    os.truncate(path, 0)


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_renamed_log_is_read_to_its_end_and_then_the_new_one(log: Path, pattern: str, is_away: bool) -> None:
    append(log, "1", "2")
    follower = Follower(str(log.parent / pattern))
    assert follower.read() == ["1", "2"]
    old = log.rename(log.parent / "app.log.1")
    append(old, "3")
    append(log, "4")
    follower.restart() if is_away else follower.look()
    assert follower.read() == ["3", "4"]
    append(old, "5")
    append(log, "6")
    assert sorted(follower.read()) == ["5", "6"]
    follower.restart()
    assert follower.read() == []


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_rotations_while_the_job_was_away_are_all_read_in_order(log: Path, pattern: str) -> None:
    append(log, "1")
    follower = Follower(str(log.parent / pattern))
    follower.read()
    append(log, "2")
    for second, text in enumerate(("3", "4", "5")):
        for number in (3, 2, 1):
            older = log.parent / f"app.log.{number}"
            if older.exists():
                older.rename(log.parent / f"app.log.{number + 1}")
        os.utime(log, (second + 2e9, second + 2e9))
        log.rename(log.parent / "app.log.1")
        append(log, text)
    follower.restart()
    found = follower.read()
    assert sorted(found) == ["2", "3", "4", "5"]
    follower.restart()
    assert follower.read() == []


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_log_that_was_copied_and_cut_goes_on_at_its_beginning(log: Path, pattern: str, is_away: bool) -> None:
    append(log, "one", "two")
    follower = Follower(str(log.parent / pattern))
    follower.read()
    append(log, "three")
    copytruncate(log, log.parent / "app.log.1")
    append(log, "4")
    if is_away:
        follower.restart()
    found = follower.read()
    follower.look()
    found += follower.read()
    assert sorted(found) == ["4", "three"]
    append(log, "5")
    follower.restart()
    assert follower.read() == ["5"]


def test_a_copy_that_is_seen_before_the_cut_waits_for_it(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(log, "one", "two")
    follower = Follower(f"{log}*")
    follower.read()
    shutil.copyfile(log, log.parent / "app.log.1")
    follower.look()
    assert follower.read() == []
    assert "is taken as a copy" in caplog.text
    os.truncate(log, 0)
    append(log, "3")
    assert follower.read() == ["3"]


def test_a_rotated_file_that_is_packed_later_is_not_read_again(log: Path) -> None:
    append(log, "1", "2")
    follower = Follower(f"{log}*")
    follower.read()
    old = log.rename(log.parent / "app.log.1")
    append(log, "3")
    follower.look()
    assert follower.read() == ["3"]
    (log.parent / "app.log.2.gz").write_bytes(gzip.compress(old.read_bytes()))
    follower.look()
    assert follower.read() == []
    old.unlink()
    follower.look()
    assert follower.read() == []
    follower.restart()
    assert follower.read() == []


@pytest.mark.parametrize("before", ["", "".join(f"# banner {i:040}\n" for i in range(40))])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_file_that_is_written_over_is_told_and_read_anew(
    log: Path, before: str, is_away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    log.write_text(before + "a1\na2\n")
    follower = Follower(str(log))
    follower.read()
    log.write_text(before + "b1\nb2\n")
    if is_away:
        follower.restart()
    assert follower.read()[-2:] == ["b1", "b2"]
    assert f"file {log} was cut or written anew" in caplog.text


def test_bytes_in_the_midst_that_were_written_over_are_noticed(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    log.write_text("x" * 2000 + "\na\n" + "y" * 2000 + "\n")
    follower = Follower(str(log))
    follower.read()
    log.write_text("x" * 2000 + "\nb\n" + "y" * 2000 + "\n")
    os.utime(log, (2e9, 2e9))
    assert follower.read()[1] == "b"
    assert "has other bytes before byte offset" in caplog.text


def test_a_file_that_is_replaced_by_a_longer_copy_goes_on(log: Path) -> None:
    append(log, "1", "2")
    follower = Follower(str(log))
    follower.read()
    new = log.parent / ".app.log.tmp"
    new.write_text("1\n2\n3\n")
    new.rename(log)
    follower.look()
    assert follower.read() == ["3"]
    new.write_text("1\n2\n3\n4\n")
    new.rename(log)
    follower.restart()
    assert follower.read() == ["4"]


def test_a_deleted_file_is_read_to_its_end_and_the_next_may_get_its_number(log: Path) -> None:
    append(log, "1")
    follower = Follower(str(log))
    follower.read()
    append(log, "2")
    log.unlink()
    append(log, "other")
    follower.look()
    assert follower.read() == ["2", "other"]


def test_what_is_lost_in_a_rotation_while_the_job_was_away_is_told(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(log, "1")
    follower = Follower(str(log))
    follower.read()
    keep = log.parent / "elsewhere"
    log.rename(keep)  # keeps its number from being given again
    shutil.move(keep, tempfile.mkdtemp())
    append(log, "2")
    follower.restart()
    assert follower.read() == ["2"]
    assert "the old file is gone: what it had behind byte 2 is lost, if it had more" in caplog.text
    log.unlink()
    with pytest.raises(FileMissingError, match="on_missing_file='skip'"):
        follower.restart()


def test_a_file_under_several_names_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.jsonl").write_text("1\n2\n")
    (tmp_path / "in" / "a.jsonl").symlink_to("b.jsonl")
    (tmp_path / "also").symlink_to("in")
    os.link("in/b.jsonl", tmp_path / "in" / "c.jsonl")
    names = ["in/*.jsonl", "./in/b.jsonl", str(tmp_path / "in" / "b.jsonl"), "also/b.jsonl"]
    for some in itertools.permutations(names):
        reading = Reading(JsonLines(list(some)))
        assert reading.values() == [1, 2]
    (batch,) = Reading(JsonLines(names)).available()
    monkeypatch.chdir("/")
    for spelled in (str(tmp_path / "in" / "c.jsonl"), str(tmp_path / "also" / "*.jsonl")):
        source: JsonLines[Any] = JsonLines(spelled)
        known: dict[str, Position] = {batch.split: batch.next_position}
        assert Reading(source, known | dict(asyncio.run(source.discover(known)))).values() == []


def test_positions_by_path_of_older_checkpoints_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    append(tmp_path / "app.log", "1", "2")
    (batch,) = Reading(TextLines("app.log")).available()
    old: dict[str, Position] = {"app.log": list(batch.next_position)[:3]}
    append(tmp_path / "app.log", "3")
    (tmp_path / "app.log").rename("app.log.1")
    append(tmp_path / "app.log", "4")
    source = TextLines(str(tmp_path / "app.log*"), follow=True, poll_seconds=0)
    found = old | dict(asyncio.run(source.discover(old)))
    assert Reading(source, found).values() == ["3", "4"]


def test_a_bounded_job_reads_what_came_under_another_spelling_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("1\n2\n3\n")
    (tmp_path / "in" / "link.jsonl").symlink_to(tmp_path / "in" / "a.jsonl")

    job = make_job(tmp_path)
    paths = [str(tmp_path / "in" / "*.jsonl"), f"{tmp_path}/./in/a.jsonl"]
    job.source(JsonLines(paths), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert run(job).code == 0
    assert lines(tmp_path / "out") == [1, 2, 3]


steps = st.lists(
    st.sampled_from(
        ["append", "append", "rename", "copytruncate", "read", "look", "restart", "link", "delete", "pack"]
    ),
    max_size=14,
)


def _history(text: str) -> list[str]:
    return text.split()


@settings(max_examples=60, deadline=None)
@given(steps=steps)
@example(_history("read restart rename pack copytruncate look restart"))
@example(_history("copytruncate copytruncate read restart restart copytruncate look copytruncate rename"))
@example(_history("append restart append rename pack read copytruncate append copytruncate look"))
@example(_history("restart copytruncate append restart read restart pack read rename"))
@example(_history("delete restart copytruncate restart restart read pack copytruncate look pack restart"))
@example(_history("rename append restart pack delete copytruncate restart"))
def test_every_line_comes_once_whatever_happens_to_the_names(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        _live(Path(name), steps)


def _live(folder: Path, steps: list[str]) -> None:
    log, numbers, written = folder / "app.log", itertools.count(), list[str]()
    clock = itertools.count(2_000_000_000)

    def write(count: int) -> None:
        texts = [f"line {next(numbers)}" for _ in range(count)]
        append(log, *texts)
        os.utime(log, (t := next(clock), t))
        written.extend(texts)

    def shift() -> None:
        for number in range(12, 0, -1):
            for end in ("", ".gz"):
                older = folder / f"app.log.{number}{end}"
                if older.exists():
                    older.rename(folder / f"app.log.{number + 1}{end}")

    write(2)
    follower = Follower(f"{log}*", on_missing_file="skip")
    for step in steps:
        if step == "append":
            write(2)
        elif step == "rename":
            shift()
            log.rename(folder / "app.log.1")
            write(1)
        elif step == "copytruncate":
            shift()
            copytruncate(log, folder / "app.log.1")
            write(1)
        elif step == "link":
            (folder / f"app.log.link{next(numbers)}").symlink_to("app.log")
        elif step == "delete":
            follower.look()
            follower.read()
            for old in folder.glob("app.log.[0-9]*"):
                old.unlink()
        elif step == "pack" and (folder / "app.log.1").exists():
            old = folder / "app.log.1"
            (folder / "app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
            old.unlink()
        elif step == "look":
            follower.look()
        elif step == "restart":
            follower.restart()
        else:
            follower.read()
    follower.look()
    follower.read()
    follower.look()
    follower.read()
    asyncio.run(follower.reading.reader.close())
    assert len(set(follower.values)) == len(follower.values), "a line came twice"
    assert set(written) == set(follower.values)
