"""The topics of `streamlet help`: where the texts are, and how each is read.

Nothing is written twice: a chapter of the guide is its file, a reference topic is the docstring of the module that it
is about, and a public name is its own docstring.  In a clone the chapters are `examples/guide`, in an installed package
the same files are `streamlet/guide`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_PACKAGE = Path(__file__).parents[1]
_CLONE = _PACKAGE.parent
_CONNECTORS = "streamlet_connectors"

REFERENCE = {
    "running": "streamlet.cli",
    "upgrade": "streamlet.cli.against",
    "settings": "streamlet.config",
    "metrics": "streamlet.observe.catalogue",
    "http": "streamlet.observe.serving",
    "guarantees": "streamlet.checkpoint",
    "state-dir": "streamlet.checkpoint.layout",
    "connectors": _CONNECTORS,
    "formats": "streamlet.formats",
    "exceptions": "streamlet.errors",
    "names": "streamlet",
    "test-kit": "streamlet.testing",
    "connect": "streamlet.connect",
    "source": "streamlet.source",
    "sink": "streamlet.sink",
}
"""Topic -> the module whose docstring it is."""

PUBLIC = ("streamlet", "streamlet.windows", "streamlet.aggregates", "streamlet.dsl", "streamlet.config",
          "streamlet.connect", "streamlet.errors")  # fmt: skip
"""Modules whose public names have help of their own; to them come all modules of connectors."""


class Topic(NamedTuple):
    """A text with a name. `read` gives it when it is asked for: some of them import what they are about."""

    name: str
    title: str
    kind: str
    read: Callable[[], str]


def topics() -> list[Topic]:
    """The topics that `streamlet help` lists: the guide, then the reference."""
    return [*_chapters(), *_reference(), *_connector_modules()]


@cache
def names() -> Mapping[str, Topic]:
    """Every public name, with methods as `Stream.map`: what it takes, and its docstring."""
    things = {name: getattr(module, name) for module in _public_modules() for name in _exported(module)}
    classes = {name: thing for name, thing in things.items() if inspect.isclass(thing)}
    found = {name: _name_topic(name, thing) for name, thing in things.items() if inspect.isfunction(thing)}
    found |= {name: _name_topic(name, thing) for name, thing in classes.items()}
    seen: set[object] = set()  # a method is listed for the first class that has it
    for name, kind in sorted(classes.items(), key=lambda one: len(one[1].__mro__)):
        for method, function in _methods(kind):
            if function not in seen:
                seen.add(function)
                found[f"{name}.{method}"] = _name_topic(f"{name}.{method}", function)
    return found


@cache
def code() -> Sequence[Topic]:
    """The docstrings of all modules, classes and functions of the engine and of the connectors, by file and line."""
    return [topic for folder in (_PACKAGE, *_connectors_folder()) for topic in _code_of(folder)]


def _code_of(folder: Path) -> Iterator[Topic]:
    for path in sorted(folder.rglob("*.py")):
        if path.parent.name == "guide":
            continue
        where = str(path.relative_to(folder.parent))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield Topic(
                        f"{where}:{getattr(node, 'lineno', 1)}", getattr(node, "name", ""), "code", text.__str__
                    )


def _chapters() -> Iterator[Topic]:
    folder = _PACKAGE / "guide"
    if not folder.is_dir():
        folder = _CLONE / "examples" / "guide"
    for path in sorted(folder.glob("[0-9]*.py")):
        text = path.read_text()
        yield Topic(path.stem.partition("-")[2], _title(ast.parse(text)), "guide", lambda text=text: _chapter(text))  # type: ignore[misc]


def _chapter(text: str) -> str:
    """The docstring of a chapter as text, and its code."""
    tree = ast.parse(text)
    code = text.splitlines()[tree.body[0].end_lineno :]
    indented = "\n".join(f"    {line}".rstrip() for line in code).strip("\n")
    return f"{ast.get_docstring(tree)}\n\n{indented}"


def _reference() -> Iterator[Topic]:
    for name, module in REFERENCE.items():
        path = _file_of(module)
        if path is not None:
            tree = ast.parse(path.read_text())
            read: dict[str, Callable[[ast.Module], str]] = {"settings": _settings, "metrics": _metrics}
            yield Topic(name, _title(tree), "reference", partial(read.get(name, _docstring), tree))
    for path in (_PACKAGE / "guide" / "speed.py", _CLONE / "tests" / "benchmarks" / "__init__.py"):
        if path.is_file():
            tree = ast.parse(path.read_text())
            yield Topic("speed", _title(tree), "reference", lambda tree=tree: _docstring(tree))  # type: ignore[misc]
            break


def _settings(tree: ast.Module) -> str:
    """The docstring of config.py, and the fields of `JobConfig` with their docstrings."""
    (config,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "JobConfig")
    parts = [_docstring(tree)]
    for field, text in zip(config.body, config.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            lines = "\n".join(f"    {line.strip()}" for line in str(text.value.value).splitlines())
            parts.append(f"{ast.unparse(field)}\n{lines}")
    return "\n\n".join(parts)


def _metrics(tree: ast.Module) -> str:
    """The docstring of the catalogue, and its entries."""
    from streamlet.observe.catalogue import described

    return f"{_docstring(tree)}\n\n{described()}"


def _connector_modules() -> Iterator[Topic]:
    for folder in _connectors_folder():
        for path in sorted(folder.iterdir()):
            inner = path / "__init__.py" if path.is_dir() else path
            if inner.suffix == ".py" and inner.is_file() and path.name != "__init__.py":
                module = f"{_CONNECTORS}.{path.stem}"
                title = _title(ast.parse(inner.read_text()))
                yield Topic(path.stem, title, "connectors", lambda module=module: _with_names(module))  # type: ignore[misc]


def _with_names(module: str) -> str:
    """The docstring of a module, and those of its public names."""
    loaded = importlib.import_module(module)
    things = [(name, getattr(loaded, name)) for name in _exported(loaded)]
    described = [_described(name, thing) for name, thing in things if inspect.isclass(thing)]
    return "\n\n\n".join([inspect.getdoc(loaded) or "", *described])


def _public_modules() -> Iterator[ModuleType]:
    for name in (*PUBLIC, *(f"{_CONNECTORS}.{topic.name}" for topic in _connector_modules())):
        try:
            yield importlib.import_module(name)
        except ImportError:
            continue  # a connector whose packages are not installed


def _exported(module: ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__
    ]


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for base in kind.__mro__:
        if base.__module__.startswith("streamlet"):
            for name, thing in vars(base).items():
                function = thing.__func__ if isinstance(thing, staticmethod | classmethod) else thing
                if not name.startswith("_") and inspect.isfunction(function):
                    yield name, function


def _name_topic(name: str, thing: Any) -> Topic:
    title = (inspect.getdoc(thing) or "").partition("\n")[0]
    return Topic(name, title, "name", lambda: _described(name, thing))


def _described(name: str, thing: Any) -> str:
    """What a name takes, and its docstring."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        signature = inspect.Signature()
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    takes = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    takes = re.sub(r"\b(typing|datetime)\.|<class '(.*?)'>", r"\2", takes)
    text = "\n".join(f"    {line}".rstrip() for line in (inspect.getdoc(thing) or "").splitlines())
    return f"{name}{takes}\n{text}"


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _connectors_folder() -> list[Path]:
    path = _file_of(_CONNECTORS)
    return [] if path is None else [path.parent]


def _docstring(tree: ast.Module) -> str:
    return ast.get_docstring(tree) or ""


def _title(tree: ast.Module) -> str:
    return _docstring(tree).partition("\n")[0].rstrip(".")
