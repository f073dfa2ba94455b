"""How much goes from Kafka to Kafka, beside the same work written by hand: `python -m tests.benchmarks spend`.

Fills a topic once, then lets the job and a hand-written loop drain it in turn, each from the beginning into a topic of
its own.  Every committed record is checked.  Figures only: no time is asserted.  A machine drifts, so only ratios of
one round mean something, and CPU seconds are steadier than rates.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlet.config import parse_duration
from tests.benchmarks import programs
from tests.benchmarks.draining import QUIET_SECONDS, drain
from tests.benchmarks.output_topic import PARTITIONS, committed
from tests.benchmarks.reporting import Report, with_common_options
from tests.benchmarks.workloads import WORKLOADS, Workload
from tests.kafka.broker import Kafka, a_kafka

STREAMLET, HANDWRITTEN, IN_PROCESSES = "streamlet", "handwritten", "processes"
"""The job in one process, the loop written by hand, and the job in several worker processes."""
COMPARED = (
    "records_per_second",
    "middle_records_per_second",
    "cpu_seconds_per_million",
    "running_cpu_seconds_per_million",
)


def one_run(kafka: Kafka, name: str, work: Workload, in_topic: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one program over the whole input and checks what it wrote."""
    out_topic = f"bench-out-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(out_topic, PARTITIONS)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-throughput-"))
    program = programs.handwritten()
    if name != HANDWRITTEN:
        program = programs.job(
            folder,
            max(options.parallelism, options.processes if name == IN_PROCESSES else 1),
            options.interval,
            processes=options.processes if name == IN_PROCESSES else 1,
            with_lateness=options.lateness and not options.kill_every,
        )
    environment = {
        "BOOTSTRAP": kafka.bootstrap,
        "IN_TOPIC": in_topic,
        "OUT_TOPIC": out_topic,
        "WORK": work.name,
        "INTERVAL_SECONDS": str(parse_duration(options.interval).total_seconds()),
    }
    try:
        outputs = work.outputs(options.records)
        drained = drain(program, environment, folder, outputs, options.kill_every, options.quiet)
        if not options.unchecked:
            work.check(committed(kafka.bootstrap, out_topic), options.records)
        return {"work": work.name, **drained, "checked": not options.unchecked}
    except BaseException:
        print((folder / f"{program.name}.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kafka.delete_topic(out_topic)


def names_of(options: argparse.Namespace) -> list[str]:
    """Which programs take turns."""
    if options.only:
        return [options.only]
    if options.kill_every:
        return [STREAMLET]  # The other one cannot go on.
    return [STREAMLET, IN_PROCESSES if options.processes > 1 else HANDWRITTEN]


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.throughput", description=__doc__)
    parser.add_argument("work", choices=WORKLOADS)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="above 1: the job in so many workers, too")
    parser.add_argument("--interval", default="1s", help="time between two commits")
    parser.add_argument("--kill-every", type=float, default=0.0, metavar="S", help="kill -9 the job every S seconds")
    parser.add_argument("--lateness", action="store_true", help="measure by how much the job's event loop is late")
    parser.add_argument("--only", choices=(STREAMLET, HANDWRITTEN, IN_PROCESSES), help="leave the other one out")
    parser.add_argument("--unchecked", action="store_true", help="do not check the output")
    parser.add_argument("--quiet", type=float, default=QUIET_SECONDS, metavar="S", help="it ends when all is there and "
                        "nothing came for so long")  # fmt: skip
    options = with_common_options(parser).parse_args(arguments)
    work, names = WORKLOADS[options.work], names_of(options)
    report = Report(work.name, options.json)
    with a_kafka(os.environ) as kafka:
        in_topic = f"bench-in-{uuid.uuid4().hex[:8]}"
        work.fill(kafka, in_topic, options.records)
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else names[::-1]:
                report.add(name, number, one_run(kafka, name, work, in_topic, options))
        kafka.delete_topic(in_topic)
    print(report.table())
    if len(names) > 1:
        print(report.ratios(names[0], names[1], COMPARED))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
