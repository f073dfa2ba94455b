"""Every tool on checkpoints that are damaged, cut, foreign or newer: one error with a remedy, nothing changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli_kit import ROOT, here

GOLDEN = ROOT / "tests" / "recovery" / "golden" / "format-2" / "kinds" / "rocksdb"
ID = "10"


def manifest(folder: Path) -> Path:
    return folder / "chk-00000010" / "manifest"


def logs(folder: Path) -> list[Path]:
    return [path for path in folder.glob("files/*.log") if path.read_bytes().startswith(b"SLETLOG")]


def tables(folder: Path) -> list[Path]:
    return list(folder.glob("files/*.sst"))


def cut(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])


def flip(*paths: Path) -> None:
    for path in paths:
        data = bytearray(path.read_bytes())
        data[20] ^= 1
        path.write_bytes(data)


def gone(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def newer(path: Path) -> None:
    data = bytearray(path.read_bytes()[:-16])
    data[8:10] = (99).to_bytes(2, "big")
    path.write_bytes(data + hashlib.blake2b(data, digest_size=16).digest())


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD_MANIFESTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda folder: cut(manifest(folder)), "manifest is damaged: it has "),
    "bit": (lambda folder: flip(manifest(folder)), "manifest is damaged: its checksum does not fit"),
    "empty": (lambda folder: manifest(folder).write_bytes(b""), "manifest is damaged: it is empty"),
    "foreign": (lambda folder: manifest(folder).write_text("Dear diary,\n" * 100), "it does not begin like a manifest"),
    "newer": (lambda folder: newer(manifest(folder)), "is a checkpoint of format 99; this streamlet reads formats"),
    "gone": (lambda folder: gone(manifest(folder)), "manifest cannot be read: No such file"),
    "folder": (lambda folder: folder_in_its_place(manifest(folder)), "manifest cannot be read: Is a directory"),
}
BAD_FILES: dict[str, Callable[[Path], object]] = {
    "logs cut": lambda folder: cut(*logs(folder)),
    "logs bit": lambda folder: flip(*logs(folder)),
    "logs gone": lambda folder: gone(*logs(folder)),
    "tables cut": lambda folder: cut(*tables(folder)),
    "tables bit": lambda folder: flip(*tables(folder)),
    "tables gone": lambda folder: gone(*tables(folder)),
    "all gone": lambda folder: shutil.rmtree(folder / "files"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The job's folder in a state directory."""
    shutil.copytree(GOLDEN, tmp_path / "state" / "job", ignore=shutil.ignore_patterns("before.json"))
    (tmp_path / "rows.jsonl").write_text('{"key":1,"value":2}\n')
    return tmp_path / "state" / "job"


def readers(folder: Path) -> list[list[str]]:
    """What reads state, and so its files."""
    out, place = folder.parent.parent, str(folder)
    return [
        ["checkpoints", "diff", place, str(GOLDEN), place, "--entries"],
        ["state", "list", place, "--count"],
        ["state", "get", place, "timed", "largest", "1"],
        ["state", "scan", place, "timed", "largest"],
        ["state", "export", place, "timed", "largest", "--to", str(out / "new.jsonl")],
        ["state", "export", place, "timed", "largest", "--to", str(out / "new.parquet")],
        ["state", "import", place, "timed", "largest", str(out / "rows.jsonl"), "--to", str(out / "made")],
        ["savepoint", "job", "--state-dir", str(folder.parent), "--to", str(out / "kept")],
        ["savepoint", "job", "--state-dir", str(folder.parent), "--to", str(out / "kept"), "--checkpoint", ID],
    ]


def contents(folder: Path) -> dict[Path, bytes]:
    """All that is there, but for the lock, which a savepoint takes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def refused(folder: Path, arguments: list[str], message: str) -> None:
    """The command ends with one error that has this text and a remedy, and nothing has changed anywhere."""
    top = folder.parent.parent
    before = contents(top)
    done = here(*arguments)
    assert (done.exit_code, done.stdout) == (2, ""), (arguments, done.output)
    assert done.stderr.startswith("streamlet: "), (arguments, done.stderr)
    assert message in done.stderr, (arguments, done.stderr)
    assert "\n  -> " in done.stderr, (arguments, done.stderr)
    assert len(done.stderr.splitlines()) <= 12
    assert "/proc/" not in done.stderr and "/base-" not in done.stderr, "files are named as the user knows them"
    assert contents(top) == before, arguments


@pytest.mark.parametrize("bad", BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_read_is_named_by_every_tool(folder: Path, bad: str) -> None:
    change, message = BAD_MANIFESTS[bad]
    change(folder)
    place = str(folder)
    for arguments in (
        *readers(folder),
        ["state", "list", place],
        ["checkpoints", "show", place],
        ["checkpoints", "show", place, ID],
        ["checkpoints", "diff", place, ID, ID],
    ):
        refused(folder, arguments, message)
    refused(folder, ["checkpoints", "delete", "job", ID, "--state-dir", str(folder.parent)], "is needed to go on")


@pytest.mark.parametrize("bad", BAD_FILES)
def test_files_of_state_that_are_not_what_was_written_are_named_by_every_tool_that_reads_them(
    folder: Path, bad: str
) -> None:
    BAD_FILES[bad](folder)
    for arguments in readers(folder):
        refused(folder, arguments, f"{folder}")
    verified = here("checkpoints", "verify", str(folder))
    assert verified.exit_code == 1
    assert verified.stdout.startswith("checkpoint 10: damaged\n")
    assert str(folder / "files") in verified.stdout


@pytest.mark.parametrize("bad", BAD_MANIFESTS)
def test_one_bad_checkpoint_does_not_hide_the_others_of_its_folder(tmp_path: Path, bad: str) -> None:
    folder = tmp_path / "whole"
    shutil.copytree(GOLDEN.parents[1] / "whole" / "streamlet-state" / "whole", folder)
    (folder / "chk-00000006").rename(folder / "chk-00000010")
    BAD_MANIFESTS[bad][0](folder)
    listed = here("checkpoints", "list", str(folder))
    assert listed.exit_code == 0, listed.stderr
    assert [line.split()[:2] for line in listed.stdout.splitlines()[2:]] == [["5", "periodic"], ["10", "damaged"]]
    assert here("checkpoints", "show", str(folder), "5").exit_code == 0


def test_a_file_that_was_there_is_kept_when_an_export_fails_and_replaced_when_it_does_not(folder: Path) -> None:
    out = folder.parent.parent / "rows.jsonl"
    whole = tables(folder)[0].parent
    shutil.copytree(whole, folder / "good")
    flip(*tables(folder))
    refused(folder, ["state", "export", str(folder), "timed", "largest", "--to", str(out)], str(folder))
    shutil.rmtree(whole)
    (folder / "good").rename(whole)
    assert here("state", "export", str(folder), "timed", "largest", "--to", str(out)).exit_code == 0
    assert len(out.read_text().splitlines()) == 5
    assert not list(out.parent.glob(".*"))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_export_to_where_nothing_can_be_written_says_so(folder: Path, suffix: str) -> None:
    for place, why in (("nowhere/new", "No such file or directory"), ("rows.jsonl/new", "Not a directory")):
        out = folder.parent.parent / f"{place}.{suffix}"
        refused(folder, ["state", "export", str(folder), "timed", "largest", "--to", str(out)], why)
