"""Finds a checkpoint by the path that a person gives: its own folder, a savepoint's, or a job's."""

from __future__ import annotations

from pathlib import Path

from streamlet.checkpoint import layout, manifest_files
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.errors import CheckpointDamagedError, CheckpointError
from streamlet.ports import Disk

ANOTHER = "name another one; `streamlet checkpoints list` shows those of a job"
"""What helps against a checkpoint that cannot be read."""


def find_checkpoint(disk: Disk, path: Path, job: str | None = None) -> CheckpointInfo:
    """Gives the checkpoint at a path: the newest, where it is the folder of a job or of a savepoint.

    Raises `CheckpointError` when there is none, or it is not one of `job`; `CheckpointDamagedError` when it cannot be
    read.
    """
    path = path.absolute()
    number = layout.checkpoint_number(path.name)
    if number is None:
        path, number = _newest_in(disk, path)
    elif not disk.is_folder(path):
        raise _no_checkpoint(disk, path)
    info = manifest_files.look(disk, path, number, None)
    if info is not None and info.problem is not None and info.remedy is not None:
        raise CheckpointError(info.problem, remedy=info.remedy)
    if info is None or info.manifest is None:
        raise CheckpointDamagedError(
            (info and info.problem) or f"{path} cannot be read",
            remedy=ANOTHER,
        )
    if job is not None and info.manifest.job != job:
        raise CheckpointError(
            f"{path} is a checkpoint of job {info.manifest.job!r}, not of {job!r}",
            remedy=f"name a checkpoint of this job, or give it that state: `streamlet state import {path} --job {job} "
            "--to NEW`, then `--from NEW`",
        )
    return info


def job_in(disk: Disk, folder: Path, path: Path) -> str:
    """Gives the name of the job whose checkpoints lie in a folder, by any of them that can be read; raises what
    `find_checkpoint` raises for `path` when there is none."""
    for name in reversed(layout.names_in(disk, folder)):
        number = layout.checkpoint_number(name)
        info = None if number is None else manifest_files.look(disk, folder / name, number, None)
        if info is not None and info.manifest is not None:
            return info.manifest.job
    found = find_checkpoint(disk, path).manifest
    assert found is not None, "only what can be read is found"
    return found.job


def _newest_in(disk: Disk, folder: Path) -> tuple[Path, int]:
    numbers = [
        number for name in layout.names_in(disk, folder) if (number := layout.checkpoint_number(name)) is not None
    ]
    if not numbers:
        raise _no_checkpoint(disk, folder)
    return folder / layout.checkpoint_name(max(numbers)), max(numbers)


def _no_checkpoint(disk: Disk, path: Path) -> CheckpointError:
    if not disk.is_folder(path):
        beside = [name for name in layout.names_in(disk, path.parent) if layout.checkpoint_number(name) is not None]
        there = f"beside it are: {', '.join(beside[-5:])}" if beside else "look at the path"
        return CheckpointError(f"there is no folder {path}", remedy=there)
    jobs = [name for name in layout.names_in(disk, path) if disk.is_folder(path / name / layout.FILES)]
    return CheckpointError(
        f"{path} is not a checkpoint",
        remedy=f"it is a state directory: name a job in it, such as {path / jobs[0]}"
        if jobs
        else "name a folder such as <state dir>/<job>/chk-00000042, a savepoint's, or <state dir>/<job> for the newest",
    )
