"""How quick each query of Nexmark is: `python -m tests.benchmarks nexmark --events 1000000 --queries q0,q5`.

Each query is a job of its own, started by `streamlet run`, from JSON lines to JSON lines exactly-once, with its state
in RocksDB and a checkpoint every second.  Figures are from when it has started to the end of its process; every result
is checked against SQL.  No time is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.meter import Meter
from tests.benchmarks.nexmark.generator import Nexmark, write
from tests.benchmarks.nexmark.jobs import QUERIES
from tests.benchmarks.nexmark.oracle import Oracle, written
from tests.benchmarks.reporting import Report, Row, with_common_options
from tests.recovery.running_jobs import RunningJob

JOB = Path(__file__).with_name("job.py")
_LONGEST_SECONDS = 3600.0
COLUMNS = (
    "events_per_second",
    "cpu_seconds_per_million",
    "peak_rss_mb",
    "peak_child_rss_mb",
    "rows_written",
    "rows_of_result",
)


def one_run(name: str, inputs: Path, oracle: Oracle | None, options: argparse.Namespace) -> dict[str, float]:
    """Runs one query over the whole input."""
    with tempfile.TemporaryDirectory(prefix="streamlet-nexmark-") as root:
        folder, out = Path(root), Path(root) / "out"
        environment = {"NEXMARK_QUERIES": name, "NEXMARK_IN": str(inputs), "NEXMARK_OUT": str(out)}
        spread = ("--parallelism", str(options.parallelism), "--processes", str(options.processes))
        interval = ("--checkpoint-interval", options.interval)
        job = RunningJob(JOB, folder / "state", *spread, *interval, environment=environment)
        meter = Meter(job.pid)
        try:
            job.wait_until(lambda: job.has_restored, "it runs")
            began = time.monotonic()
            meter.note()
            code = job.wait(_LONGEST_SECONDS)
            seconds = time.monotonic() - began
        finally:
            job.close()
            meter.close()
        if code != 0:
            raise SystemExit(f"{name} ended with {code}:\n{job.said}")
        return {
            "events": options.events,
            "seconds": round(seconds, 2),
            "events_per_second": round(options.events / seconds),
            "cpu_seconds_per_million": round((meter.cpu_seconds - meter.noted_seconds) / options.events * 1e6, 2),
            "peak_rss_mb": meter.peak_bytes >> 20,
            "peak_child_rss_mb": meter.peak_child_bytes >> 20,
            "rows_written": len(written(out / name)),
            "rows_of_result": -1 if oracle is None else oracle.check(QUERIES[name], out / name),
        }


def table(rows: Sequence[Row]) -> str:
    """The median of each figure over the rounds, a line for each query."""
    lines = ["query" + "".join(f"{column:>24}" for column in COLUMNS)]
    for name in dict.fromkeys(row["program"] for row in rows):
        own = [row for row in rows if row["program"] == name]
        middle = [statistics.median(float(row[column]) for row in own) for column in COLUMNS]
        lines.append(f"{name:5}" + "".join(f"{figure:>24,.{0 if figure >= 100 else 1}f}" for figure in middle))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks nexmark", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--queries", default=",".join(QUERIES), help="such as q0,q5; all of them unless told")
    parser.add_argument("--events-per-second", type=int, default=10_000, help="of event time: how far they are apart")
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--interval", default="1s", help="time between the job's checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unchecked", action="store_true", help="do not check the results")
    options = with_common_options(parser, rounds=1).parse_args(arguments)
    names = options.queries.split(",")
    if strange := [name for name in names if name not in QUERIES]:
        parser.error(f"no query is called {strange[0]!r}; there are {', '.join(QUERIES)}")
    report = Report("nexmark", options.json)
    with tempfile.TemporaryDirectory(prefix="streamlet-nexmark-in-") as folder:
        inputs = Path(folder)
        write(inputs, Nexmark(options.events_per_second, options.seed), options.events)
        oracle = None if options.unchecked else Oracle(inputs)
        for number in range(options.rounds):
            for name in names:
                report.add(name, number, one_run(name, inputs, oracle, options))
    print(table(report.rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
