"""Kills small jobs at every step, disk call and request: `python -m tests.simulation.crash_everywhere`.

Each way of dying is run on its own: killed; killed with a power cut; paused there, taken over, and woken up; killed
twice, the second time while it restores; and killed, then a power cut at every later call that changes the disk, for
what a killed process left without an fsync is seen by the next one and must not be believed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from tests.simulation.process import KINDS
from tests.simulation.scenario import Faults, Scenario
from tests.simulation.seeds import default_workers, describe, over_processes
from tests.simulation.small_scenarios import SMALL
from tests.simulation.world import simulate

STEPS = tuple(kind for kind in KINDS if kind != "marker")
CHUNK = 25
LINE_EVERY = 1000


@dataclass(frozen=True)
class Death:
    """One run: the job, how it dies, and where."""

    scenario: str
    way: str
    crashes: tuple[tuple[str, int], ...]

    def faults(self, own: Faults) -> Faults:
        faults = replace(own, crashes=self.crashes, power=1.0 if self.way == "power cut" else 0.0)
        if self.way == "paused":
            return replace(faults, pauses=(True,))
        if self.way == "kill, then power cut":
            return replace(faults, power_cuts=(False, True))
        return faults


@dataclass
class Swept:
    """What came of some deaths."""

    runs: Counter[str] = field(default_factory=Counter)
    died: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Swept) -> None:
        self.runs.update(other.runs)
        self.died += other.died
        self.failures += other.failures


def total_steps(name: str, kind: str) -> int:
    """How many steps of this kind a job takes when nothing goes wrong."""
    return simulate(SMALL[name]()).processes[0].counts[kind]


def deaths(name: str, stride: int) -> Iterator[Death]:
    """Every death of one small job, or each one of `stride`; where it begins differs from job to job."""
    begin = 1 + sum(name.encode()) % stride
    for kind in STEPS:
        most = total_steps(name, kind)
        for at in range(begin, most, stride):
            for way in ("kill", "power cut", "paused"):
                yield Death(name, way, ((kind, at),))
            yield Death(name, "kill twice", ((kind, at), ("disk", 1 + at % 60)))


def power_cuts_after_kills(name: str, stride: int) -> Iterator[Death]:
    """A kill at every disk call, and after it a power cut at every disk call of the next process."""
    most = total_steps(name, "disk")
    pairs = ((at, then) for at in range(1, most) for then in range(1, 120))
    for at, then in islice(pairs, sum(name.encode()) % stride, None, stride):
        yield Death(name, "kill, then power cut", (("disk", at), ("disk", then)))


def sweep(some: Iterable[Death]) -> Swept:
    """Runs deaths one after the other."""
    swept = Swept()
    for death in some:
        one: Scenario = SMALL[death.scenario]()
        one.faults = death.faults(one.faults)
        swept.runs[death.way] += 1
        try:
            swept.died += simulate(one).crashes
        except Exception as error:
            swept.failures.append(f"{death}: {describe(error)}")
    return swept


def sweep_all(
    stride: int, pair_stride: int, workers: int, say: Callable[[Swept, Swept], None] = lambda *_: None
) -> Swept:
    """Over all small jobs and worker processes. `say` gets the sum and what was added to it."""

    def pieces() -> Iterator[list[Death]]:
        for name in SMALL:
            for every in (partial(deaths, name, stride), partial(power_cuts_after_kills, name, pair_stride)):
                rest = every()
                while chunk := list(islice(rest, CHUNK)):
                    yield chunk

    total = Swept()
    for swept in over_processes(sweep, pieces(), workers):
        total.add(swept)
        say(total, swept)
    return total


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crash_everywhere", description=__doc__)
    parser.add_argument("--stride", type=int, default=1, help="only each so many-th step (default 1: all)")
    parser.add_argument("--pair-stride", type=int, default=1, help="the same for a kill with a power cut after it")
    parser.add_argument("--workers", type=int, default=default_workers())
    options = parser.parse_args(argv)
    began = time.monotonic()
    total = sweep_all(options.stride, options.pair_stride, options.workers, _say)
    ways = ", ".join(f"{count} {way}" for way, count in sorted(total.runs.items()))
    print(f"{len(SMALL)} small jobs, {total.runs.total()} runs in {time.monotonic() - began:.0f} s: {ways}")
    print(f"processes that died: {total.died}; failures: {len(total.failures)}")
    for text in total.failures:
        print(f"  {text}")
    return 1 if total.failures else 0


def _say(total: Swept, added: Swept) -> None:
    for text in added.failures:
        print(f"FAILED: {text}", flush=True)
    if total.runs.total() % LINE_EVERY < CHUNK:
        print(f"{total.runs.total()} runs, {len(total.failures)} failed", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
