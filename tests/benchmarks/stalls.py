"""By how much the event loop is late while very much state changes: `python -m tests.benchmarks stalls`.

A keyed count over a million keys that all change between two checkpoints.  A task in the job's loop sleeps a
millisecond, again and again, and notes how much longer it took.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import programs
from tests.benchmarks.large_state_input import Input
from tests.benchmarks.manifests import Manifests
from tests.benchmarks.meter import Meter
from tests.benchmarks.reporting import Report, with_common_options

JOB = Path(__file__).with_name("large_state_job.py")
NAME = "large-state"
_LONGEST_SECONDS = 600.0


def one_run(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the job to its end."""
    folder = Path(tempfile.mkdtemp(prefix="streamlet-stalls-"))
    given = Input(options.keys, options.passes, 1, 0)
    environment = {**given.environment(), "OUT": str(folder / "out"), "INTERVAL_MS": str(options.interval_ms)}
    program = programs.probed(JOB, folder, "--state-memory", options.memory)
    manifests = Manifests(folder / "state" / NAME)
    try:
        with program.running(environment, folder) as process:
            meter = Meter(process.pid)
            code = process.wait(_LONGEST_SECONDS)
        meter.close()
        manifests.look()
        if code != 0:
            raise RuntimeError((folder / f"{program.name}.log").read_text(errors="replace")[-3000:])
        return {
            **program.lateness(),
            "records": given.records,
            "checkpoints": len(manifests.seen),
            "most_changed_keys": max((one.changed for one in manifests.seen), default=0),
            "cpu_seconds_per_million": round(meter.cpu_seconds / given.records * 1e6, 3),
            "peak_rss_mb": round(meter.peak_bytes / (1 << 20), 1),
        }
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the job did not end within {_LONGEST_SECONDS:g} s") from None
    finally:
        manifests.close()
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks stalls", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--interval-ms", type=int, default=5_000, help="time between checkpoints")
    parser.add_argument("--memory", default="2GB", help="for live keys")
    options = with_common_options(parser).parse_args(arguments)
    report = Report("stalls", options.json)
    for number in range(options.rounds):
        report.add(f"{options.keys:,} keys", number, one_run(options))
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
