"""Runs seeds, one or very many, and says what came of them."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from tests.simulation.scenario import scenario
from tests.simulation.world import World, simulate

A = TypeVar("A")
B = TypeVar("B")

CHUNK = 10
MOST_WORKERS = 4
ONE_SEED = "python -m tests.simulation.campaign --seeds 1 --from"


@dataclass
class Report:
    """What seeds have shown."""

    seeds: int = 0
    processes: int = 0
    restarts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """Kind -> how often it happened."""
    cpu_seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)
    """Seed -> the command that repeats it, and what is wrong."""

    def add(self, other: Report) -> None:
        self.seeds += other.seeds
        self.processes += other.processes
        self.restarts += other.restarts
        self.faults.update(other.faults)
        self.cpu_seconds += other.cpu_seconds
        self.failures.update(other.failures)

    def count(self, world: World) -> None:
        self.processes += len(world.processes)
        self.restarts += world.restarts
        self.faults.update(world.happened)


def run_seeds(seeds: Iterable[int]) -> Report:
    """Runs seeds one after the other; nothing that they raise comes out."""
    report = Report()
    began = time.process_time()
    for seed in seeds:
        report.seeds += 1
        try:
            report.count(simulate(scenario(seed)))
        except Exception as error:
            report.failures[seed] = f"{ONE_SEED} {seed}\n    {describe(error)}"
    report.cpu_seconds = time.process_time() - began
    return report


def describe(error: BaseException) -> str:
    """One line for what the oracle says, and the place for what nobody expected."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, AssertionError) and str(error):
        return text
    return f"{text}\n    {''.join(traceback.format_tb(error.__traceback__)[-2:])}"


def chunks(seeds: Iterable[int]) -> Iterator[list[int]]:
    """Cuts seeds into pieces that are worth sending to a worker."""
    rest = iter(seeds)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def default_workers() -> int:
    """As many as there are cores, up to a bound."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


def over_processes(function: Callable[[A], B], pieces: Iterable[A], workers: int) -> Iterator[B]:
    """Applies a function to pieces in worker processes, few ahead of what was taken; results come as they are done."""
    if workers == 1:
        yield from map(function, pieces)
        return
    rest = iter(pieces)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pending: set[Future[B]] = {pool.submit(function, one) for one in islice(rest, 2 * workers)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(function, one) for one in islice(rest, len(done))}
                for one in done:
                    yield one.result()
        finally:
            for one in pending:
                one.cancel()
