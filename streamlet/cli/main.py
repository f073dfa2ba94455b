"""The `streamlet` command."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import click

from streamlet.cli.against import show_dry_run
from streamlet.cli.asking import savepoint, status, stop
from streamlet.cli.checkpoints import checkpoints
from streamlet.cli.dev import dev
from streamlet.cli.help import help_
from streamlet.cli.loading import job_file_of, load_bare_job, load_job
from streamlet.cli.places import refusals_told
from streamlet.cli.plan import allowing_options, plan
from streamlet.cli.settings import OF_A_RUN, described, given_settings
from streamlet.cli.state import state
from streamlet.errors import StreamletError
from streamlet.runtime.run.job_run import WRONG, run_job
from streamlet.runtime.run.stopping import INTERRUPTED

_LASTING = ("state_dir", "parallelism", "processes", "checkpoint_interval", "state_memory")
"""Options that a start which goes on needs again; the others are for one start."""


class _Interruptible(click.Group):
    """Ctrl-C outside of a running job, as while its file is imported, ends the command without a word."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            context.exit(INTERRUPTED)


@click.group(cls=_Interruptible, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="streamlet")
def main() -> None:
    """Exactly-once stream processing in plain Python."""


@main.command()
@click.argument("job_file", metavar="JOB.PY[:NAME]")
@click.argument("arguments", nargs=-1)
@click.option("--state-dir", metavar="DIR", help="Folder of checkpoints (default: the job's, else streamlet-state).")
@click.option(
    "--from",
    "from_checkpoint",
    metavar="latest|none|ID|PATH",
    default="latest",
    show_default=True,
    help="What to go on from; none starts empty, this once.",
)
@click.option("--parallelism", type=int, help="Subtasks of each operator that does not say otherwise.")
@click.option("--processes", type=int, help="Processes that the subtasks are spread over.")
@click.option("--checkpoint-interval", metavar="DURATION", help="Time between checkpoints, such as 500ms or 5s.")
@click.option("--state-memory", metavar="SIZE", help="Memory for live keys, such as 64MB.")
@click.option(
    "--check-mutation",
    is_flag=True,
    default=None,
    help="Stop at a step that changes in place what others get; slow.",
)
@click.option("--config", "config_file", metavar="FILE", help="TOML file with a table [job] (streamlet.toml).")
@click.option("--take-over", is_flag=True, help="Take the job from a process that holds it and does not answer.")
@click.option("--accept-lost-output", is_flag=True, help="Go on though prepared output was lost.")
@click.option("--http", metavar="HOST:PORT", help="Serve metrics and probes there, such as 127.0.0.1:9470.")
@click.option("--http-token-file", metavar="FILE", help="With --http: requests must carry the token in this file.")
@allowing_options
@click.option(
    "--dry-run", is_flag=True, help="Say only how the checkpoint's state would go on, as `plan --against` does."
)
def run(job_file: str, arguments: tuple[str, ...], dry_run: bool, config_file: str | None, **options: Any) -> None:
    """Run a job until its input ends or Ctrl-C; started again, it goes on from its last checkpoint.

    ARGUMENTS after -- are the job file's sys.argv.
    """
    lasting = [
        word
        for name in _LASTING
        if options[name] is not None
        for word in (f"--{name.replace('_', '-')}", str(options[name]))
    ]
    lasting += [] if config_file is None else ["--config", config_file]
    command = shlex.join(["streamlet", "run", job_file, *lasting, *(["--", *arguments] if arguments else [])])
    try:
        job = load_job(job_file, list(arguments), config_file)
        given = given_settings(job_file_of(job_file), config_file)
        options |= {name: given[name].value for name in OF_A_RUN if name in given and options[name] is None}
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)
    if dry_run:
        with refusals_told():
            show_dry_run(job, options)
        return
    sys.exit(run_job(job, command=command, job_file=_absolute(job_file), arguments=arguments, **options))


@main.command()
@click.argument("job_file", metavar="JOB.PY[:NAME]")
@click.argument("arguments", nargs=-1)
@click.option("--config", "config_file", metavar="FILE", help="TOML file with a table [job] (streamlet.toml).")
def config(job_file: str, arguments: tuple[str, ...], config_file: str | None) -> None:
    """Show each setting of a job, and where its value is from: job file, TOML file, or environment."""
    with refusals_told():
        job = load_bare_job(job_file, list(arguments))
        lines = described(job.config, given_settings(job_file_of(job_file), config_file))
    width = max(len(name) for name, _, _ in lines)
    for name, value, origin in lines:
        click.echo(f"{name:{width}} = {value}  ({origin})")


def _absolute(job_file: str) -> str:
    """Other processes may have to find it."""
    return os.path.abspath(job_file)  # noqa: PTH100 - the name of a job may follow the path


main.add_command(checkpoints)
main.add_command(dev)
main.add_command(help_)
main.add_command(plan)
main.add_command(savepoint)
main.add_command(state)
main.add_command(status)
main.add_command(stop)
