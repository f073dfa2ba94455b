"""Kills small jobs at every step, disk call and request: `python -m tests.simulation.crash_everywhere`.

Each way of dying is run on its own: killed; killed with a power cut; paused there, taken over, and woken up.  The first
process dies so at every place; and the second at every place, behind a first that died when a checkpoint was decided
and its output was not settled.  And killed, then a power cut at a call by which the next process changes the disk, for
what a killed process left without an fsync is seen by the next one and must not be believed: of these pairs a hundredth
is tried, for they are many.

Places are counted in a run that is the same as those that die, but dies nowhere; a death that did not happen is a
failure.
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
from typing import Any

from streamlet.testing.patches import Patches
from streamlet.testing.process import KINDS
from tests.simulation.connectors import SimulatedCommitter
from tests.simulation.scenario import Scenario
from tests.simulation.seeds import default_workers, describe, over_processes
from tests.simulation.small_scenarios import SMALL
from tests.simulation.world import World, simulate

Place = tuple[str, int]
"""What is counted, and the how many-th of it."""
STEPS = tuple(kind for kind in KINDS if kind != "marker")
WAYS = ("kill", "power cut", "pause")
NOWHERE: Place = ("step", 10**9)
CHUNK = 25
LINE_EVERY = 1000


@dataclass(frozen=True)
class Death:
    """One run: the job, and where and how each of its first processes dies."""

    scenario: str
    crashes: tuple[Place, ...]
    ways: tuple[str, ...]

    def __str__(self) -> str:
        each = zip(self.ways, self.crashes, strict=True)
        return f"{self.scenario}: {', then '.join(f'{way} at {kind} {at}' for way, (kind, at) in each)}"

    def run(self) -> World:
        """Raises for what is wrong with the output, and when one of the deaths did not happen."""
        world = simulate(self._dying())
        pauses = self.ways.count("pause")
        if (world.crashes, world.taken_over) != (len(self.ways) - pauses, pauses):
            raise AssertionError(f"not all of it happened: {world.outcomes}")
        return world

    def _dying(self) -> Scenario:
        return _with(
            self.scenario,
            crashes=self.crashes,
            pauses=tuple(way == "pause" for way in self.ways),
            power_cuts=tuple(way == "power cut" for way in self.ways if way != "pause"),
        )


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


def _with(name: str, **faults: Any) -> Scenario:
    one = SMALL[name]()
    one.faults = replace(one.faults, **faults)
    return one


def counted(name: str, *crashes: Place) -> dict[str, int]:
    """What the process that follows on these deaths does if it does not die."""
    ways: dict[str, Any] = {"pauses": (), "power_cuts": (False,) * len(crashes)}
    return simulate(_with(name, crashes=(*crashes, NOWHERE), **ways)).processes[len(crashes)].counts


def before_a_commit(name: str) -> Place:
    """One of the earlier requests by which the first process commits: a checkpoint is decided there, and its output not
    settled."""
    places: list[int] = []

    def noting(original: Any) -> Any:
        async def commit(self: Any, committable: Any) -> None:
            process = self.line.current
            if process.number == 0:
                places.append(process.counts["outside"] + 1)
            await original(self, committable)

        return commit

    patches = Patches()
    patches.put(SimulatedCommitter, "commit", noting)
    try:
        counted(name)
    finally:
        patches.undo()
    return "outside", places[len(places) // 4]


def deaths(name: str, stride: int) -> Iterator[Death]:
    """Every death of the first process of one small job, or each one of `stride`."""
    for place in _places(name, stride, counted(name)):
        for way in _ways(place, stride):
            yield Death(name, (place,), (way,))


def deaths_of_the_second(name: str, stride: int) -> Iterator[Death]:
    """The same for its second process, which has to settle what the first has decided."""
    first = before_a_commit(name)
    for place in _places(name, stride, counted(name, first)):
        for way in _ways(place, stride):
            yield Death(name, (first, place), ("kill", way))


def power_cuts_after_kills(name: str, stride: int, then_stride: int) -> Iterator[Death]:
    """A kill at each one of `stride` disk calls, after it a power cut at each one of `then_stride` of the next
    process."""
    for _, at in _places(name, stride, counted(name), ("disk",)):
        first = ("disk", at)
        for then in _places(f"{name} {at}", then_stride, counted(name, first), ("disk",)):
            yield Death(name, (first, then), ("kill", "power cut"))


def _places(begin: str, stride: int, counts: dict[str, int], kinds: tuple[str, ...] = STEPS) -> Iterator[Place]:
    """Where it begins differs from job to job; the last one is always among them."""
    for kind in kinds:
        last = counts[kind]
        yield from ((kind, at) for at in range(1 + sum(begin.encode()) % stride, last, stride))
        yield kind, last


def _ways(place: Place, stride: int) -> tuple[str, ...]:
    """All, but where only a sample of the places is tried, one in turn."""
    return WAYS if stride == 1 else (WAYS[place[1] % len(WAYS)],)


def sweep(some: Iterable[Death]) -> Swept:
    """Runs deaths one after the other."""
    swept = Swept()
    for death in some:
        swept.runs[", then ".join(death.ways)] += 1
        try:
            swept.died += death.run().crashes
        except Exception as error:
            swept.failures.append(f"{death}: {describe(error)}")
    return swept


def sweep_all(
    stride: int,
    pair_strides: tuple[int, int],
    workers: int,
    say: Callable[[Swept, Swept], None] = lambda *_: None,
    names: Iterable[str] = tuple(SMALL),
) -> Swept:
    """Over all small jobs and worker processes. `say` gets the sum and what was added to it."""

    def pieces() -> Iterator[list[Death]]:
        for make in (
            partial(deaths, stride=stride),
            partial(deaths_of_the_second, stride=stride),
            partial(power_cuts_after_kills, stride=pair_strides[0], then_stride=pair_strides[1]),
        ):
            for name in names:
                rest = make(name)
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
    parser.add_argument(
        "--pair-strides",
        type=int,
        nargs=2,
        default=(10, 10),
        help="the same for a kill and for a power cut after it (default 10 10; 1 1: all, some 860,000 runs)",
    )
    parser.add_argument("--workers", type=int, default=default_workers())
    options = parser.parse_args(argv)
    began = time.monotonic()
    total = sweep_all(options.stride, tuple(options.pair_strides), options.workers, _say)
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
