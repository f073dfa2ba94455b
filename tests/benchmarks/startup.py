"""How long a job takes to its first record, and what it takes in memory: `python -m tests.benchmarks startup`.

A topic holds some records; the keyed count is started anew, again and again.  Beside it: a Python that does nothing,
and one that only imports what the job imports.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import programs
from tests.benchmarks.meter import Meter
from tests.benchmarks.output_topic import PARTITIONS, Ends
from tests.benchmarks.payments import fill
from tests.benchmarks.reporting import Report, with_common_options
from tests.kafka.broker import Kafka, a_kafka

IMPORTS = {"python": "pass", "imports": "import streamlet.cli.main, streamlet_connectors.kafka"}
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.005


def imported(code: str) -> dict[str, float]:
    """Seconds of a Python process that runs this and ends."""
    environment = {**os.environ, **programs.PATHS}
    began, before = time.monotonic(), os.times()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    spent = os.times()
    return {
        "seconds": round(time.monotonic() - began, 3),
        "cpu_seconds": round(spent[2] + spent[3] - before[2] - before[3], 3),
    }


def one_start(kafka: Kafka, in_topic: str) -> dict[str, Any]:
    """Starts the job anew and stops it when its first output is visible."""
    out_topic = f"bench-out-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(out_topic, PARTITIONS)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-startup-"))
    first = folder / "first"
    environment = {"BOOTSTRAP": kafka.bootstrap, "IN_TOPIC": in_topic, "OUT_TOPIC": out_topic, "FIRST": str(first)}
    ends = Ends(kafka.bootstrap, out_topic)
    ends.stable()
    program = programs.job(folder, 1, "1s")
    began = time.monotonic()
    try:
        with program.running({**environment, "WORK": "first_record"}, folder) as process:
            meter = Meter(process.pid)
            while ends.stable() == 0:
                if process.poll() is not None or time.monotonic() - began > _PATIENCE_SECONDS:
                    raise RuntimeError((folder / f"{program.name}.log").read_text(errors="replace")[-3000:])
                time.sleep(_LOOK_SECONDS)
            visible = time.monotonic()
            spent = meter.cpu_seconds
            meter.close()
        return {
            "first_record_s": round(float(first.read_text()) - began, 3),
            "first_output_s": round(visible - began, 3),
            "cpu_seconds": round(spent, 3),
            "peak_rss_mb": round(meter.peak_bytes / (1 << 20), 1),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kafka.delete_topic(out_topic)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks startup", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000)
    options = with_common_options(parser, rounds=5).parse_args(arguments)
    report = Report("startup", options.json)
    with a_kafka(os.environ) as kafka:
        in_topic = f"bench-in-{uuid.uuid4().hex[:8]}"
        fill(kafka, in_topic, options.records)
        for number in range(options.rounds):
            for name, code in IMPORTS.items():
                report.add(name, number, imported(code))
            report.add("streamlet", number, one_start(kafka, in_topic))
        kafka.delete_topic(in_topic)
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
