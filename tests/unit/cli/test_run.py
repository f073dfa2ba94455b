"""`streamlet run` as a process: what it says, and its exit codes."""

from __future__ import annotations

import errno
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from tests.unit.cli_kit import JOB, cli, environment, python, write_job
from tests.unit.job_kit import lines

pytestmark = pytest.mark.outside


def _counts(numbers: int) -> list[list[int]]:
    return [[number % 7, number // 7 + 1] for number in range(numbers)]


def test_a_bounded_job_runs_to_its_end_in_plain_lines(tmp_path: Path) -> None:
    write_job(tmp_path)
    done = cli(tmp_path, "run", "job.py")
    assert (done.returncode, done.stdout) == (0, "")
    first, *_, last = done.stderr.splitlines()
    assert first == "job: a new start; checkpoints go to streamlet-state/job"
    assert last.startswith("job: finished")
    assert "\x1b" not in done.stderr
    assert lines(tmp_path / "out") == _counts(100)
    again = cli(tmp_path, "run", "job.py")
    assert again.returncode == 0
    assert "finished before" in again.stderr


def test_arguments_behind_two_dashes_are_the_files_own(tmp_path: Path) -> None:
    write_job(tmp_path)
    assert cli(tmp_path, "run", "job.py", "--state-dir", "s", "--", "30").returncode == 0
    assert lines(tmp_path / "out") == _counts(30)
    assert (tmp_path / "s" / "job").is_dir()


def test_a_failing_job_names_the_users_line_and_says_how_to_go_on(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    options = ["--state-dir", "my state", "--parallelism", "2", "--checkpoint-interval", "200ms"]
    done = cli(tmp_path, "run", "job.py", "--from", "none", *options, "--", "100", "1e9", "fail")
    assert done.returncode == 1
    line = JOB[: JOB.index("return 1 //")].count("\n") + 1
    assert f"job: {path}:{line} in failing: ZeroDivisionError" in done.stderr
    assert "record: generator, index 17" in done.stderr
    assert "Traceback" not in done.stderr
    lasting = "--state-dir 'my state' --parallelism 2 --checkpoint-interval 200ms"
    command = f"streamlet run job.py {lasting} -- 100 1e9 fail"
    assert done.stderr.splitlines()[-1].endswith(f"; go on with: {command}")


WRONG: dict[str, tuple[str, list[str], list[str]]] = {
    "no such file": ("", ["run", "nope.py"], ["there is no job file nope.py", "give the path of a Python file"]),
    "no job": ("x = 1\n", ["run", "job.py"], ["job.py has no Job", 'job = Job("my-job")']),
    "two jobs": (
        "from streamlet import Job\na = Job('a')\nb = Job('b')\n",
        ["run", "job.py"],
        ["job.py has 2 jobs", "say which one: job.py:a, job.py:b"],
    ),
    "another name": (JOB, ["run", "job.py:jobb"], ["job.py has no Job named 'jobb'", "it has: job"]),
    "name of another module": (
        "from streamlet import Job, Trigger\n",
        ["run", "job.py"],
        ["job.py:1 in <module>: ImportError", "-> from streamlet.windows import Trigger"],
    ),
    "name without its module": (
        "from streamlet import *\njob = Job('a')\nx = AtEnd()\n",
        ["run", "job.py"],
        ["job.py:3 in <module>: NameError", "-> from streamlet.windows import AtEnd"],
    ),
    "error class": (
        "from streamlet import StreamletError\n",
        ["run", "job.py"],
        ["-> from streamlet.errors import StreamletError"],
    ),
    "syntax": ("def f(:\n", ["run", "job.py"], ["job.py:1: SyntaxError", "must import without error"]),
    "import": (
        "import json\nimport not_there_at_all\n",
        ["run", "job.py"],
        ["job.py:2 in <module>: ModuleNotFoundError", "import not_there_at_all"],
    ),
    "no source": ("from streamlet import Job\njob = Job('a')\n", ["run", "job.py"], ["the job has no source"]),
    "goes nowhere": (
        JOB.replace('    .sink(FileSink("out"), uid="out")\n', ""),
        ["run", "job.py"],
        ["job.py:", "the output of aggregate 'count' goes nowhere", ".sink(...)"],
    ),
    "parallelism 0": (
        JOB,
        ["run", "job.py", "--parallelism", "0"],
        ["--parallelism: parallelism is 0", "a whole number from 1: --p"],
    ),
    "parallelism 500": (
        JOB,
        ["run", "job.py", "--parallelism", "500"],
        ["--parallelism: parallelism 500 is above key_groups 128", "raise key_groups"],
    ),
    "interval 5": (
        JOB,
        ["run", "job.py", "--checkpoint-interval", "5"],
        ["--checkpoint-interval '5' is not a duration", "500ms, 1s"],
    ),
    "interval 0s": (JOB, ["run", "job.py", "--checkpoint-interval", "0s"], ["--checkpoint-interval: ", "positive"]),
    "memory lots": (JOB, ["run", "job.py", "--state-memory", "lots"], ["--state-memory 'lots' is not a size", "64MB"]),
    "memory 1k": (
        JOB,
        ["run", "job.py", "--state-memory", "1k"],
        ["--state-memory: state_memory is 1024", "at least 1 MB: --state-memory 64MB"],
    ),
    "from a word": (
        JOB,
        ["run", "job.py", "--from", "yesterday"],
        ["--from 'yesterday' is no checkpoint", "latest, none"],
    ),
    "unknown option": (JOB, ["run", "job.py", "--fast"], ["No such option"]),
    "parallelism text": (JOB, ["run", "job.py", "--parallelism", "two"], ["not a valid integer"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_with_its_remedy_and_exit_code_2(what: str, tmp_path: Path) -> None:
    text, arguments, said = WRONG[what]
    write_job(tmp_path, text)
    done = cli(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    for part in said:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_of_several_jobs_is_chosen_by_its_name(tmp_path: Path) -> None:
    write_job(tmp_path, JOB + "other = Job('other')\n")
    assert cli(tmp_path, "run", "job.py:job").returncode == 0
    assert lines(tmp_path / "out") == _counts(100)


def test_a_job_that_another_process_holds_is_exit_code_3_and_names_the_process(tmp_path: Path) -> None:
    write_job(tmp_path)
    lock = JobLock(CheckpointStorage(tmp_path / "streamlet-state", "job", LocalDisk()).folder, local_ports())
    lock.acquire()
    try:
        done = cli(tmp_path, "run", "job.py")
    finally:
        lock.release()
    assert done.returncode == 3
    assert f"is run by process {os.getpid()}" in done.stderr
    assert "--take-over" in done.stderr


def test_python_job_py_does_the_same(tmp_path: Path) -> None:
    write_job(tmp_path, JOB + "if __name__ == '__main__':\n    raise SystemExit(job.run())\n")
    done = python(tmp_path, "job.py")
    assert (done.returncode, done.stdout) == (0, "")
    assert lines(tmp_path / "out") == _counts(100)


def _on_terminal(folder: Path, *arguments: str, interrupt_at: str = "", times: int = 0) -> tuple[int, str]:
    """Runs the command on a pseudo-terminal; sends Ctrl-C so many times once a text was shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "streamlet", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError as error:
                if error.errno != errno.EIO:  # what Linux says when the other end is closed
                    raise
                break
            if not data:
                break
            shown += data
            while times and interrupt_at.encode() in shown:
                process.send_signal(signal.SIGINT)
                times -= 1
        os.close(ours)
        return process.wait(60), shown.decode()


def test_on_a_terminal_one_line_shows_what_happens_in_place(tmp_path: Path) -> None:
    write_job(tmp_path)
    code, shown = _on_terminal(tmp_path, "run", "job.py", "--", "2000", "2000")
    assert code == 0
    assert re.search(r"job: running.* [1-9][\d,]* records/s", shown)
    assert re.search(r"checkpoint \d+ [\d.]+ s ago", shown)
    assert "\x1b[2K" in shown
    assert "\x1b[2Kjob: finished" in shown.splitlines()[-1]
    assert lines(tmp_path / "out") == _counts(2000)


def test_ctrl_c_on_a_terminal_stops_with_a_last_checkpoint(tmp_path: Path) -> None:
    write_job(tmp_path)
    code, shown = _on_terminal(
        tmp_path, "run", "job.py", "--", "100000", "2000", interrupt_at=" read | checkpoint ", times=1
    )
    assert code == 0
    assert "stopping with a last checkpoint" in shown
    assert "job: stopped" in shown.splitlines()[-1]
    written = lines(tmp_path / "out")
    assert written == _counts(len(written))
    assert cli(tmp_path, "run", "job.py", "--", str(len(written) + 5)).returncode == 0
    assert lines(tmp_path / "out") == _counts(len(written) + 5)


def test_help_and_version_are_there(tmp_path: Path) -> None:
    assert "checkpoints" in cli(tmp_path, "-h").stdout
    assert "--take-over" in cli(tmp_path, "run", "--help").stdout


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_interrupt_while_the_job_file_is_imported_ends_with_130_and_no_traceback(
    command: str, tmp_path: Path
) -> None:
    # Whoever started the tests in the background has left SIGINT ignored.
    handler = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    write_job(tmp_path, f"import os, signal\n{handler}\nos.kill(os.getpid(), signal.SIGINT)\n{JOB}")
    done = cli(tmp_path, command, "job.py")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert not (tmp_path / "streamlet-state").exists()
