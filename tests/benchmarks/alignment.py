"""How long a checkpoint waits where a function is slow behind a shuffle: `python -m tests.benchmarks alignment`.

A job with a function that takes a given time for each record (by default a keyed one behind a shuffle; `--shapes` has
more) runs for some seconds at several
parallelisms, in one process and in several, with a checkpoint each second, and is then stopped by SIGTERM.  From the
trigger of each checkpoint until its barriers have met in the function (and until it was acknowledged by all): median
and longest, in ms; records per second beside what the
functions alone would let through; and how long the stop took.  Figures only: no time is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tests.benchmarks.reporting import Report, with_common_options

PROJECT = Path(__file__).parents[2]
JOB = Path(__file__).with_name("alignment_job.py")
_LONGEST_STOP_SECONDS = 30.0


def one_run(
    tree: Path, shape: str, milliseconds: float, parallelism: int, processes: int, seconds: float
) -> dict[str, Any]:
    """Runs the job on the sources of `tree`."""
    with tempfile.TemporaryDirectory(prefix="streamlet-alignment-") as name:
        folder = Path(name)
        target, log = folder / "waited.json", folder / "log"
        options = ["--parallelism", str(parallelism), "--processes", str(processes), "--checkpoint-interval", "1s"]
        command = [sys.executable, str(JOB), str(target), "run", str(JOB), "--state-dir", str(folder / "state")]
        command += [*options, "--", str(milliseconds), shape, str(folder / "out")]
        paths = {"PYTHONPATH": os.pathsep.join((str(tree), str(tree / "connectors")))}
        with log.open("w") as out:
            child = subprocess.Popen(command, env={**os.environ, **paths}, stdout=out, stderr=out)
            time.sleep(seconds)
            child.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            try:
                code = child.wait(_LONGEST_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGTERM)  # the second one ends at once
                child.wait()
                code = -1
            stopping = time.monotonic() - asked
        aligned, acknowledged = json.loads(target.read_text()) if target.exists() else ([], [])
        read = re.search(r"([\d,]+) records read", log.read_text())
        records = int(read[1].replace(",", "")) if read else 0
    fastest = processes / (milliseconds / 1000) if milliseconds else 0.0
    return {
        "p50_ms": round(statistics.median(aligned) * 1000) if aligned else None,
        "max_ms": round(max(aligned) * 1000) if aligned else None,
        "acknowledged_p50_ms": round(statistics.median(acknowledged) * 1000) if acknowledged else None,
        "acknowledged_max_ms": round(max(acknowledged) * 1000) if acknowledged else None,
        "checkpoints": len(acknowledged),
        "records_per_second": round(records / (seconds + stopping), 1),
        "of_fastest": round(records / (seconds + stopping) / fastest, 2) if fastest else None,
        "stop_seconds": round(stopping, 2),
        "exit_code": code,
    }


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks alignment", description=__doc__)
    parser.add_argument("--milliseconds", type=float, nargs="*", default=[1, 5, 20, 45, 200])
    parser.add_argument("--shapes", nargs="*", default=["keyed"], help="see SHAPES of alignment_job")
    parser.add_argument("--parallelism", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a run")
    parser.add_argument("--tree", type=Path, default=PROJECT, help="other sources of streamlet to run")
    options = with_common_options(parser, rounds=1).parse_args(arguments)
    report = Report("alignment", options.json)
    for number in range(options.rounds):
        for cell in product(options.shapes, options.processes, options.milliseconds, options.parallelism):
            shape, processes, milliseconds, parallelism = cell
            figures = one_run(options.tree, shape, milliseconds, parallelism, processes, options.seconds)
            report.add(f"{shape}, {milliseconds:g} ms, p={parallelism}, processes {processes}", number, figures)
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
