"""Settings of a job from outside of its code: a TOML file and the environment.

From weak to strong: the job file (`Job("spend", parallelism=2)`), the table `[job]` of `streamlet.toml` beside the job
file (or of the file that `--config` or `STREAMLET_CONFIG` names), the environment (`STREAMLET_PARALLELISM=4`), the
command line (`--parallelism 4`).  `streamlet config job.py` prints each setting with where it is from.  A name that is
unknown is refused with the nearest; durations and sizes are written as on the command line, `500ms` and `64MB`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from streamlet.config import JobConfig, parse_bytes, parse_duration
from streamlet.errors import ConfigError

FILE = "streamlet.toml"
OF_A_RUN = ("http", "http_token_file")
"""Settings that are no fields of `JobConfig`."""
_PREFIX = "STREAMLET_"
_NOT_SETTINGS = re.compile(r"CONFIG|FAULT(_STOPS)?|TEST_.*|SERVICE_(HOST|PORT).*|PORT(_.*)?")
"""The file itself, what tests use, and what Kubernetes gives every container for a service that is called streamlet."""
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Given:
    """A value, and where it is from, in words."""

    value: Any
    origin: str


def given_settings(
    job_file: str, config_file: str | None = None, environment: Mapping[str, str] = os.environ
) -> dict[str, Given]:
    """What file and environment say, the stronger of both; raises `ConfigError` for what is no setting."""
    found: dict[str, Given] = {}
    named = config_file or environment.get(f"{_PREFIX}CONFIG")
    beside = Path(job_file).parent / FILE
    if named is not None or beside.is_file():
        path = beside if named is None else Path(named)
        for name, value in _table(path).items():
            found[name] = Given(_read(name, value, f"{path}: {name}"), str(path))
    for variable, text in environment.items():
        if variable.startswith(_PREFIX) and not _NOT_SETTINGS.fullmatch(variable.removeprefix(_PREFIX)):
            name = variable.removeprefix(_PREFIX).lower()
            _require_known(name, variable, lambda one: f"{_PREFIX}{one.upper()}")
            found[name] = Given(_read(name, text, variable), variable)
    return found


def configured_by(config: JobConfig, given: Mapping[str, Given]) -> JobConfig:
    """The job's own settings with what was given over them."""
    try:
        return replace(config, **{name: one.value for name, one in given.items() if name not in OF_A_RUN})
    except ConfigError as error:
        told_by = given.get(error.message.partition(" ")[0])
        if told_by is None:
            raise
        raise ConfigError(f"{told_by.origin}: {error.message}", remedy=error.remedy) from error


def described(code: JobConfig, given: Mapping[str, Given]) -> list[tuple[str, str, str]]:
    """Each setting, its value, and where that is from."""
    config, default = configured_by(code, given), JobConfig()
    lines: list[tuple[str, str, str]] = []
    for name in _names():
        if name in given:
            value, origin = given[name].value, given[name].origin
        elif name in OF_A_RUN:
            value, origin = None, "default"
        else:
            value = getattr(config, name)
            origin = "default" if value == getattr(default, name) else "job file"
        lines.append((name, str(value), origin))
    return lines


def _names() -> list[str]:
    return [*(field.name for field in fields(JobConfig)), *OF_A_RUN]


def _table(path: Path) -> dict[str, Any]:
    try:
        read = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy="name a TOML file by --config") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML file: {error}", remedy="write a table [job] of name = value") from error
    table = read.pop("job", {})
    if read or not isinstance(table, dict):
        wrong = next(iter(read), "job")
        raise ConfigError(f"{path}: {wrong!r} is not known here", remedy="put settings into a table [job]")
    for name in table:
        _require_known(name, f"{path}: {name!r}", str)
    return table


def _require_known(name: str, what: str, written: Callable[[str], str]) -> None:
    known = [one for one in _names() if one != "restart"]
    if name in known:
        return
    if name == "restart":
        raise ConfigError(f"{what} is set in the job file only", remedy="Job(..., restart=Restart.exponential())")
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {written(near[0])}?" if near else f"known are {_listed(map(written, known))}"
    raise ConfigError(f"{what} is no setting of a job", remedy=hint)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _read(name: str, value: Any, where: str) -> Any:
    """A value as the settings have it: text is read by what the setting is."""
    kind = "str" if name in OF_A_RUN else {field.name: str(field.type) for field in fields(JobConfig)}[name]
    try:
        if kind == "timedelta":
            return parse_duration(str(value), what=name)
        if name == "state_memory" and isinstance(value, str):
            return parse_bytes(value, what=name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", remedy=error.remedy) from error
    if not isinstance(value, str):
        return value if kind != "str" else _refused(where, value, "text")
    if kind == "int":
        return int(value) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value) else _refused(where, value, "a whole number")
    if kind == "bool":
        word = value.strip().lower()
        return _WORDS[word] if word in _WORDS else _refused(where, value, "true or false")
    return value


def _refused(where: str, value: Any, wanted: str) -> Any:
    raise ConfigError(f"{where} is {value!r:.80}", remedy=f"give {wanted}")
