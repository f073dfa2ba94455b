"""The two programs that the spend benchmark runs: the job, and the loop written by hand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.recovery.running_jobs import PROJECT

JOB = PROJECT / "examples" / "spend_per_user.py"
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
        paths = os.pathsep.join((str(PROJECT), str(PROJECT / "connectors")))
        with (folder / f"{self.name}.log").open("ab") as said:
            process = subprocess.Popen(
                self.command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": paths, **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            self._end(process)

    def lateness(self) -> dict[str, float] | None:
        """What the probe noted in the last process."""
        if self.lateness_file is None or not self.lateness_file.exists():
            return None
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
    """`streamlet run examples/spend_per_user.py`, in a state directory of `folder`."""
    run = ["run", str(JOB), "--state-dir", str(folder / "state"), "--parallelism", str(parallelism)]
    run += ["--checkpoint-interval", interval, "--processes", str(processes)]
    if not with_lateness:
        return Program("streamlet", (sys.executable, "-m", "streamlet", *run), True)
    figures = folder / "lateness.json"
    return Program("streamlet", (sys.executable, "-m", "tests.benchmarks.lateness", str(figures), *run), True, figures)


def handwritten() -> Program:
    """The loop that keeps nothing."""
    return Program("handwritten", (sys.executable, "-m", "tests.benchmarks.handwritten"), False)
