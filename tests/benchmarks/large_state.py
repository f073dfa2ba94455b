"""How a job with much more state than memory fares: `python -m tests.benchmarks large_state --memory 64MB 256MB 8GB`.

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
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.large_state_input import Input
from tests.benchmarks.manifests import Brought, Manifests, entries_of
from tests.benchmarks.meter import Meter
from tests.benchmarks.reporting import Report, with_common_options
from tests.recovery.running_jobs import RunningJob

JOB = Path(__file__).with_name("large_state_job.py")
NAME = "large-state"
RAW_ENTRY_BYTES = 30
"""A stored key of 22 bytes and a packed pair of numbers: what a change is before it is stored anywhere."""
COMPARED = ("records_per_second", "cpu_seconds_per_million")
_LONGEST_SECONDS = 3600.0


class Run:
    """One job on one state directory, over several processes. A context: no process outlives it."""

    def __init__(self, given: Input, memory: str, folder: Path, interval_ms: int = 1000) -> None:
        self.given = given
        self.folder = folder
        self.state_dir = folder / "state"
        self.out = folder / "out"
        self.manifests = Manifests(self.state_dir / NAME)
        self.peak_bytes = self.peak_child_bytes = self.folds = 0
        self.cpu_seconds = 0.0
        self._memory = memory
        self._job: RunningJob | None = None
        self._meter: Meter
        self._environment = {**given.environment(), "OUT": str(self.out), "INTERVAL_MS": str(interval_ms)}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self._job is not None:
            self._job.close()
            self._ended()
        self.manifests.close()

    def start(self) -> RunningJob:
        """Starts a process, or starts the job again."""
        self._job = RunningJob(JOB, self.state_dir, "--state-memory", self._memory, environment=self._environment)
        self._meter = Meter(self._job.pid)
        return self._job

    def kill_when(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Starts a process and ends it by `kill -9` when the condition holds."""
        job = self.start()
        wait_until(job, condition, what, seconds)
        self.kill(job)

    def kill(self, job: RunningJob) -> None:
        """`kill -9`, and takes the figures of the process."""
        job.kill()
        self._ended()

    def finish(self, seconds: float) -> RunningJob:
        """Starts a process that reads to the end of the input."""
        job = self.start()
        self.wait_for_end(job, seconds)
        return job

    def wait_for_end(self, job: RunningJob, seconds: float) -> None:
        """Waits until the process has ended by itself, and takes its figures."""
        job.wait(seconds)
        self._ended()
        self.manifests.look()

    def changed(self) -> int:
        """Entries of all logs that checkpoints have named."""
        return sum(one.changed for one in self.manifests.seen)

    def state_bytes(self) -> int:
        """All files that checkpoints may name."""
        return sum(path.stat().st_size for path in (self.state_dir / NAME / "files").iterdir())

    def _ended(self) -> None:
        meter, self._job = self._meter, None
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


def wait_until(job: RunningJob, condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Like the job's own, with another bound."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert not job.has_ended, f"the job ended ({job.process.returncode}) before {what}:\n{job.said}"
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}:\n{job.said}"
        time.sleep(0.01)


def measure(given: Input, memory: str, folder: Path, kills: Sequence[float]) -> dict[str, object]:
    """Runs to the end of the input, with `kill -9` after these seconds of each process; gives the figures."""
    restarts: list[float] = []
    with Run(given, memory, folder) as run:
        began = time.monotonic()
        for seconds in kills:
            job = run.start()
            restarts.append(run.wait_for_new_checkpoint(job))
            time.sleep(seconds)
            run.kill(job)
        job = run.start()
        restarts.append(run.wait_for_new_checkpoint(job))
        run.wait_for_end(job, _LONGEST_SECONDS)
        took = time.monotonic() - began
        if job.process.returncode != 0:
            raise SystemExit(f"the job ended with {job.process.returncode}:\n{job.said}")
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
        "state_mb": round(run.state_bytes() / 1e6, 1),
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
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks large_state", description=__doc__)
    parser.add_argument("--keys", type=int, nargs="+", default=[5_000_000])
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--few", type=int, default=1000, help="keys of the tail")
    parser.add_argument("--tail", type=int, default=2_000_000, help="records of the tail")
    parser.add_argument("--memory", nargs="+", default=["64MB"], help="for live keys; the last is compared with")
    parser.add_argument("--kill-after", type=float, nargs="*", default=[], help="seconds after a first checkpoint")
    options = with_common_options(parser, rounds=1).parse_args(arguments)
    report = Report("large_state", options.json)
    for number in range(options.rounds):
        for keys in options.keys:
            given = Input(keys, options.passes, min(options.few, keys), options.tail)
            for memory in options.memory if number % 2 == 0 else options.memory[::-1]:
                report.add(_name(keys, memory), number, _one_run(given, memory, options.kill_after))
    print(report.table())
    for keys in options.keys:
        for memory in options.memory[:-1]:
            print(report.ratios(_name(keys, memory), _name(keys, options.memory[-1]), COMPARED))
    return 0


def _name(keys: int, memory: str) -> str:
    return f"{keys:,} keys in {memory}"


def _one_run(given: Input, memory: str, kills: Sequence[float]) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="streamlet-large-state-"))
    try:
        return measure(given, memory, folder, kills)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
