"""`streamlet checkpoints`: what is there to go on from."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from streamlet.checkpoint.layout import folder_name
from streamlet.checkpoint.lock import read_instance
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.cli.loading import load_job
from streamlet.cli.run import WRONG
from streamlet.clock import SystemClock
from streamlet.errors import StreamletError
from streamlet.machine.disk import LocalDisk


@click.group()
def checkpoints() -> None:
    """Look at a job's checkpoints."""


@checkpoints.command("list")
@click.argument("job", metavar="JOB.PY|NAME")
@click.option("--state-dir", metavar="DIR", help="Folder of checkpoints (default: the job's, else streamlet-state).")
def list_checkpoints(job: str, state_dir: str | None) -> None:
    """List the complete checkpoints of a job, oldest first."""
    from rich.console import Console
    from rich.table import Table

    storage = _storage(job, state_dir)
    infos = storage.checkpoints()
    if not infos:
        click.echo(f"job {storage.job!r} has no checkpoint in {storage.folder}")
        return
    now = SystemClock().now_ms()
    table = Table("id", "kind", "age", "committed", "size", "restored from", box=None, pad_edge=False)
    for info in infos:
        manifest = info.manifest
        table.add_row(
            str(info.id),
            "damaged" if manifest is None else manifest.kind,
            "" if manifest is None else _age(now - manifest.created_ms),
            "yes" if info.is_marked else "no",
            f"{(info.files_bytes + info.manifest_bytes) / 1024:,.0f} kB",
            "" if manifest is None else manifest.restored_from,
        )
    click.echo(f"job {storage.job!r} in {storage.folder}")
    Console(highlight=False).print(table)


@checkpoints.command()
@click.argument("job", metavar="JOB.PY|NAME")
@click.option("--state-dir", metavar="DIR", help="Folder of checkpoints (default: the job's, else streamlet-state).")
def verify(job: str, state_dir: str | None) -> None:
    """Hash every file of every checkpoint and name each that is damaged; exit code 1 if there is one."""
    storage = _storage(job, state_dir)
    damages: list[str] = []
    instance = ""
    try:
        instance = read_instance(LocalDisk(), storage.folder)
    except StreamletError as error:
        damages.append(error.message)
        click.echo(error.message)
    for info in storage.checkpoints():
        found = storage.damages(info, instance)
        damages += found
        click.echo("\n  ".join([f"checkpoint {info.id}: {'damaged' if found else 'whole'}", *found]))
    for path in storage.unnamed():
        click.echo(f"no checkpoint names {path}: the running job made it, or a start removes it")
    sys.exit(1 if damages else 0)


def _storage(job: str, state_dir: str | None) -> CheckpointStorage:
    """The storage of a job given by its file, or by its name for a state directory whose job file is elsewhere."""
    directory = state_dir or "streamlet-state"
    if not job.endswith(".py") and ".py:" not in job and (Path(directory) / folder_name(job)).is_dir():
        return CheckpointStorage(Path(directory), job, LocalDisk())
    try:
        loaded = load_job(job, [])
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)
    return CheckpointStorage(Path(state_dir or loaded.config.state_dir), loaded.name, LocalDisk())


def _age(milliseconds: int) -> str:
    seconds = max(0, milliseconds // 1000)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
