"""A state directory as an earlier release left it when it was killed is gone on from in place; a later one's is not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.cli_kit import cli

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(path.parent.name for path in GOLDEN.glob("format-*/whole"))
COUNT = 500


def whole(folder: Path, form: str = FORMATS[0], name: str = "whole") -> Path:
    """A copy of a golden directory with the job file beside it; gives the job's folder."""
    shutil.copytree(GOLDEN / form / name, folder, dirs_exist_ok=True)
    shutil.copy(GOLDEN / "whole.py", folder)
    return folder / "streamlet-state" / "whole"


def visible(folder: Path) -> list[list[int]]:
    return [json.loads(line) for path in folder.glob("out/part-*") for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("backend", ["memory", "rocksdb"])
def test_a_directory_of_each_format_is_gone_on_from_exactly(tmp_path: Path, form: str, backend: str) -> None:
    whole(tmp_path, form)
    before = len(visible(tmp_path))
    done = cli(tmp_path, "run", "whole.py", "--", str(COUNT), backend, "100000")
    assert done.returncode == 0, done.stderr
    assert "restored checkpoint" in done.stderr
    assert 0 < before < COUNT
    assert sorted(visible(tmp_path)) == sorted([number % 7, number // 7 + 1] for number in range(COUNT))


PREPARED = "/tmp/streamlet-golden-00000000"
"""Where the jobs of `format-*/prepared` ran: what they prepared is named by its absolute path."""


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder whose path is as long as that one."""
    with tempfile.TemporaryDirectory(prefix="streamlet-golden-", dir="/tmp") as folder:
        assert len(folder) == len(PREPARED)
        yield Path(folder)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("backend", ["memory", "rocksdb"])
def test_output_that_was_prepared_in_each_format_is_committed_and_gone_on_from(
    elsewhere: Path, form: str, backend: str
) -> None:
    """The process was killed between a checkpoint and its commit."""
    folder = whole(elsewhere, form, "prepared")
    (manifest,) = {path.parent for path in folder.glob("chk-*/manifest")} - {
        path.parent for path in folder.glob("chk-*/committed")
    }
    sealed(manifest / "manifest", lambda data: data.replace(PREPARED.encode(), os.fsencode(elsewhere)))
    (hidden,) = (elsewhere / "out").glob(".part-*")
    prepared = hidden.read_text()
    done = cli(elsewhere, "run", "whole.py", "--", str(COUNT), backend, "100000")
    assert done.returncode == 0, done.stderr
    assert "restored checkpoint 4" in done.stderr
    (made_visible,) = (elsewhere / "out").glob("part-00000004-*")
    assert made_visible.read_text() == prepared
    assert not hidden.exists()
    assert sorted(visible(elsewhere)) == sorted([number % 7, number // 7 + 1] for number in range(COUNT))


def sealed(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes a manifest, so that it is as whole as any."""
    data = change(path.read_bytes()[:-16])
    path.write_bytes(data + hashlib.blake2b(data, digest_size=16).digest())


def newer_manifest(folder: Path) -> Path:
    """Gives the newest manifest a format that is not there yet."""
    path = max(folder.glob("chk-*")) / "manifest"
    sealed(path, lambda data: data[:8] + struct.pack(">H", 99) + data[10:])
    return path


def newer_instance(folder: Path) -> Path:
    path = folder / "instance"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    return path


@pytest.mark.parametrize("change", [newer_manifest, newer_instance])
def test_what_a_later_release_wrote_is_refused_by_its_format_and_nothing_is_changed(
    tmp_path: Path, change: Callable[[Path], Path]
) -> None:
    folder = whole(tmp_path)
    changed = change(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    done = cli(tmp_path, "run", "whole.py", "--", str(COUNT), "memory", "100000")
    assert done.returncode in (1, 2)
    said = done.stderr.splitlines()
    assert any(f"{changed.relative_to(tmp_path)} is" in line and "of format 99" in line for line in said), done.stderr
    assert any("-> start the job with the version of streamlet that" in line for line in said)
    assert any("nothing is damaged" in line for line in said)
    assert {path: path.read_bytes() for path in before} == before
    assert "checkpoint 6" not in done.stderr, "it does not fall back to an older one"
