"""The speed of `examples/spend_per_user.py`: `python -m tests.benchmarks.spend`.

Fills a topic once, then lets the job and a hand-written loop drain it in turn, each from the beginning into a topic of
its own.  Every committed record is checked.  Figures only: no time is asserted.  A machine drifts, so only ratios of
one round mean something, and CPU seconds are steadier than rates.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import programs
from tests.benchmarks.draining import drain
from tests.benchmarks.payments import PARTITIONS, check, fill
from tests.kafka.broker import Kafka, a_kafka

IN_PROCESSES = "processes"
"""The same job in several worker processes."""
COMPARED = ("records_per_second", "middle_records_per_second", "cpu_seconds_per_million")


def one_run(kafka: Kafka, name: str, in_topic: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one program over the whole input and checks what it wrote."""
    out_topic = f"bench-out-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(out_topic, PARTITIONS)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-spend-"))
    try:
        program = programs.handwritten()
        if name != "handwritten":
            program = programs.job(
                folder,
                options.parallelism,
                options.interval,
                processes=options.processes if name == IN_PROCESSES else 1,
                with_lateness=options.lateness and not options.kill_every,
            )
        environment = {"BOOTSTRAP": kafka.bootstrap, "IN_TOPIC": in_topic, "OUT_TOPIC": out_topic}
        try:
            drained = drain(program, environment, folder, options.records, options.kill_every)
            if not options.unchecked:
                check(kafka.bootstrap, out_topic, options.records)
        except BaseException:
            print((folder / f"{program.name}.log").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        return {"program": name, **drained, "checked": not options.unchecked}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kafka.delete_topic(out_topic)


def summary(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Medians with the least and the most over the rounds, and the ratios of each round."""
    lines = []
    for name in dict.fromkeys(run["program"] for run in runs):
        own = [run for run in runs if run["program"] == name]
        for figure, value in own[0].items():
            if isinstance(value, int | float) and figure not in ("round", "checked"):
                lines.append(f"{name:12} {figure:28} {_spread([run[figure] for run in own])}")
            elif figure == "restart_to_new_output_s" and (every := [one for run in own for one in run[figure]]):
                lines.append(f"{name:12} {figure:28} {_spread(every)}")
    by_round = [
        ([r for r in runs if r["round"] == number and r["program"] == "streamlet"],
         [r for r in runs if r["round"] == number and r["program"] != "streamlet"])
        for number in sorted({run["round"] for run in runs})
    ]  # fmt: skip
    for figure in COMPARED:
        ratios = [ours[0][figure] / theirs[0][figure] for ours, theirs in by_round if ours and theirs]
        if ratios:
            lines.append(f"{'ratio':12} {figure:28} {_spread([round(ratio, 3) for ratio in ratios])}")
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):>12,.2f}   min {min(values):>12,.2f}   max {max(values):>12,.2f}"


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.spend", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="above 1: the job in so many workers, too")
    parser.add_argument("--interval", default="1s", help="time between the job's checkpoints")
    parser.add_argument("--kill-every", type=float, default=0.0, metavar="S", help="kill -9 the job every S seconds")
    parser.add_argument("--lateness", action="store_true", help="measure by how much the job's event loop is late")
    parser.add_argument("--only", choices=("streamlet", "handwritten", IN_PROCESSES), help="leave the other one out")
    parser.add_argument("--unchecked", action="store_true", help="do not check the output")
    parser.add_argument("--json", type=Path, help="append a line for each run to this file")
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else ["streamlet", "handwritten"]
    if options.processes > 1 and not options.only:
        names = ["streamlet", IN_PROCESSES]
    if options.kill_every:
        names = ["streamlet"]  # The other one cannot go on.
    runs = []
    with a_kafka(os.environ) as kafka:
        in_topic = f"bench-in-{uuid.uuid4().hex[:8]}"
        fill(kafka, in_topic, options.records)
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else names[::-1]:
                run = {"round": number, **one_run(kafka, name, in_topic, options)}
                runs.append(run)
                print(json.dumps(run), flush=True)
                if options.json:
                    with options.json.open("a") as file:
                        file.write(json.dumps(run) + "\n")
        kafka.delete_topic(in_topic)
    print("\n".join(summary(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
