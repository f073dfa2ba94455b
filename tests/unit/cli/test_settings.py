"""Settings from outside of a job's code: which is stronger, what is refused, and what is shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlet.cli.main import main
from streamlet.cli.settings import configured_by, given_settings
from streamlet.config import JobConfig
from streamlet.errors import ConfigError

CANARY = "canary-0123456789"
JOB = f"""
from datetime import timedelta
from streamlet import Job
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print

password = "{CANARY}"
job = Job("job", parallelism=2, retain=5, checkpoint_interval=timedelta(seconds=3))
job.source(Generator(lambda i: i, count=1), uid="in").sink(Print(), uid="out")
"""


def job_in(folder: Path, toml: str | None = None) -> str:
    (folder / "job.py").write_text(JOB)
    if toml is not None:
        (folder / "streamlet.toml").write_text(toml)
    return str(folder / "job.py")


def shown(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments], env=environment)


def test_the_environment_is_over_the_file_which_is_over_the_job_file(tmp_path: Path) -> None:
    file = job_in(tmp_path, '[job]\nparallelism = 3\nretain = 7\nstate_memory = "64MB"\n')
    lines = shown(file, STREAMLET_PARALLELISM="4", STREAMLET_SHOW_RECORDS="yes").stdout.splitlines()
    found = {name.strip(): rest for name, _, rest in (line.partition(" = ") for line in lines)}
    assert found["parallelism"] == "4  (STREAMLET_PARALLELISM)"
    assert found["retain"] == f"7  ({tmp_path / 'streamlet.toml'})"
    assert found["state_memory"] == f"{64 << 20}  ({tmp_path / 'streamlet.toml'})"
    assert found["checkpoint_interval"] == "0:00:03  (job file)"
    assert found["show_records"] == "True  (STREAMLET_SHOW_RECORDS)"
    assert found["processes"] == "1  (default)"
    assert found["http"] == "None  (default)"
    assert CANARY not in "".join(lines)


def test_a_named_file_stands_for_the_one_beside_the_job(tmp_path: Path) -> None:
    file = job_in(tmp_path, "[job]\nparallelism = 3\n")
    other = tmp_path / "other.toml"
    other.write_text('[job]\ncheckpoint_interval = "250ms"\n')
    for found in (shown(file, "--config", str(other)), shown(file, STREAMLET_CONFIG=str(other))):
        assert "parallelism         = 2  (job file)" in found.stdout
        assert f"checkpoint_interval = 0:00:00.250000  ({other})" in found.stdout


def test_every_command_that_takes_a_job_file_uses_them_and_the_command_line_is_over_all(tmp_path: Path) -> None:
    file = job_in(tmp_path)
    environment = {"STREAMLET_PARALLELISM": "3"}
    planned = CliRunner().invoke(main, ["plan", file], env=environment)
    assert "x3" in planned.stdout or "parallelism 3" in planned.stdout
    over = CliRunner().invoke(main, ["plan", file, "--parallelism", "6"], env=environment)
    assert over.stdout == CliRunner().invoke(main, ["plan", file, "--parallelism", "6"]).stdout


def test_what_kubernetes_and_tests_set_is_no_setting() -> None:
    environment = {
        "STREAMLET_PORT": "tcp://10.0.0.1:9470",
        "STREAMLET_PORT_9470_TCP_ADDR": "10.0.0.1",
        "STREAMLET_SERVICE_HOST": "10.0.0.1",
        "STREAMLET_SERVICE_PORT_HTTP": "9470",
        "STREAMLET_TEST_FULL": "1",
        "STREAMLET_FAULT": "before_commit@2",
    }
    assert given_settings("job.py", None, environment) == {}


@pytest.mark.parametrize(
    ("environment", "said", "remedy"),
    [
        ({"STREAMLET_PARALELISM": "2"}, "STREAMLET_PARALELISM is no setting", "did you mean STREAMLET_PARALLELISM?"),
        ({"STREAMLET_": "2"}, "STREAMLET_ is no setting", "known are"),
        ({"STREAMLET_PARALLELISM": "two"}, "STREAMLET_PARALLELISM is 'two'", "a whole number"),
        ({"STREAMLET_PARALLELISM": ""}, "STREAMLET_PARALLELISM is ''", "a whole number"),
        ({"STREAMLET_PARALLELISM": "0"}, "STREAMLET_PARALLELISM: parallelism is 0", "from 1"),
        ({"STREAMLET_CHECKPOINT_INTERVAL": "5"}, "STREAMLET_CHECKPOINT_INTERVAL: ", "with a unit"),
        ({"STREAMLET_STATE_MEMORY": "much"}, "STREAMLET_STATE_MEMORY: ", "with a unit"),
        ({"STREAMLET_TRACE_ORIGINS": "maybe"}, "STREAMLET_TRACE_ORIGINS is 'maybe'", "true or false"),
        ({"STREAMLET_VERIFY": "some"}, "STREAMLET_VERIFY: verify is 'some'", "full"),
        ({"STREAMLET_RESTART": "none"}, "STREAMLET_RESTART is set in the job file only", "Restart"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(environment: dict[str, str], said: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured_by(JobConfig(), given_settings("job.py", None, environment))
    assert said in refused.value.message
    assert remedy in (refused.value.remedy or "")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[job]\nparalelism = 2\n", "'paralelism' is no setting of a job"),
        ("parallelism = 2\n", "'parallelism' is not known here"),
        ("job = 2\n", "'job' is not known here"),
        ("[job\n", "is no TOML file"),
        ("[job]\nparallelism = 2.5\n", "parallelism is 2.5"),
        ("[job]\nparallelism = true\n", "parallelism is True"),
        ("[job]\nstate_dir = 7\n", "state_dir is 7"),
        ("[job]\ncheckpoint_interval = 5\n", "is not a duration"),
        ("[job]\nparallelism = [1]\n", "parallelism is [1]"),
        ("[job]\nhttp = 9470\n", "http is 9470"),
    ],
)
def test_a_wrong_file_is_refused_by_its_path(toml: str, said: str, tmp_path: Path) -> None:
    result = shown(job_in(tmp_path, toml))
    assert result.exit_code == 2
    assert said in result.stderr
    assert str(tmp_path / "streamlet.toml") in result.stderr
    assert "  -> " in result.stderr


def test_a_file_that_is_named_and_missing_is_refused(tmp_path: Path) -> None:
    result = shown(job_in(tmp_path), "--config", str(tmp_path / "none.toml"))
    assert (result.exit_code, "none.toml cannot be read" in result.stderr) == (2, True)


def test_values_are_what_the_settings_have() -> None:
    given = given_settings(
        "job.py",
        None,
        {"STREAMLET_CHECKPOINT_INTERVAL": "500ms", "STREAMLET_STATE_MEMORY": "2MB", "STREAMLET_HTTP": "x"},
    )
    config = configured_by(JobConfig(), given)
    assert (config.checkpoint_interval, config.state_memory) == (timedelta(milliseconds=500), 2 << 20)
    assert given["http"].value == "x"
