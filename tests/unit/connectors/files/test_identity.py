"""Which file is which, where a file system gives the number of a deleted file again."""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path

import pytest

from streamlet.connect import Position
from streamlet_connectors.files import TextLines
from streamlet_connectors.files import identity as identity_module
from streamlet_connectors.files.identity import identity_of
from tests.unit.connectors.files.test_rotation import Follower, append
from tests.unit.connectors.files.test_sources import Reading


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def test_a_number_that_is_given_again_is_another_file(log: Path) -> None:
    append(log, "1")
    first = identity_of(str(log))
    assert first is not None
    log.unlink()
    append(log, "2")
    again = identity_of(str(log))
    assert again is not None
    assert not first.is_same(again)
    assert again.is_same(identity_of(str(log)))
    assert first.is_same(first._replace(birth=0)), "where a birth is not known, device and number have to do"


def test_a_file_system_that_does_not_say_births_is_told_once(
    log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(identity_module, "_BIRTH", 0)
    append(log, "1")
    append(log.parent / "other.log", "2")
    follower = Follower(f"{log.parent}/*.log")
    assert sorted(follower.read()) == ["1", "2"]
    assert caplog.text.count("does not say when a file was made") == 1


def test_positions_of_checkpoints_without_a_birth_are_found(log: Path) -> None:
    append(log, "1")
    (batch,) = Reading(TextLines(log)).available()
    assert isinstance(batch.next_position, list)
    *first, _, cuts = batch.next_position
    old: dict[str, Position] = {batch.split: [*first, cuts]}
    append(log, "2")
    log.rename(log.parent / "app.log.1")
    append(log, "3")
    source = TextLines(f"{log}*", follow=True, poll_seconds=0)
    reading = Reading(source, old | dict(asyncio.run(source.discover(old))))
    assert reading.values() + reading.values() == ["2", "3"]


@pytest.mark.parametrize("is_away", [False, True])
def test_a_file_that_is_packed_before_its_first_record_is_read_is_known_again(log: Path, is_away: bool) -> None:
    append(log, "1", "2")
    follower = Follower(f"{log}*")
    (log.parent / "app.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, "3")
    follower.restart() if is_away else follower.look()
    assert sorted(follower.read()) == ["1", "2", "3"]
    follower.restart()
    assert follower.read() == []


def test_a_file_that_was_empty_when_it_was_found_and_is_gone_stops_nobody(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.touch()
    follower = Follower(f"{log}*")
    follower.read()
    append(log, "1")
    (log.parent / "app.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    follower.restart()
    assert follower.read() == ["1"]
    assert "is lost, if it had more" in caplog.text


def test_a_file_that_is_renamed_while_it_is_looked_for_is_found(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(log, "1")
    follower = Follower(str(log))
    follower.read()
    old, listdir = log.rename(log.parent / "app.log.1"), os.listdir
    append(old, "2")

    def rename_then(folder: str) -> list[str]:
        names = listdir(folder)
        if old.exists():
            old.rename(log.parent / "app.log.2")
        return names

    monkeypatch.setattr(os, "listdir", rename_then)
    follower.restart()
    assert follower.read() == ["2"]
