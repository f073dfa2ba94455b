"""What to do about errors of Python that a job file ends by because it uses streamlet wrongly."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from streamlet.dsl import KeyedStream, WindowedStream
from streamlet.dsl.stream import Stream
from streamlet.operators.user_code.raised import spot_of

_HOMES = (
    "streamlet",
    *(f"streamlet.{name}" for name in ("windows", "aggregates", "dsl", "errors", "connect", "testing")),
    *(f"streamlet_connectors.{name}" for name in ("files", "kafka", "generator", "print")),
)
_ARGUMENTS = re.compile(r"(\w+\.)?(\w+)\(\) (?:got |missing |takes )")
_OF_STREAMS = {
    KeyedStream: 'keyed = stream.key_by("user")',
    Stream: "stream = job.source(...), or what a step gives",
    WindowedStream: 'windowed = stream.key_by("user").window(TumblingWindows(timedelta(minutes=1)))',
}


def remedy_of(error: BaseException) -> str | None:
    """Gives the remedy for a name, a method or arguments that are others in streamlet; None where it knows none."""
    if isinstance(error, AttributeError):
        return _owner_of(error)
    if isinstance(error, TypeError):
        _, line = spot_of(error) or ("", None)
        return _call_of(str(error), line or "")
    return _home_of(error)


def _homes() -> Iterator[tuple[str, ModuleType]]:
    for home in _HOMES:
        try:
            yield home, importlib.import_module(home)
        except ImportError:  # connectors are a package of their own
            continue


def _home_of(error: BaseException) -> str | None:
    """Which module has the name that the file looked for in `streamlet`."""
    name = error.name if isinstance(error, NameError) else None
    if isinstance(error, ImportError) and error.name == "streamlet":
        name = getattr(error, "name_from", None) or str(error).split("'")[1]  # `name_from` is there from 3.12 on
    if name:
        for home, module in _homes():
            if name in getattr(module, "__all__", vars(module)):
                return f"from {home} import {name}"
    return None


def _owner_of(error: AttributeError) -> str | None:
    """Which stream has the method, or which method is spelled nearly so."""
    owner, name = type(error.obj), str(error.name)
    if not owner.__module__.startswith("streamlet"):
        return None
    near = difflib.get_close_matches(name, [one for one in dir(owner) if not one.startswith("_")], n=1, cutoff=0.75)
    if near:
        return f"write {near[0]}; streamlet help {near[0]} says what it does"
    for kind, example in _OF_STREAMS.items():
        found = [one for one in dir(kind) if name in one.split("_") and one[0] != "_"]
        if found and kind is not owner:
            return f"a {kind.__name__} has {', '.join(found)}: {example}"
    return None


def _call_of(words: str, line: str) -> str | None:
    """How a function is called to which a line of the file gave other arguments."""
    if (found := _ARGUMENTS.match(words)) is None:
        return None
    owner, name = (found[1] or "").removesuffix("."), found[2]
    for _, module in _homes():
        for known, one in vars(module).items():
            if not inspect.isclass(one):
                continue
            # `__init__` is that of a base class where a class passes its arguments on.
            is_made = name == "__init__" and known in line and owner in [base.__name__ for base in inspect.getmro(one)]
            is_method = owner == known and hasattr(one, name) and not name.startswith("_")
            if is_made or is_method or (not owner and known == name):
                return f"streamlet help {known}{f'.{name}' if is_method else ''} says how it is called"
    return None
