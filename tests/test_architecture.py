"""The shape of the house, held by its source text: what must not be anywhere. Who may import whom is in the maps."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = "streamlet"
CONNECTORS = "streamlet_connectors"

DOORS = ("streamlet", "streamlet.connect")
"""The modules of the engine that a connector may import names from."""

MAY_USE_ASYNCIO = ("streamlet/runtime/", "streamlet/checkpoint/coordinator.py", "streamlet/checkpoint/patience.py",
                   "streamlet/operators/asynchronous/map_async.py",
                   "streamlet/machine/threads.py", "streamlet/task_group.py", "streamlet/turns.py",
                   "streamlet/observe/serving/",
                   "streamlet/cli/", "streamlet/testing/", "connectors/")  # fmt: skip
MAY_READ_CLOCKS = ("streamlet/clock.py",)
CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}
UNSAFE_CALLS = {"eval", "exec"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MOST_LINES = 400


class Module(NamedTuple):
    """One source file of the engine or of the connectors."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def parts(self) -> list[str]:
        return list(Path(self.path.removeprefix("connectors/")).with_suffix("").parts)

    @property
    def room(self) -> str:
        """`state` for streamlet/state/..., `sink` for streamlet/sink.py, "" for the root itself."""
        return self.parts[1] if len(self.parts) > 1 and self.parts[1] != "__init__" else ""


def all_modules() -> list[Module]:
    files = [*(ROOT / ENGINE).rglob("*.py"), *(ROOT / "connectors" / CONNECTORS).rglob("*.py")]
    assert len(files) > 300
    return [Module(str(path.relative_to(ROOT)), path.read_text()) for path in sorted(files)]


class Import(NamedTuple):
    """One imported module; `is_late` inside a function, `is_typing` where only the type checker looks."""

    name: str
    line: int
    is_late: bool
    is_typing: bool


def imports_of(module: Module) -> Iterator[Import]:
    yield from _imports(module, module.tree, is_late=False, is_typing=False)


def _imports(module: Module, node: ast.AST, *, is_late: bool, is_typing: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, is_late, is_typing)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.parts if module.path.endswith("__init__.py") else module.parts[:-1]
            package = [part for part in package if part != "__init__"]
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
        for alias in node.names:
            yield Import(f"{base}.{alias.name}", node.lineno, is_late, is_typing)
    is_late = is_late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        is_typing = True
    for child in ast.iter_child_nodes(node):
        yield from _imports(module, child, is_late=is_late, is_typing=is_typing)


def public_names(module: str) -> list[str]:
    """What a connector may import from a module."""
    return list(importlib.import_module(module).__all__) if module in DOORS else []


def connectors_reach_deep(module: Module) -> Iterator[str]:
    if module.parts[0] != CONNECTORS:
        return
    own = f"{CONNECTORS}.{module.room}"
    for found in imports_of(module):
        parts = found.name.split(".")
        is_name = parts[-1] in public_names(".".join(parts[:-1]))
        is_deep = parts[0] == ENGINE and not is_name and found.name not in DOORS
        is_neighbour = parts[0] == CONNECTORS and found.name != own and not found.name.startswith(own + ".")
        if is_deep or is_neighbour:
            yield f"line {found.line}: imports {found.name}"


def engine_knows_connectors(module: Module) -> Iterator[str]:
    if module.parts[0] == ENGINE:
        for found in imports_of(module):
            if found.name.split(".")[0] in (CONNECTORS, "connectors", "aiokafka", "confluent_kafka"):
                yield f"line {found.line}: imports {found.name}"


def engine_needs_the_test_kit(module: Module) -> Iterator[str]:
    # `streamlet dev` is the one door to it: a person asks for the test kit there.
    if module.parts[0] == ENGINE and module.room != "testing" and module.path != "streamlet/cli/dev.py":
        for found in imports_of(module):
            if f"{found.name}.".startswith(f"{ENGINE}.testing."):
                yield f"line {found.line}: imports {found.name}"


def asyncio_outside_the_runtime(module: Module) -> Iterator[str]:
    if not module.path.startswith(MAY_USE_ASYNCIO):
        for found in imports_of(module):
            if found.name.split(".")[0] in ("asyncio", "uvloop"):
                yield f"line {found.line}: imports {found.name}"


def reads_a_clock(module: Module) -> Iterator[str]:
    if module.path in MAY_READ_CLOCKS:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in CLOCKS.get(owner.lstrip("_"), ()):
                yield f"line {node.lineno}: {owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            for alias in node.names:
                if alias.name in CLOCKS["time"]:
                    yield f"line {node.lineno}: time.{alias.name}"


def exception_classes_outside_errors(module: Module) -> Iterator[str]:
    if module.path.endswith("errors.py"):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                if name.endswith(("Error", "Exception", "Warning")) or name == "ExceptionGroup":
                    yield f"line {node.lineno}: class {node.name}({name})"


def vague_module_names(module: Module) -> Iterator[str]:
    if vague := VAGUE_NAMES & set(module.parts):
        yield f"is named {', '.join(vague)}"


def unsafe_code(module: Module) -> Iterator[str]:
    for found in imports_of(module):
        if found.name.split(".")[0] in UNSAFE_MODULES:
            yield f"line {found.line}: imports {found.name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in UNSAFE_CALLS:
            yield f"line {node.lineno}: calls {ast.unparse(node.func)}"


def too_long(module: Module) -> Iterator[str]:
    if (lines := module.text.count("\n")) > MOST_LINES:
        yield f"has {lines} lines"


def unannotated_functions(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
        bare = [one.arg for one in arguments if one.annotation is None and one.arg not in ("self", "cls")]
        if bare or node.returns is None:
            yield f"line {node.lineno}: {node.name} ({', '.join(bare) or 'what it returns'})"


Check = Callable[[Module], Iterator[str]]


def violations(check: Check, modules: list[Module]) -> list[str]:
    return [f"{module.path}: {finding}" for module in modules for finding in check(module)]


def test_connectors_import_the_two_doors_of_the_engine_and_nothing_deeper() -> None:
    assert violations(connectors_reach_deep, all_modules()) == []


def test_the_engine_knows_no_connector() -> None:
    assert violations(engine_knows_connectors, all_modules()) == []


def test_nothing_in_the_engine_needs_the_test_kit() -> None:
    assert violations(engine_needs_the_test_kit, all_modules()) == []


def test_asyncio_stays_in_the_runtime() -> None:
    assert violations(asyncio_outside_the_runtime, all_modules()) == []


def test_only_the_clock_module_reads_a_clock() -> None:
    assert violations(reads_a_clock, all_modules()) == []


def test_every_exception_class_lives_in_an_errors_module() -> None:
    assert violations(exception_classes_outside_errors, all_modules()) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert violations(vague_module_names, all_modules()) == []


def test_nothing_unpickles_or_evaluates() -> None:
    assert violations(unsafe_code, all_modules()) == []


def test_no_module_is_longer_than_400_lines() -> None:
    assert violations(too_long, all_modules()) == []


def test_every_function_is_annotated() -> None:
    assert violations(unannotated_functions, all_modules()) == []


@pytest.mark.parametrize(
    ("check", "path", "text"),
    [
        (connectors_reach_deep, "connectors/streamlet_connectors/files/sink.py", "from streamlet.sink import Sink"),
        (connectors_reach_deep, "connectors/streamlet_connectors/files/sink.py", "import streamlet.sink"),
        (connectors_reach_deep, "connectors/streamlet_connectors/files/sink.py", "from streamlet import sink"),
        (connectors_reach_deep, "connectors/streamlet_connectors/files/sink.py", "from streamlet import windows"),
        (connectors_reach_deep, "connectors/streamlet_connectors/print.py", "from streamlet_connectors import files"),
        (engine_knows_connectors, "streamlet/cli/run.py", "def f():\n    import streamlet_connectors.kafka"),
        (engine_needs_the_test_kit, "streamlet/cli/run.py", "from streamlet import testing"),
        (asyncio_outside_the_runtime, "streamlet/state/store.py", "from asyncio import sleep"),
        (asyncio_outside_the_runtime, "streamlet/operators/process.py", "import asyncio"),
        (reads_a_clock, "streamlet/runtime/task.py", "import time\nx = time.monotonic()"),
        (reads_a_clock, "streamlet/runtime/task.py", "from time import time_ns"),
        (reads_a_clock, "connectors/streamlet_connectors/print.py", "import datetime\nx = datetime.datetime.now()"),
        (exception_classes_outside_errors, "streamlet/state/store.py", "class LostError(StreamletError): ..."),
        (exception_classes_outside_errors, "streamlet/state/store.py", "class Lost(Exception): ..."),
        (vague_module_names, "streamlet/state/utils.py", ""),
        (vague_module_names, "streamlet/common/keys.py", ""),
        (unsafe_code, "streamlet/state/store.py", "from pickle import loads"),
        (unsafe_code, "streamlet/state/store.py", "x = eval('1')"),
        (too_long, "streamlet/state/store.py", "\n" * 401),
        (unannotated_functions, "streamlet/state/store.py", "def f(x) -> int: ..."),
        (unannotated_functions, "streamlet/state/store.py", "async def f(self, *, x: int): ..."),
    ],
)
def test_a_planted_violation_is_caught(check: Check, path: str, text: str) -> None:
    assert violations(check, [Module(path, text)])


def test_what_is_allowed_is_not_reported() -> None:
    fine = [
        Module("streamlet/runtime/task.py", "import asyncio\nfrom streamlet.graph.plan import ExecutionPlan"),
        Module("streamlet/cli/run.py", "from streamlet.dsl import job\nfrom streamlet.runtime import attempt"),
        Module("streamlet/clock.py", "import time\nx = time.time_ns()"),
        Module("connectors/streamlet_connectors/files/sink.py", "from streamlet.connect import Sink\nimport asyncio"),
        Module("streamlet/kafka/errors.py", "class LostError(Exception): ..."),
    ]
    checks: list[Check] = [
        connectors_reach_deep, engine_knows_connectors, engine_needs_the_test_kit,
        asyncio_outside_the_runtime, reads_a_clock, exception_classes_outside_errors, vague_module_names,
        unsafe_code, too_long, unannotated_functions,
    ]  # fmt: skip
    assert [finding for check in checks for finding in violations(check, fine)] == []
