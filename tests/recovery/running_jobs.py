"""Jobs in processes of their own: started, killed, stopped and waited for, always within a bound."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
"""Nothing that these tests wait for takes so long, unless it never comes."""
_PR_SET_PDEATHSIG = 1
_RUNNING = (": restored checkpoint ", ": a new start;")
"""What a job says when it has restored its state."""
_LOOK_SECONDS = 0.01


class RunningJob:
    """One process that runs `streamlet run`. It dies with the tests."""

    def __init__(
        self,
        job_file: Path,
        state_dir: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        log_dir: Path | None = None,
        fault: str = "",
        stops: bool = False,
        main: str = "streamlet",
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self._log = (log_dir or state_dir) / f"said-{time.monotonic_ns()}.log"
        self.started = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", main, "run", str(job_file), "--state-dir", str(state_dir), *options],
                cwd=state_dir,
                env={**os.environ, **_paths(), **(environment or {}), **_fault(fault, stops)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """Everything that it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def stands_still(self) -> bool:
        """True once every thread is stopped."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        try:
            return all(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread has just ended: they do not all stand still

    @property
    def has_restored(self) -> bool:
        """True once it says that its state is restored."""
        return any(words in self.said for words in _RUNNING)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`; it must have been running, or the test would show nothing."""
        assert not self.has_ended, f"the job ended by itself ({self.process.returncode}):\n{self.said}"
        self.process.kill()
        self.process.wait(SECONDS)

    def stop(self) -> int:
        """Ctrl-C once it runs, and waits for the end."""
        self.wait_until(lambda: self.has_restored, "it runs")
        self.send(signal.SIGINT)
        return self.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        """Waits for the end and gives the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.close()
            raise AssertionError(f"the job still runs after {seconds:g} s:\n{self.said}") from None

    def wait_until_killed(self) -> None:
        """Waits for the fault point: the process must end by SIGKILL."""
        code = self.wait()
        assert code == -signal.SIGKILL, f"the job ended with {code} instead of being killed:\n{self.said}"

    def wait_until_it_says(self, text: str) -> None:
        self.wait_until(lambda: text in self.said, f"it says {text!r}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for something outside; fails when the job has ended instead."""
        deadline = time.monotonic() + SECONDS
        while True:
            has_ended = self.has_ended  # asked first, so that what it did at its very end is seen
            if condition():
                return
            assert not has_ended, f"the job ended ({self.process.returncode}) before {what}:\n{self.said}"
            assert time.monotonic() < deadline, f"not within {SECONDS:g} s: {what}:\n{self.said}"
            time.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Ends it whatever it does, a stopped one too."""
        if not self.has_ended:
            self.process.kill()
            self.process.wait(SECONDS)


class JobHome:
    """One job file on one state directory: where a test starts it again and again.

    What the processes say goes into `log_dir`, or else into the state directory.
    """

    def __init__(
        self,
        job_file: Path,
        state_dir: Path,
        environment: Mapping[str, str] | None = None,
        log_dir: Path | None = None,
    ) -> None:
        self.job_file = job_file
        self.state_dir = state_dir
        self.environment = environment
        self.log_dir = log_dir
        self.runs: list[RunningJob] = []

    def start(
        self, *options: str, fault: str = "", stops: bool = False, main: str = "streamlet", **more: str
    ) -> RunningJob:
        """Starts the job; at a `fault` point it is killed, or only stopped.  `main` is the module that runs it, `more`
        are variables for this run."""
        run = RunningJob(
            self.job_file,
            self.state_dir,
            *options,
            environment={**(self.environment or {}), **more},
            log_dir=self.log_dir,
            fault=fault,
            stops=stops,
            main=main,
        )
        self.runs.append(run)
        return run

    def close(self) -> None:
        for run in self.runs:
            run.close()


@contextlib.contextmanager
def a_home(
    job_file: Path, state_dir: Path, environment: Mapping[str, str] | None = None, log_dir: Path | None = None
) -> Iterator[JobHome]:
    """A home whose processes have ended when it is left."""
    home = JobHome(job_file, state_dir, environment, log_dir)
    try:
        yield home
    finally:
        home.close()


def is_full_run() -> bool:
    """True when the long campaigns are asked for: STREAMLET_TEST_FULL=1."""
    return os.environ.get("STREAMLET_TEST_FULL", "") not in ("", "0")


def a_seed() -> int:
    """The seed of random kill times: STREAMLET_TEST_SEED, or a new one; printed, for a failure is repeated with it."""
    given = os.environ.get("STREAMLET_TEST_SEED")
    seed = int(given) if given else int.from_bytes(os.urandom(4))
    print(f"STREAMLET_TEST_SEED={seed}")
    return seed


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "connectors")))}


def _fault(name: str, stops: bool) -> dict[str, str]:
    return {"STREAMLET_FAULT": name, "STREAMLET_FAULT_STOPS": "1" if stops else ""}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
