"""The command line as a user has it: `python -m streamlet` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from streamlet.cli.main import main
from tests.unit.words import require_good_words

ROOT = Path(__file__).parents[2]

JOB = """\
import sys
from datetime import timedelta

from streamlet import Count, Job, Restart
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100
RATE = float(sys.argv[2]) if len(sys.argv) > 2 else None


def failing(number: int) -> int:
    return 1 // (number - 17) and number if "fail" in sys.argv else number


job = Job("job", checkpoint_interval=timedelta(milliseconds=20), restart=Restart.none())
(
    job.source(Generator(int, count=COUNT, rate_per_second=RATE), uid="numbers")
    .map(failing, uid="failing")
    .key_by(lambda number: number % 7, uid="k")
    .aggregate(Count(), result=lambda rest, count: [rest, count], uid="count")
    .sink(FileSink("out"), uid="out")
)
"""


def environment() -> dict[str, str]:
    """The variables of a user's shell, with this checkout as the installed package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLET_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "connectors")])
    return {**kept, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "TERM": "xterm", "COLUMNS": "160"}


def write_job(folder: Path, text: str = JOB, name: str = "job.py") -> Path:
    """Writes a job file."""
    path = folder / name
    path.write_text(text)
    return path


def cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `streamlet ARGUMENTS` in a folder to its end."""
    return python(folder, "-m", "streamlet", *arguments)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` in a folder to its end."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    require_good_words(done.stderr)
    return done


def here(*arguments: str) -> Result:
    """Calls `streamlet ARGUMENTS` in this process: for commands that load no job file."""
    return CliRunner().invoke(main, arguments)
