"""The programs that benchmarks run: a job from Kafka to Kafka, and the same work written by hand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.recovery.running_jobs import PROJECT

JOB = PROJECT / "tests" / "benchmarks" / "kafka_jobs.py"
PATHS = {"PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "connectors")))}
_END_SECONDS = 60


@dataclass(frozen=True)
class Program:
    """How to start one of them. The same folder again goes on where it was, if it can."""

    name: str
    command: tuple[str, ...]
    is_recoverable: bool
    lateness_file: Path | None = None

    @contextlib.contextmanager
    def running(self, environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A process; ended by SIGTERM when the block is left, if it still runs."""
        with (folder / f"{self.name}.log").open("ab") as said:
            process = subprocess.Popen(
                self.command,
                cwd=folder,
                env={**os.environ, **PATHS, **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            self._end(process)

    def lateness(self) -> dict[str, float]:
        """What the probe noted in the last process; empty without one."""
        if self.lateness_file is None or not self.lateness_file.exists():
            return {}
        found: dict[str, float] = json.loads(self.lateness_file.read_text())
        return found

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def job(folder: Path, parallelism: int, interval: str, *, processes: int = 1, with_lateness: bool = False) -> Program:
    """`streamlet run tests/benchmarks/kafka_jobs.py`, in a state directory of `folder`."""
    options = ["--parallelism", str(parallelism), "--checkpoint-interval", interval, "--processes", str(processes)]
    if with_lateness:
        return probed(JOB, folder, *options)
    return Program("streamlet", (sys.executable, "-m", "streamlet", *_run(JOB, folder, options)), True)


def probed(job_file: Path, folder: Path, *options: str) -> Program:
    """A job with the probe of `lateness` in its event loop."""
    figures = folder / "lateness.json"
    command = (sys.executable, "-m", "tests.benchmarks.lateness", str(figures), *_run(job_file, folder, options))
    return Program("streamlet", command, True, figures)


def _run(job_file: Path, folder: Path, options: Sequence[str]) -> list[str]:
    return ["run", str(job_file), "--state-dir", str(folder / "state"), *options]


def handwritten() -> Program:
    """The loop that keeps nothing."""
    return Program("handwritten", (sys.executable, "-m", "tests.benchmarks.handwritten"), False)


def by_poll() -> Program:
    """The loop over a client in C."""
    return Program("by_poll", (sys.executable, "-m", "tests.benchmarks.poll_loop"), False)
