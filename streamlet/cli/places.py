"""What a command that looks at checkpoints is given: a job file, a job's name, or a path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from streamlet.checkpoint.finding import find_checkpoint, job_in
from streamlet.checkpoint.layout import checkpoint_number, folder_name
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.cli.loading import load_job
from streamlet.errors import ConfigError, JobDefinitionError, StreamletError
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.run.job_run import WRONG

F = TypeVar("F", bound=Callable[..., Any])

_MOST_NAMES = 10
STATE_DIR_HELP = "Folder of checkpoints (default: the job's, else streamlet-state)."


def state_dir_option(command: F) -> F:
    """The option `--state-dir`."""
    return click.option("--state-dir", metavar="DIR", help=STATE_DIR_HELP)(command)


@contextmanager
def refusals_told() -> Iterator[None]:
    """Tells an error of streamlet as the command line does, and ends the command with 2."""
    try:
        yield
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)


def storage_of(job: str, state_dir: str | None) -> CheckpointStorage:
    """The storage of a job given by its file, by its folder, or by its name for a state directory whose job file is
    elsewhere."""
    directory = Path(state_dir or "streamlet-state")
    if not is_job_file(job):
        if (directory / folder_name(job)).is_dir():
            return CheckpointStorage(directory, job, LocalDisk())
        if is_place(Path(job)):
            folder = Path(job).absolute()
            folder = folder if checkpoint_number(folder.name) is None else folder.parent
            return CheckpointStorage(directory, job_in(LocalDisk(), folder, Path(job)), LocalDisk(), folder=folder)
    if not is_job_file(job) and not Path(job).is_file():
        known = [path.name for path in sorted(directory.glob("*")) if path.is_dir()]
        raise ConfigError(
            f"there is no job file {job}, and no job of that name in {directory}",
            remedy=f"give the job file, the path of a checkpoint, or a job's name, with its --state-dir; {directory} "
            f"has {', '.join(known[:_MOST_NAMES]) or 'none'}",
        )
    try:
        loaded = load_job(job, [])
    except JobDefinitionError as error:
        remedy = f"{error.remedy}; or give the job's name, for which no file is read"
        raise JobDefinitionError(error.message, remedy=remedy) from error
    return CheckpointStorage(Path(state_dir or loaded.config.state_dir), loaded.name, LocalDisk())


def checkpoint_of(target: str, state_dir: str | None, checkpoint_id: int | None = None) -> CheckpointInfo:
    """The checkpoint of a path, or the newest, or that of an id, of a job."""
    is_name = (Path(state_dir or "streamlet-state") / folder_name(target)).is_dir()
    if not is_job_file(target) and not is_name and is_place(Path(target)) and checkpoint_id is None:
        return find_checkpoint(LocalDisk(), Path(target))
    storage = storage_of(target, state_dir)
    return find_checkpoint(LocalDisk(), storage.folder) if checkpoint_id is None else storage.load(checkpoint_id)


def is_job_file(target: str) -> bool:
    """True for what is written like a job file."""
    return target.endswith(".py") or ".py:" in target


def is_place(path: Path) -> bool:
    """True for a folder, and for any path that is written like that of a checkpoint."""
    return checkpoint_number(path.absolute().name) is not None or path.is_dir()
