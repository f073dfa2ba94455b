"""`streamlet state`: what is in a job's state, read from a checkpoint."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import click

from streamlet.cli.places import checkpoint_of, refusals_told, state_dir_option
from streamlet.errors import ConfigError
from streamlet.inspect.checkpoint import CheckpointView, StateView
from streamlet.inspect.parquet import write_parquet
from streamlet.inspect.plain_forms import json_line
from streamlet.runtime.run.limits import raise_soft_limits

_LINES_AT_ONCE = 1000

_TARGET = click.argument("target", metavar="JOB.PY|NAME|PATH")
_ID = click.option(
    "--checkpoint", "checkpoint_id", type=int, metavar="ID", help="Which checkpoint; the newest unless told."
)


@click.group()
def state() -> None:
    """Look into a job's state: from its newest checkpoint, or from any other, while it runs or not.

    Give the job file, the job's name, or the path of a checkpoint, of a savepoint or of a job's folder.
    """


@state.command("list")
@_TARGET
@_ID
@state_dir_option
@click.option("--count", is_flag=True, help="Count the entries of each, which reads all of them.")
def list_states(target: str, checkpoint_id: int | None, state_dir: str | None, count: bool) -> None:
    """List the states of all operators, with their types."""
    with _opened(target, checkpoint_id, state_dir) as checkpoint:
        rows = [("uid", "state", "kind", *(["entries"] if count else []), "key", "type")]
        for one in checkpoint.states():
            counted = [f"{sum(1 for _ in one.rows()):,}"] if count else []
            rows.append((one.uid, one.name, one.kind, *counted, str(one.columns()["key"]), one.type))
        manifest = checkpoint.manifest
        click.echo(f"job {manifest.job!r}, checkpoint {manifest.checkpoint_id} in {checkpoint.path}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@state.command()
@_TARGET
@click.argument("uid")
@click.argument("name", metavar="STATE")
@click.argument("key")
@_ID
@state_dir_option
def get(target: str, uid: str, name: str, key: str, checkpoint_id: int | None, state_dir: str | None) -> None:
    """Show what a state has for a key: text as it is, other keys as JSON. Exit code 1 when it has nothing."""
    with _opened(target, checkpoint_id, state_dir) as checkpoint:
        one = checkpoint[uid][name]
        rows = one.rows_of(_key(one, key))
        _write(sys.stdout.buffer, map(one.for_json, rows))
    if not rows:
        click.echo(f"streamlet: state {name!r} of {uid!r} has no key {key}", err=True)
        sys.exit(1)


@state.command()
@_TARGET
@click.argument("uid")
@click.argument("name", metavar="STATE")
@_ID
@state_dir_option
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="How many entries at most.")
def scan(target: str, uid: str, name: str, checkpoint_id: int | None, state_dir: str | None, limit: int) -> None:
    """Show the first entries of a state as JSON lines."""
    with _opened(target, checkpoint_id, state_dir) as checkpoint:
        one = checkpoint[uid][name]
        _write(sys.stdout.buffer, map(one.for_json, islice(one.rows(), limit)))


@state.command()
@_TARGET
@click.argument("uid")
@click.argument("name", metavar="STATE")
@_ID
@state_dir_option
@click.option(
    "--to", "out", type=click.Path(path_type=Path, dir_okay=False), help="A file; standard output unless told."
)
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), help="By the file's suffix unless told.")
def export(
    target: str,
    uid: str,
    name: str,
    checkpoint_id: int | None,
    state_dir: str | None,
    out: Path | None,
    form: str | None,
) -> None:
    """Write all entries of a state: JSON lines, or Parquet with the extra streamlet[parquet].

    Memory is bounded, whatever the size of the state.
    """
    with _opened(target, checkpoint_id, state_dir) as checkpoint:
        one = checkpoint[uid][name]
        if form == "parquet" or (form is None and out is not None and out.suffix == ".parquet"):
            if out is None:
                raise ConfigError("Parquet is not for standard output", remedy="name a file: --to state.parquet")
            count = write_parquet(one, out)
        elif out is None:
            count = _write(sys.stdout.buffer, map(one.for_json, one.rows()))
        else:
            with out.open("wb") as file:
                count = _write(file, map(one.for_json, one.rows()))
        if out is not None:
            click.echo(f"{count:,} entries of state {name!r} of {uid!r} are in {out}", err=True)


@contextmanager
def _opened(target: str, checkpoint_id: int | None, state_dir: str | None) -> Iterator[CheckpointView]:
    raise_soft_limits()
    with refusals_told():
        info = checkpoint_of(target, state_dir, checkpoint_id)
        with CheckpointView(info) as checkpoint:
            try:
                yield checkpoint
            except BrokenPipeError:  # as of `| head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(0)


def _key(one: StateView, text: str) -> Any:
    type = one.columns()["key"]
    if type.name == "str" and type.kind == "scalar":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        if type.kind == "any":
            return text
        raise ConfigError(
            f"the key {text!r:.60} is not JSON: {error}",
            remedy=f'keys of this state are {type}: write 17, \'["a", 1]\' or \'{{"shop": "a"}}\'',
        ) from error


def _write(out: BinaryIO, rows: Iterator[Any]) -> int:
    count = 0
    while lines := list(map(json_line, islice(rows, _LINES_AT_ONCE))):
        out.write(b"".join(lines))
        count += len(lines)
    out.flush()
    return count
