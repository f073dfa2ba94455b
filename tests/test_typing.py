"""The DSL is typed: mypy knows what every step of a job gives, and refuses what does not fit."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.cli_kit import ROOT


def test_mypy_knows_the_type_of_every_step_and_refuses_what_does_not_fit() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
