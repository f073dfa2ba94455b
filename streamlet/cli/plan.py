"""`streamlet plan`: shows what would run, and warns of what has no uid of its own."""

from __future__ import annotations

import sys

import click

from streamlet.cli.loading import load_job
from streamlet.cli.run import WRONG
from streamlet.errors import StreamletError
from streamlet.graph.describe import describe_plan, warnings_of


@click.command()
@click.argument("job_file", metavar="JOB.PY[:NAME]")
@click.argument("arguments", nargs=-1)
def plan(job_file: str, arguments: tuple[str, ...]) -> None:
    """Show the tasks, chains and channels of a job, without running it."""
    try:
        laid_out = load_job(job_file, list(arguments)).plan()
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)
    click.echo(describe_plan(laid_out))
    for warning in warnings_of(laid_out):
        click.echo(f"warning: {warning}", err=True)
