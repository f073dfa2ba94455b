"""Runs seeds of the simulated Kafka: `python -m tests.simulation.kafka_seeds --seeds 1000`.

`--seeds 1 --from 17` repeats one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.kafka_scenario import KafkaScenario, kafka_scenario
from tests.simulation.kafka_world import KafkaWorld
from tests.simulation.seeds import chunks, describe, over_processes

ONE_SEED = "python -m tests.simulation.kafka_seeds --seeds 1 --from"


@dataclass
class KafkaReport:
    """What seeds have shown."""

    seeds: int = 0
    happened: dict[str, int] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    def count(self, world: KafkaWorld) -> None:
        for kind, count in world.happened().items():
            self.happened[kind] = self.happened.get(kind, 0) + count

    def add(self, other: KafkaReport) -> None:
        self.seeds += other.seeds
        self.failures.update(other.failures)
        for kind, count in other.happened.items():
            self.happened[kind] = self.happened.get(kind, 0) + count


def simulate_kafka(one: KafkaScenario) -> KafkaWorld:
    """Runs a scenario; raises `AssertionError` for what it finds."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    root = Path(tempfile.mkdtemp(prefix="streamlet-simulated-", dir=base))
    try:
        world = KafkaWorld(one, root / "state")
        world.run()
        return world
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run_kafka_seeds(seeds: Iterable[int]) -> KafkaReport:
    """Runs seeds one after the other; nothing that they raise comes out."""
    report = KafkaReport()
    for seed in seeds:
        report.seeds += 1
        try:
            report.count(simulate_kafka(kafka_scenario(seed)))
        except Exception as error:
            report.failures[seed] = f"{ONE_SEED} {seed}\n    {describe(error)}"
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.kafka_seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    options = parser.parse_args()
    if options.seeds == 1:
        world = simulate_kafka(kafka_scenario(options.first))  # what it raises is shown with all its causes
        print(kafka_scenario(options.first), *world.said, world.outcomes, world.happened(), sep="\n")
        return 0
    return _many(range(options.first, options.first + options.seeds), options.workers)


def _many(seeds: range, workers: int) -> int:
    began = time.monotonic()
    total = KafkaReport()
    for report in over_processes(run_kafka_seeds, chunks(seeds), workers):
        total.add(report)
        for text in report.failures.values():
            print(f"FAILED: {text}", flush=True)
    seconds = time.monotonic() - began
    happened = ", ".join(f"{count} {kind}" for kind, count in sorted(total.happened.items()))
    print(f"{total.seeds} seeds in {seconds:.0f} s, {len(total.failures)} failed: {happened}")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
