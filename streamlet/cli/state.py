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
import msgspec

from streamlet.cli.places import checkpoint_of, refusals_told, state_dir_option
from streamlet.clock import SystemClock
from streamlet.errors import ConfigError
from streamlet.inspect.checkpoint import CheckpointView, StateView, nearest
from streamlet.inspect.importing import Import
from streamlet.inspect.parquet import read_parquet, write_parquet
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

    Memory is bounded, whatever the size of the state.  A file that is there already is replaced when all is written.
    """
    is_parquet = form == "parquet" or (form is None and out is not None and out.suffix == ".parquet")
    with _opened(target, checkpoint_id, state_dir) as checkpoint:
        one = checkpoint[uid][name]
        if out is None:
            if is_parquet:
                raise ConfigError("Parquet is not for standard output", remedy="name a file: --to state.parquet")
            _write(sys.stdout.buffer, map(one.for_json, one.rows()))
            return
        with _whole_or_not(out) as place:
            if is_parquet:
                count = write_parquet(one, place)
            else:
                with place.open("wb") as file:
                    count = _write(file, map(one.for_json, one.rows()))
        click.echo(f"{count:,} entries of state {name!r} of {uid!r} are in {out}", err=True)


@state.command("import")
@_TARGET
@click.argument("uid", required=False)
@click.argument("name", metavar="[STATE]", required=False)
@click.argument("source", metavar="[FILE]", required=False)
@click.option("--to", "out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new folder.")
@_ID
@state_dir_option
@click.option("--replace", "replaces", is_flag=True, help="Take away all that the state holds first.")
@click.option("--job", "job", metavar="NAME", help="Give the state to a job of this name.")
@click.option("--rename", "renames", multiple=True, metavar="UID=NEW", help="Give a step this uid.")
def import_rows(
    target: str,
    uid: str | None,
    name: str | None,
    source: str | None,
    out: Path,
    checkpoint_id: int | None,
    state_dir: str | None,
    replaces: bool,
    job: str | None,
    renames: tuple[str, ...],
) -> None:
    """Make a new savepoint of a checkpoint and of rows: JSON lines, Parquet (*.parquet), or - for standard input.

    Rows are as `export` writes them, and are put over what the state holds; {"key": ..., "deleted": true} takes away
    what is there for a key. Without UID, STATE and FILE the state stays as it is, for --job and --rename alone.
    """
    with _opened(target, checkpoint_id, state_dir) as checkpoint:
        renamed = _renamed(renames, checkpoint)
        if (uid is None) != (source is None):
            raise ConfigError("a state and a file go together", remedy="give UID STATE FILE, or none of them")
        made = Import(checkpoint, out.absolute(), SystemClock())
        try:
            count = 0
            if uid is not None and name is not None and source is not None:
                rows = _Rows(source)
                count = made.put(uid, name, rows, replaces=replaces, place=rows.place)
            path = made.finish(job=job, renamed=renamed)
        except BaseException:
            made.give_up()
            raise
    click.echo(f"savepoint {path.parent}")
    click.echo(f"{count:,} rows imported; start a job from it with: streamlet run JOB.PY --from {out}", err=True)


class _Rows:
    """The rows of a file, one by one, so that the last one that came is the one in question."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._line = 0

    def place(self, number: int) -> str:
        """Where the last row is: `number` is its own."""
        return f"{self._source}, {f'line {self._line}' if self._line else f'row {number}'}"

    def __iter__(self) -> Iterator[Any]:
        if self._source.endswith(".parquet"):
            yield from read_parquet(Path(self._source))
            return
        try:
            with sys.stdin.buffer if self._source == "-" else Path(self._source).open("rb") as lines:
                for self._line, line in enumerate(lines, 1):
                    if line.strip():
                        yield _row_of(line, f"{self._source}, line {self._line}")
        except OSError as error:
            raise ConfigError(
                f"{self._source} cannot be read: {error.strerror}", remedy="name a file of rows"
            ) from error


def _row_of(line: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where} is not JSON: {error}", remedy='write one object per line: {"key": "a", "value": 1}'
        ) from error


def _renamed(renames: tuple[str, ...], checkpoint: CheckpointView) -> dict[str, str]:
    manifest = checkpoint.manifest
    known = {*manifest.parallelism, *checkpoint, *manifest.positions}
    found: dict[str, str] = {}
    for text in renames:
        old, equals, new = text.partition("=")
        if not equals or not new:
            raise ConfigError(f"--rename {text!r} is not UID=NEW", remedy="write --rename old-uid=new-uid")
        if old not in known:
            raise ConfigError(f"the checkpoint has no uid {old!r}", remedy=nearest(old, sorted(known)))
        found[old] = new
    if taken := [new for new in found.values() if new in known - found.keys()]:
        raise ConfigError(f"the checkpoint has a uid {taken[0]!r} already", remedy="give another one")
    return found


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
            except OSError as error:
                raise ConfigError(
                    f"what was found cannot be written: {error.strerror or error}",
                    remedy="look at where standard output goes, and at the space there and in the temporary folder",
                ) from error


@contextmanager
def _whole_or_not(out: Path) -> Iterator[Path]:
    """A place to write to that becomes the file `out` at the end, or nothing when it does not come to that."""
    is_plain = out.is_file() or not out.exists()  # no device, no pipe
    place = out.with_name(f".{out.name}.partial") if is_plain else out
    try:
        try:
            yield place
            if is_plain:
                place.replace(out)
        finally:
            if is_plain:
                place.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {os.strerror(error.errno) if error.errno else error}",
            remedy="name a file in a folder that is there, on a disk with free space (--to); no part of it was kept",
        ) from error


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
