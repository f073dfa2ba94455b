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

import streamlet.cli.run
from streamlet.cli.main import main

_NAP_SECONDS = 0.001


async def probe(late: list[float]) -> None:
    """Sleeps a millisecond, again and again, and notes how much longer it took."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_NAP_SECONDS)
        late.append(time.perf_counter() - began - _NAP_SECONDS)


async def with_probe(job: Coroutine[Any, Any, int], late: list[float]) -> int:
    """Awaits the job with the probe beside it."""
    probing = asyncio.create_task(probe(late))
    try:
        return await job
    finally:
        probing.cancel()


class ProbedRunner:
    """The runner of production, but for the probe."""

    def __init__(self, runner: asyncio.Runner, late: list[float]) -> None:
        self._runner, self._late = runner, late

    def __enter__(self) -> ProbedRunner:
        self._runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)

    def run(self, job: Coroutine[Any, Any, int]) -> int:
        return self._runner.run(with_probe(job, self._late))


def figures(late: list[float]) -> dict[str, float]:
    """Percentiles in milliseconds."""
    ordered = sorted(late) or [0.0]

    def at(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000, 2)

    return {"naps": len(late), "p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1.0)}


def launch(arguments: list[str]) -> None:
    """Runs the command with the probe; exits as it does."""
    target, *sys.argv[1:] = arguments
    late: list[float] = []
    make = streamlet.cli.run.uvloop_runner
    # Around the command as it is: the product has no switch for this.
    streamlet.cli.run.uvloop_runner = lambda: ProbedRunner(make(), late)  # type: ignore[assignment,return-value]
    try:
        main()
    finally:
        Path(target).write_text(json.dumps(figures(late)))


if __name__ == "__main__":
    launch(sys.argv[1:])
