"""Finds the Job in a job file."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from streamlet.calling import is_user_file
from streamlet.cli.import_remedies import remedy_of
from streamlet.cli.settings import configured_by, given_settings
from streamlet.dsl.job import Job
from streamlet.errors import JobDefinitionError, StreamletError
from streamlet.operators.user_code.raised import shown_of, spot_of
from streamlet.runtime.run.importing import importing


def load_job(target: str, arguments: list[str], config_file: str | None = None) -> Job:
    """Imports `job.py` or `job.py:name` and gives its Job, with the settings of file and environment over its own; the
    file sees `arguments` as `sys.argv[1:]`."""
    job = load_bare_job(target, arguments)
    job.config = configured_by(job.config, given_settings(job_file_of(target), config_file))
    return job


def job_file_of(target: str) -> str:
    """The path of `job.py:name`."""
    return _split(target)[0]


def load_bare_job(target: str, arguments: list[str]) -> Job:
    """The same with the settings of its file alone."""
    path_text, name = _split(target)
    path = Path(path_text)
    if not path.is_file():
        raise JobDefinitionError(f"there is no job file {path_text}", remedy="give the path of a Python file")
    module = _import(path.resolve(), arguments)
    jobs = {key: value for key, value in vars(module).items() if isinstance(value, Job)}
    if name is not None:
        if name not in jobs:
            raise JobDefinitionError(
                f"{path_text} has no Job named {name!r}", remedy=f"it has: {', '.join(jobs) or 'no Job at all'}"
            )
        return jobs[name]
    distinct = {id(job): key for key, job in jobs.items()}
    if not distinct:
        raise JobDefinitionError(
            f"{path_text} has no Job", remedy='make one at the top level of the file: job = Job("my-job")'
        )
    if len(distinct) > 1:
        choices = ", ".join(f"{path_text}:{key}" for key in distinct.values())
        raise JobDefinitionError(f"{path_text} has {len(distinct)} jobs", remedy=f"say which one: {choices}")
    return next(iter(jobs.values()))


def _split(target: str) -> tuple[str, str | None]:
    path, colon, name = target.rpartition(":")
    return (path, name) if colon and name.isidentifier() else (target, None)


def _import(path: Path, arguments: list[str]) -> ModuleType:
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"job_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise JobDefinitionError(f"{path} is not a Python file", remedy="give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path), *arguments]
    try:
        with importing(path):
            spec.loader.exec_module(module)
    except StreamletError as error:
        # What a connector refuses is known by its words alone: the line is that of its call.
        spot = spot_of(error)
        if spot is not None and not error.message.startswith(spot[0].rpartition(":")[0]):
            error.at(spot[0].partition(" in ")[0])
        raise
    except (Exception, SystemExit) as error:
        raise JobDefinitionError(
            _describe(error, path), remedy=remedy_of(error) or "the job file must import without error"
        ) from error
    return module


def _describe(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: SyntaxError: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_file(frame.filename)]
    if not frames:
        return f"{path}: {type(error).__name__}: {shown_of(error)}"
    last = frames[-1]
    return f"{last.filename}:{last.lineno} in {last.name}: {type(error).__name__}: {shown_of(error)}\n    {last.line}"
