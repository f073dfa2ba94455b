"""Runs any number of seeds over all cores: `python -m tests.simulation.campaign --seeds 100000`.

With one seed it says all that is known of it.  Exit code 1 when a seed fails; each failure names the command that
repeats it.  A seed stands for the same run on every machine, as long as the code is the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator

from tests.simulation.scenario import scenario
from tests.simulation.seeds import Report, chunks, over_processes, run_seeds
from tests.simulation.world import simulate

SECONDS_BETWEEN_LINES = 10.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--minutes", type=float, default=None, help="begin no seed after so many minutes")
    options = parser.parse_args(argv)
    if options.seeds == 1:
        return _one(options.first)
    return _many(range(options.first, options.first + options.seeds), options.workers, options.minutes)


def _one(seed: int) -> int:
    one = scenario(seed)
    print(one)
    world = simulate(one)  # what it raises is shown with all its causes
    print(*world.said, sep="\n")
    print(f"processes ended: {', '.join(world.outcomes)}")
    print(f"restarts in them: {world.restarts}; faults: {_kinds(world.happened)}; counted: {world.total}")
    print(f"seed {seed} is all right")
    return 0


def _many(seeds: range, workers: int, minutes: float | None) -> int:
    began = said = time.monotonic()
    until = None if minutes is None else began + minutes * 60

    def while_there_is_time() -> Iterator[list[int]]:
        for chunk in chunks(seeds):
            if until is not None and time.monotonic() > until:
                return
            yield chunk

    total = Report()
    for report in over_processes(run_seeds, while_there_is_time(), workers):
        total.add(report)
        for text in report.failures.values():
            print(f"FAILED: {text}", flush=True)
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            rate = total.seeds / (said - began)
            rest = (len(seeds) - total.seeds) / rate / 60
            print(
                f"{total.seeds} of {len(seeds)} seeds, {rate:.1f}/s, {len(total.failures)} failed, "
                f"{rest:.0f} min to go",
                file=sys.stderr,
                flush=True,
            )
    _summary(total, time.monotonic() - began)
    return 1 if total.failures else 0


def _summary(total: Report, seconds: float) -> None:
    print(
        f"{total.seeds} seeds in {seconds:.0f} s: {total.seeds / seconds:.1f} seeds/s, "
        f"{1000 * total.cpu_seconds / max(1, total.seeds):.0f} ms of CPU per seed"
    )
    print(f"{total.processes} processes, {total.restarts} restarts in them; faults: {_kinds(total.faults)}")
    print(f"failures: {len(total.failures)}")
    for seed in sorted(total.failures):
        print(f"  {total.failures[seed]}")


def _kinds(faults: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
