"""`streamlet checkpoints`: what is there to go on from."""

from __future__ import annotations

import sys

import click

from streamlet.checkpoint.layout import BEGAN
from streamlet.checkpoint.lock import JobLock, read_instance
from streamlet.checkpoint.retention import CheckpointInfo, releasable
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.cli.places import checkpoint_of, refusals_told, state_dir_option, storage_of
from streamlet.clock import SystemClock
from streamlet.errors import ConfigError, JobLockedError, StreamletError
from streamlet.inspect.checkpoint import CheckpointView
from streamlet.inspect.comparing import describe_checkpoint, differences
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from streamlet.runtime.run.job_run import LOCKED
from streamlet.runtime.run.limits import raise_soft_limits

_JOB = click.argument("job", metavar="JOB.PY|NAME|PATH")


@click.group()
def checkpoints() -> None:
    """Look at a job's checkpoints."""


@checkpoints.command("list")
@_JOB
@state_dir_option
def list_checkpoints(job: str, state_dir: str | None) -> None:
    """List the complete checkpoints of a job, oldest first."""
    from rich.console import Console
    from rich.table import Table

    with refusals_told():
        storage = storage_of(job, state_dir)
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
@_JOB
@click.argument("checkpoint_id", metavar="[ID]", type=int, required=False)
@state_dir_option
def show(job: str, checkpoint_id: int | None, state_dir: str | None) -> None:
    """Show one checkpoint, the newest unless told: states, positions of sources, what sinks have prepared."""
    with refusals_told():
        info = checkpoint_of(job, state_dir, checkpoint_id)
        for line in describe_checkpoint(info):
            click.echo(line)


@checkpoints.command()
@_JOB
@click.argument("one", metavar="ID|PATH")
@click.argument("other", metavar="ID|PATH")
@state_dir_option
@click.option("--entries", is_flag=True, help="Compare the entries of each state too, which reads all of them.")
def diff(job: str, one: str, other: str, state_dir: str | None, entries: bool) -> None:
    """Say in what two checkpoints differ; exit code 1 when they do."""
    raise_soft_limits()
    with (
        refusals_told(),
        CheckpointView(_named(job, one, state_dir)) as before,
        CheckpointView(_named(job, other, state_dir)) as after,
    ):
        found = list(differences(before, after, entries=entries))
    for line in found:
        click.echo(line)
    sys.exit(1 if found else 0)


@checkpoints.command()
@_JOB
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@state_dir_option
def delete(job: str, ids: tuple[int, ...], state_dir: str | None) -> None:
    """Delete checkpoints that the job does not need to go on: those before its newest committed one.

    The job must not run.
    """
    ports = local_ports()
    with refusals_told():
        storage = storage_of(job, state_dir)
        _require_deletable(storage, ids)
        lock = JobLock(storage.folder, ports)
        try:
            lock.acquire()
        except JobLockedError as error:
            click.echo(f"streamlet: {error}", err=True)
            sys.exit(LOCKED)
        try:
            storage.begin_attempt(lock.still_mine)
            _require_deletable(storage, ids)
            gone = storage.release(retain=0, may_go=ids.__contains__)
        finally:
            lock.release()
    click.echo(f"deleted: {', '.join(map(str, gone))}")


@checkpoints.command()
@_JOB
@state_dir_option
def verify(job: str, state_dir: str | None) -> None:
    """Hash every file of every checkpoint and name each that is damaged; exit code 1 if there is one."""
    with refusals_told():
        storage = storage_of(job, state_dir)
    damages: list[str] = []
    instance = ""
    try:
        if (storage.folder / BEGAN).exists():  # else it is a savepoint, which belongs to no state directory
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


def _named(job: str, which: str, state_dir: str | None) -> CheckpointInfo:
    if which.isdecimal() and len(which) <= 18:
        return checkpoint_of(job, state_dir, int(which))
    return checkpoint_of(which, state_dir)


def _require_deletable(storage: CheckpointStorage, ids: tuple[int, ...]) -> None:
    infos = storage.checkpoints()
    there = {info.id for info in infos}
    missing = [one for one in ids if one not in there]
    if missing:
        raise ConfigError(
            f"job {storage.job!r} has no checkpoint {missing[0]} in {storage.folder}",
            remedy=f"there are: {', '.join(map(str, sorted(there))) or 'none'}",
        )
    free = {info.id for info in releasable(infos, 0)}
    needed = [one for one in ids if one not in free]
    if needed:
        raise ConfigError(
            f"checkpoint {needed[0]} is needed to go on: it is the newest committed one, or a later one",
            remedy=f"these may be deleted: {', '.join(map(str, sorted(free))) or 'none'}; "
            f"to give up the job's whole state, remove {storage.folder}",
        )


def _age(milliseconds: int) -> str:
    seconds = max(0, milliseconds // 1000)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
