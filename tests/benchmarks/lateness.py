"""Runs a job as `streamlet run` does, with a task beside it that notes by how much the event loop is late.

`python -m tests.benchmarks.lateness FIGURES ARGUMENT...`: the arguments are those of `streamlet`; the figures go into
the file as JSON when the job ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import streamlet.runtime.run.job_run
from streamlet.cli.main import main
from tests.benchmarks.reporting import percentiles_ms

_NAP_SECONDS = 0.001


class Noted:
    """What the probe saw at each nap, in seconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        """How much longer it took than it should have."""
        self.busy: list[float] = []
        """CPU of the loop's thread meanwhile: what is late by the job itself, whatever else runs on the machine."""

    def figures(self) -> dict[str, float]:
        """Percentiles in milliseconds."""
        late = percentiles_ms(self.late)
        busy = {f"busy_{name}": value for name, value in percentiles_ms(self.busy).items()}
        return {"naps": len(self.late), **late, **busy}


async def probe(noted: Noted) -> None:
    """Sleeps a millisecond, again and again."""
    while True:
        began, before = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_NAP_SECONDS)
        noted.late.append(time.perf_counter() - began - _NAP_SECONDS)
        noted.busy.append(time.thread_time() - before)


async def with_probe(job: Coroutine[Any, Any, int], noted: Noted) -> int:
    """Awaits the job with the probe beside it."""
    probing = asyncio.create_task(probe(noted))
    try:
        return await job
    finally:
        probing.cancel()


class ProbedRunner:
    """The runner of production, but for the probe."""

    def __init__(self, runner: asyncio.Runner, noted: Noted) -> None:
        self._runner, self._noted = runner, noted

    def __enter__(self) -> ProbedRunner:
        self._runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)

    def run(self, job: Coroutine[Any, Any, int]) -> int:
        return self._runner.run(with_probe(job, self._noted))


def launch(arguments: list[str]) -> None:
    """Runs the command with the probe; exits as it does."""
    target, *sys.argv[1:] = arguments
    noted = Noted()
    make = streamlet.runtime.run.job_run.uvloop_runner
    # Around the command as it is: the product has no switch for this.
    streamlet.runtime.run.job_run.uvloop_runner = lambda: ProbedRunner(make(), noted)  # type: ignore[assignment,return-value]
    try:
        main()
    finally:
        Path(target).write_text(json.dumps(noted.figures()))


if __name__ == "__main__":
    launch(sys.argv[1:])
