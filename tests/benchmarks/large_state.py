"""How a job with much more state than memory fares: `python -m tests.benchmarks.large_state`.

Passes over all keys, then a tail that changes few keys between two checkpoints; `kill -9` in the middle of each.  At
the end every sum in the last checkpoint, and every emitted result of one key in a thousand, is compared with what they
must be.  Figures only: no time is asserted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.large_state_input import Input
from tests.benchmarks.manifests import Brought, Manifests, entries_of
from tests.benchmarks.meter import Meter
from tests.recovery.running_jobs import PROJECT, RunningJob

JOB = Path(__file__).with_name("large_state_job.py")
NAME = "large-state"
RAW_ENTRY_BYTES = 30
"""A stored key of 22 bytes and a packed pair of numbers: what a change is before it is stored anywhere."""


class Run:
    """One job on one state directory, over several processes."""

    def __init__(self, given: Input, memory: str, folder: Path, interval_ms: int = 1000) -> None:
        self.given = given
        self.folder = folder
        self.state_dir = folder / "state"
        self.out = folder / "out"
        self.manifests = Manifests(self.state_dir / NAME)
        self.peak_bytes = self.peak_child_bytes = self.folds = 0
        self.cpu_seconds = 0.0
        self._memory = memory
        self._environment = {**given.environment(), "OUT": str(self.out), "INTERVAL_MS": str(interval_ms)}

    def start(self) -> tuple[RunningJob, Meter]:
        """Starts a process, or starts the job again."""
        job = RunningJob(JOB, self.state_dir, "--state-memory", self._memory, environment=self._environment)
        return job, Meter(job.pid)

    def ended(self, meter: Meter) -> None:
        """Takes the figures of a process that has ended."""
        meter.close()
        self.peak_bytes = max(self.peak_bytes, meter.peak_bytes)
        self.peak_child_bytes = max(self.peak_child_bytes, meter.peak_child_bytes)
        self.folds += meter.children
        self.cpu_seconds += meter.cpu_seconds

    def wait_for_new_checkpoint(self, job: RunningJob) -> float:
        """Seconds from the start of the process to its first checkpoint with new records."""
        before = len(self.manifests.seen)
        job.wait_until(lambda: len(self.manifests.seen) > before, "a checkpoint is made")
        return time.monotonic() - job.started

    def check(self) -> int:
        """Compares state and output with what they must be; gives the number of keys."""
        wanted = self.given.sums()
        keys = 0
        for key, value in entries_of(self.state_dir, NAME, self.folder / "reading"):
            assert isinstance(key, str) and isinstance(value, list)
            assert wanted.pop(key, None) == tuple(value), f"the state says {value} of {key}"
            keys += 1
        assert not wanted, f"{len(wanted)} keys are not in the state, {next(iter(wanted))} is one"
        emitted = Counter(
            tuple(json.loads(line)) for path in self.out.glob("part-*") for line in path.read_text().splitlines()
        )
        assert emitted == Counter(self.given.results("000")), "the output differs from that of a run without failures"
        return keys


def measure(given: Input, memory: str, folder: Path, kills: Sequence[float]) -> dict[str, object]:
    """Runs to the end of the input, with `kill -9` after these seconds of each process; gives the figures."""
    run = Run(given, memory, folder)
    restarts: list[float] = []
    began = time.monotonic()
    for seconds in kills:
        job, meter = run.start()
        restarts.append(run.wait_for_new_checkpoint(job))
        time.sleep(seconds)
        job.kill()
        run.ended(meter)
    job, meter = run.start()
    restarts.append(run.wait_for_new_checkpoint(job))
    code = job.wait(3600)
    took = time.monotonic() - began
    run.ended(meter)
    run.manifests.close()
    if code != 0:
        raise SystemExit(f"the job ended with {code}:\n{job.said}")
    keys = run.check()
    return {
        "keys": keys,
        "records": given.records,
        "memory": memory,
        "seconds": round(took, 1),
        "records_per_second": round(given.records / took),
        "cpu_seconds_per_million": round(run.cpu_seconds / given.records * 1e6, 2),
        "peak_rss_mb": run.peak_bytes >> 20,
        "peak_fold_rss_mb": run.peak_child_bytes >> 20,
        "folds": run.folds,
        "start_to_first_checkpoint_s": [round(one, 2) for one in restarts],
        "checkpoints": len(run.manifests.seen),
        "state_mb": round(sum(path.stat().st_size for path in (run.state_dir / NAME / "files").iterdir()) / 1e6, 1),
        **bytes_figures(run.manifests.seen, given),
    }


def bytes_figures(seen: Sequence[Brought], given: Input) -> dict[str, object]:
    """What checkpoints brought in bytes, against what changed."""
    changed = sum(one.changed for one in seen)
    few = [one for one in seen if 0 < one.changed <= given.few + 1]
    figures: dict[str, object] = {
        "changed_entries": changed,
        "log_bytes_per_change": round(sum(one.log_bytes for one in seen) / max(1, changed), 1),
        "base_bytes_per_change": round(sum(one.base_bytes for one in seen) / max(1, changed), 1),
        "most_tables": max(one.tables for one in seen),
        "most_entries_to_replay": max(one.entries for one in seen),
    }
    if few:
        sizes = [one.log_bytes + one.base_bytes for one in few if not one.is_base_new]
        figures["checkpoints_of_few_keys"] = len(few)
        figures["bytes_of_few_keys"] = [min(sizes), round(statistics.median(sizes)), max(sizes)] if sizes else None
        figures["bytes_of_few_keys_with_a_fold"] = [one.log_bytes + one.base_bytes for one in few if one.is_base_new]
    return figures


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.large_state", description=__doc__)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--few", type=int, default=1000, help="keys of the tail")
    parser.add_argument("--tail", type=int, default=2_000_000, help="records of the tail")
    parser.add_argument("--memory", default="64MB")
    parser.add_argument("--kill-after", type=float, nargs="*", default=[], help="seconds after a first checkpoint")
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-large-state-"))
    try:
        figures = measure(
            Input(given.keys, given.passes, given.few, given.tail), given.memory, folder, given.kill_after
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))
    if given.json:
        with given.json.open("a") as file:
            file.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    assert PROJECT.is_dir()
    sys.exit(main(sys.argv[1:]))
