"""`streamlet plan --against`: each line says what `run` then does, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, Sum, TumblingWindows
from streamlet.cli.against import show_against
from streamlet.errors import CheckpointError, ConfigError, StateRefusedError
from streamlet.machine.disk import LocalDisk
from streamlet.state.evolution.findings import Allowed
from streamlet_connectors.files import FileSink
from tests.recovery.golden.jobs import SECOND, TIMES
from tests.unit.cli_kit import cli
from tests.unit.job_kit import Waiting, checkpoint_at, make_job, run

COUNT, CUT = 40, 20


def build(
    folder: Path,
    *,
    source: str = "numbers",
    counted: str | None = "counted",
    function: Callable[[], Any] = Count,
    windows: bool = True,
    out: str = "out",
    key_groups: int = 128,
    name: str = "job",
) -> Job:
    job = make_job(folder, name, key_groups=key_groups)
    keyed = job.source(Waiting(COUNT, CUT), uid=source, watermarks=TIMES).key_by(lambda number: number % 5, uid="by")
    if counted is not None:
        keyed.aggregate(function(), uid=counted).sink(FileSink(str(folder / "out")), uid=out)
    if windows:
        windowed = keyed.window(TumblingWindows(16 * SECOND)).aggregate(Count(), uid="windowed")
        windowed.sink(FileSink(str(folder / "windows")), uid="windows-out")
    return job


@pytest.fixture
def half(tmp_path: Path) -> str:
    """The id of a checkpoint in the middle of the job."""
    assert run(build(tmp_path)).code == 0
    return str(checkpoint_at(tmp_path, CUT))


def shown(folder: Path, capsys: pytest.CaptureFixture[str], wanted: str, *dropped: str, **edit: Any) -> str:
    """What the plan of an edited job says; refusals end with the error's text."""
    job = build(folder, **edit)
    plan = job.plan(replace(job.config))
    plan.allowed = Allowed.of(dropped)
    before = sorted(folder.rglob("*"))
    try:
        show_against(job.name, plan, wanted)
        refusal = ""
    except StateRefusedError as error:
        refusal = str(error)
    assert sorted(folder.rglob("*")) == before
    return capsys.readouterr().out + refusal


def test_a_job_that_is_the_same_keeps_everything(tmp_path: Path, half: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(tmp_path, capsys, half).splitlines()
    assert lines[0].startswith(f"job against checkpoint {half} in ")
    assert {line.split()[0] for line in lines[1:]} == {"kept"}
    words = [" ".join(line.split()[1:]) for line in lines[1:]]
    assert words == [
        "state counted.accumulator",
        "state windowed.window",
        "state windowed.timers",
        "source numbers 1 splits go on, none new",
    ]
    assert run(build(tmp_path), from_checkpoint=half).code == 0


EDITS: list[tuple[dict[str, Any], str, str]] = [
    ({"counted": None}, "refused  state counted.accumulator", "counted"),
    ({"counted": "renamed"}, "refused  state counted.accumulator", "counted"),
    ({"function": lambda: Sum(lambda number: number)}, "refused  state counted.accumulator", "counted"),
    ({"source": "others"}, "refused  source numbers", "numbers"),
    ({"windows": False}, "refused  state windowed.window", "windowed"),
]


@pytest.mark.parametrize(("edit", "line", "uid"), EDITS)
def test_what_run_refuses_is_refused_in_the_plan_and_goes_on_as_the_line_says(
    tmp_path: Path, half: str, capsys: pytest.CaptureFixture[str], edit: dict[str, Any], line: str, uid: str
) -> None:
    text = shown(tmp_path, capsys, half, **edit)
    assert line in text
    assert f"--allow-dropped-state {uid}" in text
    assert f"`streamlet run` would refuse checkpoint {half}: " in text
    assert run(build(tmp_path, **edit), from_checkpoint=half).code == 2
    allowed = shown(tmp_path, capsys, half, uid, **edit)
    assert "refused" not in allowed
    assert f"dropped  {line.split()[1]} {uid}" in allowed
    ran = run(build(tmp_path, **edit), from_checkpoint=half, allow_dropped_state=[uid])
    assert ran.code == 0, ran
    assert f"job: dropped  {line.split()[1]} {uid}" in ran.said


def test_run_tells_what_is_new_and_not_what_is_kept(tmp_path: Path) -> None:
    assert run(build(tmp_path, windows=False)).code == 0
    half = str(checkpoint_at(tmp_path, CUT))
    ran = run(build(tmp_path), from_checkpoint=half)
    assert ran.code == 0, ran
    assert "job: new      state windowed.window" in ran.said
    assert "kept  " not in ran.said


def test_what_no_edit_of_state_can_mend_is_refused_as_run_refuses_it(
    tmp_path: Path, half: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(tmp_path, capsys, "none") == "job: starts empty\n"
    with pytest.raises(ConfigError, match="there is no checkpoint 99999 to start from"):
        shown(tmp_path, capsys, "99999")
    with pytest.raises(ConfigError, match="is no checkpoint"):
        shown(tmp_path, capsys, str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="has 128 key groups, the job has 64"):
        shown(tmp_path, capsys, half, key_groups=64)
    with pytest.raises(CheckpointError, match="is a checkpoint of job 'job', not of 'other'"):
        shown(tmp_path, capsys, str(tmp_path / "state" / "job" / f"chk-{int(half):08d}"), name="other")
    (tmp_path / "empty").mkdir()
    assert shown(tmp_path / "empty", capsys, "latest") == "job: starts empty\n"
    assert LocalDisk().names(tmp_path / "empty") == []


FILE = """\
import sys
from streamlet import Count, Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

job = Job("job")
numbers = job.source(Generator(int, count=10), uid="numbers").key_by(lambda n: n % 3, uid="by")
numbers.aggregate(Count(), uid=sys.argv[1]).sink(FileSink("out"), uid="out")
"""


@pytest.mark.outside
def test_the_command_ends_with_2_where_run_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(FILE)
    assert cli(tmp_path, "run", "job.py", "--", "count").returncode == 0
    same = cli(tmp_path, "plan", "job.py", "--against", "latest", "--", "count")
    assert (same.returncode, same.stderr) == (0, "")
    assert "kept     state count.accumulator" in same.stdout
    other = cli(tmp_path, "run", "job.py", "--dry-run", "--", "renamed")
    assert other.returncode == 2
    assert "refused  state count.accumulator" in other.stdout
    assert "new      state renamed.accumulator" in other.stdout
    assert other.stderr.startswith("streamlet: `streamlet run` would refuse checkpoint ")
