"""Who may import whom: each folder's map says it, in the docstring of its `__init__`, and this holds it to its word.

A map ends with `May import: ...`, a list of folders of the same package by dotted name; `contracts` stands for the
files of the root that everything may see.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import CONNECTORS, ENGINE, ROOT, Module, all_modules, imports_of, violations

MAP_LINE = "May import: "
ALONE = {"errors", "crash_points", "limits", "tally", "calling", "task_group", "turns"}
"""Files of the root that import nothing of the engine."""

FOUNDATION = ALONE | {"clock", "config", "elements", "outages", "ports"}
CONTRACTS = FOUNDATION | {"source", "sink", "formats"}
FILES_OF_THE_ROOT: dict[str, set[str]] = {
    **{name: set() for name in ALONE},
    **dict.fromkeys(FOUNDATION - ALONE, FOUNDATION),
    "ports": {"clock"},
    "source": CONTRACTS,
    "sink": CONTRACTS,
}
"""File of the root -> what it may import. Other files of the root are doors for users, and see everything."""

SEE_ALL = {"cli", "testing", ""}
RUNS_LATE = {("dsl", "runtime.run")}
"""Imports that are right inside a function only: `job.run()` starts what the job file itself must not load."""


def folder_of(package: str, place: str) -> Path:
    base = ROOT / ENGINE if package == ENGINE else ROOT / "connectors" / CONNECTORS
    return base.joinpath(*filter(None, place.split(".")))


def allowed_by_map(folder: Path) -> set[str]:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    _, found, rest = text.partition(MAP_LINE)
    assert found, f"{folder}/__init__.py has no line `{MAP_LINE}...` in its docstring"
    named = {name.strip() for name in rest.split(",")}
    return (named - {"contracts"}) | (CONTRACTS if "contracts" in named else set())


def place_of(dotted: str) -> str:
    """The folder of an imported name without its package, `state.log`; for a file of the root its name, `sink`."""
    package, *inner = dotted.split(".")
    while inner and not (folder_of(package, ".".join(inner)) / "__init__.py").is_file():
        if len(inner) == 1 or folder_of(package, ".".join(inner)).with_suffix(".py").is_file():
            return ".".join(inner[:-1]) or inner[0]
        inner.pop()
    return ".".join(inner)


def place_of_module(module: Module) -> str:
    inner = [part for part in module.parts[1:] if part != "__init__"]
    return ".".join(inner if module.path.endswith("__init__.py") or len(inner) < 2 else inner[:-1])


def allowed_from(package: str, place: str) -> set[str] | None:
    """What a place may import; None for one that may import everything."""
    if place.split(".")[0] in SEE_ALL:
        return None
    folder = folder_of(package, place)
    if (folder / "__init__.py").is_file():
        return None if package == CONNECTORS and "." not in place else allowed_by_map(folder)
    return FILES_OF_THE_ROOT.get(place)


def wrong_direction(module: Module) -> Iterator[str]:
    package, here = module.parts[0], place_of_module(module)
    allowed = allowed_from(package, here)
    for found in imports_of(module) if allowed is not None else ():
        there = place_of(found.name)
        if found.name.split(".")[0] != package or found.is_typing or there == here or there in (allowed or ()):
            continue
        is_late = found.is_late and (here, there) in RUNS_LATE
        is_door = module.path.endswith("__init__.py") and there.startswith(f"{here}.")
        if not is_late and not is_door:
            yield f"line {found.line}: {here} imports {found.name}, and its map does not allow {there}"


def circles(modules: list[Module]) -> list[list[str]]:
    """Folders that import each other by any way; an import inside a function counts, one for types only does not."""
    edges: dict[str, set[str]] = {}
    for module in modules:
        here = f"{module.parts[0]}:{place_of_module(module)}"
        for found in imports_of(module):
            there = f"{found.name.split('.')[0]}:{place_of(found.name)}"
            if there.split(":")[0] in (ENGINE, CONNECTORS) and not found.is_typing and not there.endswith(":"):
                edges.setdefault(here, set()).add(there)
    reached = {start: _reached(edges, start) for start in edges}
    found_in = [sorted(other for other in reached[start] if start in reached.get(other, ())) for start in edges]
    return [list(one) for one in sorted({tuple(one) for one in found_in if len(one) > 1})]


def _reached(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - seen
        seen |= new
        waiting.extend(new)
    return seen


def test_folders_import_only_what_their_maps_allow() -> None:
    assert violations(wrong_direction, all_modules()) == []


def test_no_folder_imports_itself_by_way_of_another() -> None:
    assert circles(all_modules()) == []


def test_every_folder_of_the_engine_has_a_map() -> None:
    folders = [path.parent for path in (ROOT / ENGINE).rglob("__init__.py")]
    mapped = [one for one in folders if one.relative_to(ROOT / ENGINE).parts[:1] not in [(), ("cli",), ("testing",)]]
    assert len(mapped) > 20
    assert all(allowed_by_map(one) for one in mapped)


def test_maps_name_folders_that_exist() -> None:
    for path in (ROOT / ENGINE).rglob("__init__.py"):
        if MAP_LINE in path.read_text():
            for name in allowed_by_map(path.parent) - CONTRACTS:
                assert (folder_of(ENGINE, name) / "__init__.py").is_file(), f"{path} names {name}"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("streamlet/state/store.py", "from streamlet.operators import keying"),
        ("streamlet/state/encoding/codec.py", "from streamlet.state.memory import cells"),
        ("streamlet/state/log/file.py", "from streamlet.state.backends.logged import LoggedStore"),
        ("streamlet/runtime/task/chain.py", "from streamlet.runtime.job import attempt"),
        ("streamlet/runtime/run/job_run.py", "import streamlet.dsl.stream"),
        ("streamlet/checkpoint/pending.py", "def f():\n    from streamlet.runtime.task import subtask"),
        ("streamlet/graph/plan.py", "from ..dsl import stream"),
        ("streamlet/errors.py", "from streamlet import elements"),
        ("streamlet/dsl/job.py", "from streamlet.runtime.run import job_run"),
        (
            "connectors/streamlet_connectors/kafka/protocol/wire.py",
            "from streamlet_connectors.kafka.reading import source",
        ),
    ],
)
def test_an_import_against_the_map_is_caught(path: str, text: str) -> None:
    assert violations(wrong_direction, [Module(path, text)])


def test_what_a_map_allows_is_not_reported() -> None:
    fine = [
        Module("streamlet/runtime/task/subtask.py", "from streamlet.graph.plan import ExecutionPlan"),
        Module("streamlet/dsl/job.py", "def run() -> None:\n    from streamlet.runtime.run import job_run"),
        Module("streamlet/cli/run.py", "from streamlet.dsl import job\nfrom streamlet.runtime.job import attempt"),
    ]
    assert violations(wrong_direction, fine) == []


def test_a_circle_is_caught() -> None:
    one = Module("streamlet/state/log/file.py", "from streamlet.runtime.job import attempt")
    other = Module("streamlet/runtime/job/attempt.py", "def f():\n    from streamlet.state.log import file")
    assert circles([one, other]) == [["streamlet:runtime.job", "streamlet:state.log"]]
