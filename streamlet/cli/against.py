"""The plan of a job against a checkpoint: what `run` would find, told without running."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import StateRefusedError
from streamlet.graph.plan import ExecutionPlan
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.job.foreseen import deadlines_of, findings_of, foreseen_restore, lines_of, splits_of
from streamlet.runtime.job.restoring import request_of
from streamlet.runtime.run.job_run import RunnableJob, configured, options_of
from streamlet.state.evolution.findings import Allowed


def show_dry_run(job: RunnableJob, options: dict[str, Any]) -> None:
    """Prints what `streamlet run` with these options would find."""
    run = options_of(options)
    plan = job.plan(configured(job.config, run))
    plan.allowed = Allowed.of(run.allow_dropped_state, run.allow_changed_state)
    show_against(job.name, plan, run.from_checkpoint, accept_lost_output=run.accept_lost_output)


def show_against(name: str, plan: ExecutionPlan, wanted: str, *, accept_lost_output: bool = False) -> None:
    """Prints a line for each state, source and sink.  Raises what `run` would be refused with, or `StateRefusedError`
    when a line says so."""
    disk = LocalDisk()
    storage = CheckpointStorage(Path(plan.config.state_dir), name, disk)
    request = request_of(storage, disk, wanted)
    info = foreseen_restore(storage, request, plan, accept_lost_output=accept_lost_output)
    if info is None or info.manifest is None:
        click.echo(f"{name}: starts empty")
        return
    click.echo(f"{name} against checkpoint {info.id} in {info.path}")
    splits = asyncio.run(splits_of(plan, info.manifest))
    asked = {one.uid for one in splits}
    findings = [
        one
        for one in findings_of(plan, info.manifest, is_settled=info.is_marked)
        if one.kind != "source" or one.uid not in asked
    ]
    findings += splits
    for line in lines_of(findings):
        click.echo(line)
    if not info.is_marked:
        for line in deadlines_of(info.manifest):
            click.echo(line)
    refused = sum(one.verdict == "refused" for one in findings)
    if refused:
        raise StateRefusedError(
            f"`streamlet run` would refuse checkpoint {info.id}: {refused} of {len(findings)} lines above",
            remedy="each says the edit or the option that makes it go on",
        )
