"""`streamlet status`, `savepoint` and `stop`: what is asked of a running job, or done in the place of one."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from streamlet.checkpoint.finding import find_checkpoint
from streamlet.checkpoint.layout import checkpoint_name
from streamlet.checkpoint.lock import LOCK, JobLock
from streamlet.checkpoint.savepoints import write_savepoint
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.cli.places import refusals_told, state_dir_option, storage_of
from streamlet.errors import CheckpointError, ConfigError, JobLockedError, StateDirectoryError
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from streamlet.runtime.run.control import VERSION, Reply, Request, address, peer_user
from streamlet.runtime.run.job_run import FAILED

_JOB = click.argument("job", metavar="JOB.PY|NAME")
_ANSWER_SECONDS = 10.0
"""Within so long a running job says something: its event loop is never held for longer, unless a function blocks."""
_ENDED = "see what the job said; `streamlet checkpoints list` shows what is kept"


@click.command()
@_JOB
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def status(job: str, state_dir: str | None, as_json: bool) -> None:
    """Show what a running job does; exit code 1 when it does not run."""
    with refusals_told():
        storage = storage_of(job, state_dir)
        found = ask(storage, Request(VERSION, "status"))
    if found is None:
        last = max((info.id for info in storage.checkpoints()), default=None)
        kept = "it has no checkpoint" if last is None else f"checkpoint {last} is kept"
        click.echo(
            json.dumps({"job": storage.job, "state": None}) if as_json else f"{storage.job}: not running; {kept}"
        )
        sys.exit(FAILED)
    click.echo(json.dumps(found) if as_json else "\n".join(_status_lines(found)))


@click.command()
@_JOB
@state_dir_option
@click.option("--to", type=click.Path(path_type=Path), metavar="DIR", help="A new folder for it.")
@click.option("--checkpoint", "checkpoint_id", type=int, metavar="ID", help="Of a stopped job: not the last one.")
def savepoint(job: str, state_dir: str | None, to: Path | None, checkpoint_id: int | None) -> None:
    """Keep the state of a job in a folder of its own: of a running one now, of a stopped one as it was left.

    The folder needs nothing else and may be moved; `streamlet run job.py --from DIR` starts from it, in any state
    directory.
    """
    with refusals_told():
        storage = storage_of(job, state_dir)
        if checkpoint_id is None:
            request = Request(VERSION, "savepoint", str((to or _unused(storage)).absolute()))
            if (done := ask(storage, request)) is not None:
                _tell_made(done["savepoint"])
                return
        _tell_made(str(_of_stopped(storage, to, checkpoint_id)))


@click.command()
@_JOB
@state_dir_option
@click.option(
    "--savepoint", "to", type=click.Path(path_type=Path), metavar="DIR", help="Keep its state in a new folder."
)
def stop(job: str, state_dir: str | None, to: Path | None) -> None:
    """Stop a running job with a last checkpoint, as Ctrl-C does, and wait until it has ended."""
    with refusals_told():
        storage = storage_of(job, state_dir)
        done = ask(storage, Request(VERSION, "stop", None if to is None else str(to.absolute())))
        if done is None:
            raise StateDirectoryError(
                f"job {storage.job!r} does not run on {storage.folder}",
                remedy="nothing to stop" if to is None else f"`streamlet savepoint {job} --to {to}` keeps what it left",
            )
    if "savepoint" in done:
        _tell_made(done["savepoint"])
    click.echo(done["ended"])
    sys.exit(done["code"])


def ask(storage: CheckpointStorage, request: Request) -> dict[str, Any] | None:
    """Gives what a running job answers; None when the job does not run. Raises what it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(address(storage.folder))
            _require_trusted(connection, storage)
            with contextlib.suppress(BrokenPipeError):  # who refuses has closed already, and has said why
                connection.sendall(msgspec.json.encode(request) + b"\n")
            return _answer(connection, storage, request)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        _require_stopped(storage)
        return None
    except PermissionError as error:
        raise StateDirectoryError(
            f"{storage.folder} may not be read: {error.strerror}", remedy="ask as the user who runs the job"
        ) from error


def _require_trusted(connection: socket.socket, storage: CheckpointStorage) -> None:
    """Raises `StateDirectoryError` where not the job's user listens: anybody may take a name that is free."""
    user, owner = peer_user(connection), (storage.folder / LOCK).lstat().st_uid
    if user not in (owner, 0):
        raise StateDirectoryError(
            f"what answers for job {storage.job!r} is a process of user {user}, and the job is one of user {owner}",
            remedy="ask as the user who runs the job; when it is not running, that process only pretends to be it",
        )


def _answer(connection: socket.socket, storage: CheckpointStorage, request: Request) -> dict[str, Any]:
    for reply in _replies(connection, storage, request):
        if reply.error:
            raise StateDirectoryError(f"job {storage.job!r}: {reply.error}", remedy=reply.remedy)
        if reply.done is not None:
            return reply.done
        click.echo(f"{storage.job}: {reply.said}", err=True)
    raise StateDirectoryError(f"job {storage.job!r} ended before it had answered", remedy=_ENDED)


def _replies(connection: socket.socket, storage: CheckpointStorage, request: Request) -> Iterator[Reply]:
    if request.command != "status":
        connection.settimeout(None)  # a last checkpoint takes as long as it takes: the job itself gives it up in time
    with connection.makefile("rb") as lines:
        try:
            for line in lines:
                yield msgspec.json.decode(line, type=Reply)
        except TimeoutError as error:
            raise StateDirectoryError(
                f"job {storage.job!r} does not answer within {_ANSWER_SECONDS:g} s",
                remedy="a function of the job may hold its event loop: see what the job says",
            ) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise StateDirectoryError(f"job {storage.job!r} gave no answer: {error}") from error


def _require_stopped(storage: CheckpointStorage) -> None:
    """Raises `JobLockedError` for a job that runs where it cannot be reached: on another machine, or just starting."""
    if not storage.folder.is_dir():
        raise ConfigError(
            f"job {storage.job!r} never ran on {storage.folder}", remedy="name the state directory with --state-dir"
        )
    lock = JobLock(storage.folder, local_ports())
    try:
        lock.acquire()
    except JobLockedError as error:
        raise JobLockedError(
            f"{error.message}, which cannot be reached from here",
            remedy="ask on its machine and in its container; when it only begins or ends, ask again",
        ) from error
    lock.release()


def _of_stopped(storage: CheckpointStorage, to: Path | None, checkpoint_id: int | None) -> Path:
    disk, lock = LocalDisk(), JobLock(storage.folder, local_ports())
    if checkpoint_id is not None and not storage.folder.is_dir():
        storage.load(checkpoint_id)
    lock.acquire()  # no start of the job may remove what is being kept
    try:
        if checkpoint_id is not None:
            info = storage.load(checkpoint_id)
        elif storage.checkpoints():
            info = find_checkpoint(disk, storage.folder)
        else:
            raise CheckpointError(
                f"job {storage.job!r} has no checkpoint in {storage.folder}", remedy="run it, then stop it"
            )
        storage.verify(info.manifest, full=True) if info.manifest is not None else None
        return write_savepoint(disk, info, (to or _unused(storage)).absolute())
    finally:
        lock.release()


def _unused(storage: CheckpointStorage) -> Path:
    """A folder for a savepoint whose place nobody named."""
    folder = storage.folder / "savepoints"
    numbers = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()]
    return folder / f"{max(numbers, default=0) + 1:04d}"


def _tell_made(path: str) -> None:
    target = Path(path).parent
    click.echo(f"savepoint {target}")
    click.echo(f"start a job from it with: streamlet run JOB.PY --from {target}", err=True)


def _status_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['job']}: {found['state']}, process {found['pid']}, {found['health'] or 'healthy'}"
    lag = "" if found["lag"] is None else f", {found['lag']:,} behind"
    yield f"{found['records']:,} records read since it began{lag}; {found['restarts']} restarts"
    if found["checkpoint"] is not None:
        age = found["checkpoint_age_seconds"]
        when = "restored" if age is None else f"complete {age:.1f} s ago, took {found['checkpoint_seconds']:.2f} s"
        yield f"checkpoint {found['checkpoint']} ({checkpoint_name(found['checkpoint'])}): {when}"
    yield f"{found['keys']:,} keys in memory, {found['state_bytes'] / (1 << 20):,.1f} MB of it for state"
    yield from found["counts"]
