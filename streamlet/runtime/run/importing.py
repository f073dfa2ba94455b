"""Job files and the running program: which file is being imported, and where other processes find a job."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from streamlet.errors import ConfigError, JobDefinitionError

_importing: list[Path] = []


@contextlib.contextmanager
def importing(path: Path) -> Iterator[None]:
    """Marks a job file as being imported for as long as the block runs."""
    _importing.append(path)
    try:
        yield
    finally:
        _importing.pop()


def refuse_while_importing(name: str) -> None:
    """Raises `JobDefinitionError` when a job file that is being imported runs a job: each import would run it."""
    if _importing:
        raise JobDefinitionError(
            f"{_importing[-1]} runs job {name!r} while it is imported",
            remedy='put it below `if __name__ == "__main__":`',
        )


def file_of(job: object, name: str) -> str:
    """Gives `job.py:variable` of a job in the running program, for other processes to load.

    Raises `ConfigError` for a job that is no top-level name of the program's file.
    """
    program = sys.modules["__main__"]
    file = getattr(program, "__file__", None)
    names = [key for key, value in vars(program).items() if value is job]
    if file is None or not names:
        raise ConfigError(
            f"job {name!r} cannot run in several processes: it is no top-level name of the program's file, where "
            "the others could find it",
            remedy="assign the job to a name at the top level of the file that is run, or use `streamlet run job.py`",
        )
    return f"{Path(file).resolve()}:{names[0]}"
