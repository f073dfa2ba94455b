"""Runs seeds of jobs with windows, timers, joins, expiring state and error policies:
`python -m tests.simulation.language_seeds --seeds 1000`.

`--seeds 1 --from 17` repeats one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamlet.testing.patches import Patches
from tests.simulation import world
from tests.simulation.language_scenario import build_language, check_language, kind_of, language_scenario
from tests.simulation.seeds import chunks, describe, over_processes
from tests.simulation.world import World, simulate

ONE_SEED = "python -m tests.simulation.language_seeds --seeds 1 --from"


@dataclass
class LanguageReport:
    """What seeds have shown."""

    seeds: int = 0
    died: int = 0
    """Processes that were killed."""
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: LanguageReport) -> None:
        self.seeds += other.seeds
        self.died += other.died
        self.failures.update(other.failures)


def simulate_language(seed: int) -> World:
    """Runs the scenario of a seed; raises `AssertionError` for what it finds."""
    patches = Patches()
    patches.put(world, "build", lambda _: build_language)
    patches.put(world, "check_output", lambda _: check_language)
    try:
        return simulate(language_scenario(seed))
    finally:
        patches.undo()


def run_language_seeds(seeds: Iterable[int]) -> LanguageReport:
    """Runs seeds one after the other; nothing that they raise comes out."""
    report = LanguageReport()
    for seed in seeds:
        report.seeds += 1
        try:
            report.died += simulate_language(seed).outcomes.count("died")
        except Exception as error:
            report.failures[seed] = f"{ONE_SEED} {seed} ({kind_of(language_scenario(seed))})\n    {describe(error)}"
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.language_seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    options = parser.parse_args()
    if options.seeds == 1:
        ran = simulate_language(options.first)  # what it raises is shown with all its causes
        print(language_scenario(options.first), *ran.said, ran.outcomes, sep="\n")
        return 0
    total = LanguageReport()
    for report in over_processes(
        run_language_seeds, chunks(range(options.first, options.first + options.seeds)), options.workers
    ):
        total.add(report)
        for text in report.failures.values():
            print(f"FAILED: {text}", flush=True)
    print(f"{total.seeds} seeds, {total.died} processes killed, {len(total.failures)} failed")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
