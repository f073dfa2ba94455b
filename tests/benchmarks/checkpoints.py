"""What checkpoints cost: the keyed count at several intervals, in turn: `python -m tests.benchmarks checkpoints`.

The job reads to the end of the topic and finishes.  `off` is an interval longer than the run: its one checkpoint is the
last.  Seconds are counted from the first record, so starting costs nothing here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import programs
from tests.benchmarks.meter import Meter
from tests.benchmarks.output_topic import PARTITIONS, committed
from tests.benchmarks.reporting import Report, with_common_options
from tests.benchmarks.workloads import WORKLOADS
from tests.kafka.broker import Kafka, a_kafka

OFF = "off"
_OFF_INTERVAL = "240s"
"""Longer than any run, and shorter than Kafka lets a transaction be open."""
_LONGEST_SECONDS = 230.0
_LOOK_SECONDS = 0.01
WORK = WORKLOADS["spend"]
COMPARED = ("running_seconds", "cpu_seconds_per_million")


def one_run(kafka: Kafka, interval: str, in_topic: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs the job to the end of its input, and checks what it wrote."""
    out_topic = f"bench-out-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(out_topic, PARTITIONS)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-checkpoints-"))
    first = folder / "first"
    environment = {"BOOTSTRAP": kafka.bootstrap, "IN_TOPIC": in_topic, "OUT_TOPIC": out_topic, "FIRST": str(first)}
    program = programs.job(folder, 1, _OFF_INTERVAL if interval == OFF else interval)
    try:
        with program.running({**environment, "WORK": "first_record", "STOP": "latest"}, folder) as process:
            meter = Meter(process.pid)
            began = time.monotonic()
            while process.poll() is None and time.monotonic() - began < _LONGEST_SECONDS:
                time.sleep(_LOOK_SECONDS)
            ended = time.monotonic()
        meter.close()
        if process.returncode != 0:
            raise RuntimeError((folder / f"{program.name}.log").read_text(errors="replace")[-3000:])
        WORK.check(committed(kafka.bootstrap, out_topic), options.records)
        return {
            "running_seconds": round(ended - float(first.read_text()), 3),
            "cpu_seconds_per_million": round(meter.cpu_seconds / options.records * 1e6, 3),
            "peak_rss_mb": round(meter.peak_bytes / (1 << 20), 1),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kafka.delete_topic(out_topic)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks checkpoints", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--intervals", nargs="+", default=["200ms", "1s", "5s"])
    options = with_common_options(parser).parse_args(arguments)
    report = Report("checkpoints", options.json)
    intervals = [one for one in options.intervals if one != OFF]
    names = [*intervals, OFF]
    with a_kafka(os.environ) as kafka:
        in_topic = f"bench-in-{uuid.uuid4().hex[:8]}"
        WORK.fill(kafka, in_topic, options.records)
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else names[::-1]:
                report.add(name, number, one_run(kafka, name, in_topic, options))
        kafka.delete_topic(in_topic)
    print(report.table())
    for name in intervals:
        print(report.ratios(name, OFF, COMPARED))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
