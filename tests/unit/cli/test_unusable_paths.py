"""A state directory or an output directory that cannot be used: what is in the way is said, and not tried again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job
from streamlet.connect import why_unusable
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import Ran, run

NOBODY = 65534


def a_file(folder: Path) -> tuple[Path, str]:
    (folder / "it").write_text("")
    return folder / "it", f"{folder}/it is a file and no folder"


def below_a_file(folder: Path) -> tuple[Path, str]:
    (folder / "it").write_text("")
    return folder / "it" / "deep" / "er", f"{folder}/it is a file and no folder"


def a_dangling_link(folder: Path) -> tuple[Path, str]:
    (folder / "it").symlink_to("nowhere")
    return folder / "it", f"{folder}/it is a link to nowhere, which is not there"


def a_device(folder: Path) -> tuple[Path, str]:
    return Path("/dev/null"), "/dev/null is a device and no folder"


def what_takes_no_folder(folder: Path) -> tuple[Path, str]:
    return Path("/proc/of/mine"), "/proc takes no new folder"


UNUSABLE = [a_file, below_a_file, a_dangling_link, a_device, what_takes_no_folder]
Making = Callable[[Path], tuple[Path, str]]


def ran_with(out: Path, state: Path) -> Ran:
    job = Job("job", state_dir=str(state))
    job.source(Generator(int, count=5), uid="numbers").sink(FileSink[Any](out), uid="out")
    return run(job)


@pytest.mark.parametrize("making", UNUSABLE)
def test_an_output_directory_that_cannot_be_says_what_is_in_the_way_and_is_not_tried_again(
    tmp_path: Path, making: Making
) -> None:
    out, words = making(tmp_path)
    ran = ran_with(out, tmp_path / "state")
    assert ran.code == 1
    assert f"cannot write to {out}: " in ran.said
    assert words in ran.said
    assert "restart 1" not in ran.said


@pytest.mark.parametrize("making", UNUSABLE)
def test_a_state_directory_that_cannot_be_says_what_is_in_the_way_and_is_not_tried_again(
    tmp_path: Path, making: Making
) -> None:
    state, words = making(tmp_path)
    ran = ran_with(tmp_path / "out", state)
    assert ran.code == 1
    assert words in ran.said
    assert "--state-dir" in ran.said
    assert "restart 1" not in ran.said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a while")
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_folder_of_another_user_is_named_with_its_rights(tmp_path: Path, mode: int) -> None:
    above = Path("/tmp", f"streamlet-{tmp_path.parent.name}-{tmp_path.name}-{mode:o}")
    above.mkdir()
    folder = above / "theirs"
    folder.mkdir()
    folder.chmod(mode)
    try:
        with as_nobody():
            error = the_error_of(lambda: (folder / "below").mkdir())
            words = why_unusable(folder / "below", error)
    finally:
        folder.rmdir()
        above.rmdir()
    assert words.startswith(f"Permission denied: user {NOBODY} may not ")
    assert f"{folder} (drwx" in words


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def the_error_of(function: Callable[[], object]) -> OSError:
    with pytest.raises(OSError, match="denied") as caught:
        function()
    return caught.value
