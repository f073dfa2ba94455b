"""`streamlet plan`: shows what would run, and warns of what has no uid of its own."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from streamlet.cli.loading import load_job
from streamlet.errors import StreamletError
from streamlet.graph.describe import describe_plan, warnings_of
from streamlet.runtime.run.job_run import WRONG
from streamlet.runtime.task.placement import describe_placement


@click.command()
@click.argument("job_file", metavar="JOB.PY[:NAME]")
@click.argument("arguments", nargs=-1)
@click.option("--parallelism", type=int, help="Subtasks of each operator that does not say otherwise.")
@click.option("--processes", type=int, help="Show too which process hosts which subtasks.")
def plan(job_file: str, arguments: tuple[str, ...], parallelism: int | None, processes: int | None) -> None:
    """Show the tasks, chains and channels of a job, without running it."""
    try:
        job = load_job(job_file, list(arguments))
        given = {"parallelism": parallelism, "processes": processes}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        laid_out = job.plan(replace(job.config, **changes))
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)
    click.echo(describe_plan(laid_out))
    if laid_out.config.processes > 1:
        click.echo(describe_placement(laid_out, laid_out.config.processes))
    for warning in warnings_of(laid_out):
        click.echo(f"warning: {warning}", err=True)
