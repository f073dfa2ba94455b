"""Finding the one Job in a job file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlet.cli.loading import load_job
from streamlet.errors import ConfigError, JobDefinitionError


@pytest.fixture(autouse=True)
def _python_as_before() -> Iterator[None]:
    argv, path, modules = sys.argv, list(sys.path), set(sys.modules)
    yield
    sys.argv, sys.path[:] = argv, path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def _file(folder: Path, text: str, name: str = "a_job.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


ONE = "from streamlet import Job\njob = Job('one')\n"


def test_the_one_job_of_a_file_is_found_under_any_name(tmp_path: Path) -> None:
    assert load_job(_file(tmp_path, ONE.replace("job =", "whatever =")), []).name == "one"


def test_two_names_of_one_job_are_one_job(tmp_path: Path) -> None:
    assert load_job(_file(tmp_path, ONE + "same = job\n"), []).name == "one"


def test_of_several_jobs_one_is_named_behind_a_colon(tmp_path: Path) -> None:
    path = _file(tmp_path, ONE + "other = Job('two')\n")
    with pytest.raises(JobDefinitionError, match="has 2 jobs") as caught:
        load_job(path, [])
    assert caught.value.remedy == f"say which one: {path}:job, {path}:other"
    assert load_job(f"{path}:other", []).name == "two"


def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(JobDefinitionError, match="no Job named 'jobb'") as caught:
        load_job(f"{_file(tmp_path, ONE)}:jobb", [])
    assert caught.value.remedy == "it has: job"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no Job"),
        ("x = 1\ndef f(:\n", r"a_job\.py:2: SyntaxError"),
        ("import json\nimport not_there_at_all\n", r"a_job\.py:2 in <module>: ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"a_job\.py:2 in f: ZeroDivisionError(.|\n)*return 1 / 0"),
        ("import sys\nsys.exit(3)\n", r"a_job\.py:2 in <module>: SystemExit: 3"),
        ("import json\njson.loads('{')\n", r"a_job\.py:2 in <module>: JSONDecodeError"),
    ],
)
def test_a_file_that_gives_no_job_names_the_users_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JobDefinitionError, match=message) as caught:
        load_job(_file(tmp_path, text), [])
    assert caught.value.remedy


def test_an_error_of_streamlet_in_the_file_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no setting 'colour'"):
        load_job(_file(tmp_path, "from streamlet import Job\nJob('j', colour=1)\n"), [])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobDefinitionError, match=r"there is no job file .*nope\.py"):
        load_job(str(tmp_path / "nope.py"), [])


def test_a_file_that_is_no_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobDefinitionError, match="is not a Python file"):
        load_job(_file(tmp_path, ONE, "job.txt"), [])


def test_the_file_sees_its_arguments_and_the_modules_beside_it(tmp_path: Path) -> None:
    _file(tmp_path, "NAME = 'beside'\n", "neighbour_of_job.py")
    text = "import sys\nfrom neighbour_of_job import NAME\nfrom streamlet import Job\njob = Job(NAME + sys.argv[2])\n"
    assert load_job(_file(tmp_path, text), ["-x", "7"]).name == "beside7"


def test_a_file_named_like_a_known_module_does_not_replace_it(tmp_path: Path) -> None:
    import json

    assert load_job(_file(tmp_path, ONE, "json.py"), []).name == "one"
    assert sys.modules["json"] is json
