"""`streamlet plan`: shows what would run, and warns of what has no uid of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from streamlet.cli.against import show_against
from streamlet.cli.loading import load_job
from streamlet.errors import StreamletError
from streamlet.graph.describe import describe_plan, warnings_of
from streamlet.runtime.run.job_run import WRONG
from streamlet.runtime.task.placement import describe_placement
from streamlet.state.evolution.findings import Allowed

F = TypeVar("F", bound=Callable[..., Any])


def allowing_options(command: F) -> F:
    """The options that let state go, or go on with another meaning."""
    dropped = click.option(
        "--allow-dropped-state",
        multiple=True,
        metavar="UID[.STATE[.FIELD]]",
        help="Let this go, which the checkpoint holds; may be given several times.",
    )
    changed = click.option(
        "--allow-changed-state",
        multiple=True,
        metavar="UID[.STATE[.PART]]",
        help="Keep what the checkpoint holds here, though it was made otherwise; may be given several times.",
    )
    return dropped(changed(command))


@click.command()
@click.argument("job_file", metavar="JOB.PY[:NAME]")
@click.argument("arguments", nargs=-1)
@click.option("--parallelism", type=int, help="Subtasks of each operator that does not say otherwise.")
@click.option("--processes", type=int, help="Show too which process hosts which subtasks.")
@click.option("--state-dir", metavar="DIR", help="Folder of checkpoints (default: the job's, else streamlet-state).")
@click.option(
    "--against",
    metavar="latest|ID|PATH",
    help="Show instead how a checkpoint's state would go on; exit code 2 where `run` would refuse it.",
)
@allowing_options
def plan(
    job_file: str,
    arguments: tuple[str, ...],
    parallelism: int | None,
    processes: int | None,
    state_dir: str | None,
    against: str | None,
    allow_dropped_state: tuple[str, ...],
    allow_changed_state: tuple[str, ...],
) -> None:
    """Show the tasks, chains and channels of a job, without running it."""
    try:
        job = load_job(job_file, list(arguments))
        given = {"parallelism": parallelism, "processes": processes, "state_dir": state_dir}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        laid_out = job.plan(replace(job.config, **changes))
        laid_out.allowed = Allowed.of(allow_dropped_state, allow_changed_state)
        if against is not None:
            show_against(job.name, laid_out, against)
            return
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)
    click.echo(describe_plan(laid_out))
    if laid_out.config.processes > 1:
        click.echo(describe_placement(laid_out, laid_out.config.processes))
    for warning in warnings_of(laid_out):
        click.echo(f"warning: {warning}", err=True)
