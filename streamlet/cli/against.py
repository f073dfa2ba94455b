"""Changing a job: the file changes, the state stays, or the start is refused before anything is written.

A job file may be edited in any way.  `streamlet run` compares it with the checkpoint that it starts from.  Either it
goes on exactly, or it ends with exit code 2, has changed nothing on disk, and names the edit or the option with which
it goes on.  Ask first, while the old version still runs:

    streamlet plan job.py --against latest      a line for each state, source and sink
    streamlet run job.py --dry-run              the same, with the options of `run`

A line says kept, new, upgraded (how), dropped, or refused (why, and the remedy); for a source also which splits are
kept, new and gone.

**What is found by what.**  A step by its `uid`, a state by the name of its attribute, a function of an aggregate by its
keyword, a field by its name: never by its place.  So steps may be moved, added and put in another order.  A step
without a `uid` is found by its kind, its key and what comes before it: give each step with state a `uid`.

    edit                                    what goes on
    another uid                             with `renamed_from="old uid"` beside the new one
    a step with state is gone               with `--allow-dropped-state UID`; `UID.STATE` for one of its states
    a field is added, with a default        by itself; state from before has the default
    a field has another name                with `renamed={"old": "new"}` on the state
    a field is gone                         with `--allow-dropped-state UID.STATE.FIELD`
    int to float, T to `T | None`,
    more members of an Enum or Literal,
    another name of a class, other order    by itself
    any other type                          with `upgrade=function` on the state: old value in, new value out
    another function or selector of an
    aggregate, other windows                where the old contents have a meaning; else named, or refused
    parallelism, processes, backend         by itself

`renamed`, `renamed_from` and the two options may stay when the next checkpoint is made; they say nothing then.

**A way back.**  `streamlet savepoint job.py --to DIR` keeps the state of a running or stopped job in a folder that
needs nothing else.  `streamlet stop job.py --savepoint DIR` does so with all that the job has written, and ends it.
`streamlet run job.py --from DIR` goes on from there with the old file, in any state directory and at any parallelism.
Files of a savepoint may be links to those of the job: copy it (`cp -r`) before you give it to another user.

**Another way.**  What no declaration can say is done with rows:

    streamlet state list job.py                              what there is, with types
    streamlet state export job.py UID STATE --to rows.jsonl  one row per entry; or rows.parquet
    streamlet state import job.py UID STATE rows.jsonl --to DIR [--replace]
    streamlet state import job.py --job other-name --rename OLD=NEW --to DIR

A row that comes for a key that is there takes its place, `{"key": ..., "deleted": true}` takes it away, and
`--replace` takes all away first.  What is made is a savepoint; nothing that was there is changed.

**Versions.**  A later streamlet reads what an earlier one wrote, since its first release; an earlier one refuses what a
later one wrote, and says so.
"""

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
