"""The engine reaches disk, threads, processes and chance through its ports alone, held by its source text.

What a simulation does not give, the engine must not use: nothing may differ between the two except behind the ports.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_architecture import Module, all_modules, imports_of, violations

MAY_REACH_THE_MACHINE = {
    "streamlet/machine/": "the ports of production",
    "streamlet/testing/": "the ports of simulations, and servers for tests",
    "streamlet/cli/": "starts jobs, and gives them their ports",
    "streamlet/runtime/run/": "runs one job in one program: its signals, its limits, its event loop",
    "streamlet/observe/serving/": "an HTTP server in a thread of its own, beside the job",
    "streamlet/clock.py": "the port of time",
    "streamlet/crash_points.py": "how a test of real processes kills or stops them",
    "streamlet/runtime/job/loop_watch.py": "watches a real event loop from beside it; only the cli starts it",
    "connectors/streamlet_connectors/files/": "its files are the outside, not the engine's state",
}
"""Path -> why. Connectors get threads and the clock by their contexts; files/ makes its own calls in those threads."""

MACHINE_MODULES = {
    "shutil", "subprocess", "tempfile", "socket", "fcntl", "glob", "mmap", "signal", "multiprocessing", "concurrent",
    "random", "uuid", "secrets", "_thread",
}  # fmt: skip
HARMLESS = {
    "os": {"sep", "pathsep", "linesep", "fspath", "PathLike", "strerror", "EX_IOERR"},
    "threading": {"Lock", "RLock"},  # they start nothing
}
"""Of these modules, the names that reach nothing."""

LOOP_DOORS = {"to_thread", "run_in_executor", "create_subprocess_exec", "create_subprocess_shell"}
PATH_CALLS = {
    "write_text", "write_bytes", "read_text", "read_bytes", "mkdir", "rmdir", "unlink", "touch", "chmod", "hardlink_to",
    "symlink_to", "iterdir", "rglob", "is_dir", "is_file", "is_symlink", "stat", "lstat", "samefile", "readlink",
}  # fmt: skip
DISK_CALLS = {"exists", "rename"}
"""A `Disk` has them as well as a `Path`."""
_MODE = re.compile(r"[rwxabt+]{1,3}")


def reaches_the_machine(module: Module) -> Iterator[str]:
    if module.path.startswith(tuple(MAY_REACH_THE_MACHINE)):
        return
    for found in imports_of(module):
        root, _, name = found.name.partition(".")
        is_beyond = root in MACHINE_MODULES or (name and root in HARMLESS and name not in HARMLESS[root])
        if (is_beyond and not found.is_typing) or name in LOOP_DOORS:
            yield f"line {found.line}: imports {found.name}"
    for node in ast.walk(module.tree):
        if (isinstance(node, ast.Attribute) and _is_door(node)) or (
            isinstance(node, ast.Call) and _touches_files(node)
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _is_door(node: ast.Attribute) -> bool:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    return node.attr in LOOP_DOORS or (owner in HARMLESS and node.attr not in HARMLESS[owner])


def _touches_files(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id == "open"
    if not isinstance(call.func, ast.Attribute):
        return False
    name, owner = call.func.attr, ast.unparse(call.func.value)
    if name in PATH_CALLS:
        return True
    if name in DISK_CALLS:
        return not owner.endswith("disk")
    if name == "replace":
        return len(call.args) == 1 and not call.keywords  # that of a text takes two
    if name == "open":
        modes = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        return any(isinstance(mode, ast.Constant) and _MODE.fullmatch(str(mode.value)) for mode in modes)
    return False


def test_the_engine_reaches_the_machine_through_its_ports_alone() -> None:
    assert violations(reaches_the_machine, all_modules()) == []


def test_every_exception_is_still_there_and_still_one() -> None:
    for path in MAY_REACH_THE_MACHINE:
        if path == "streamlet/clock.py":
            continue  # held by the check of clocks
        inside = [Module(f"streamlet/state/{one.path}", one.text) for one in all_modules() if one.path.startswith(path)]
        assert violations(reaches_the_machine, inside), f"{path} needs no exception any more"


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.open('a', 0)",
        "import os\nos.fsync(1)",
        "import os\nos.rename('a', 'b')",
        "import os\nos.replace('a', 'b')",
        "import os\nos.link('a', 'b')",
        "import os\nos.unlink('a')",
        "import os\nsync = os.fsync",
        "import os\nos.environ['A']",
        "import os\nos.getpid()",
        "from os import fsync",
        "def f() -> None:\n    import shutil",
        "from shutil import rmtree",
        "path.write_text('a')",
        "path.write_bytes(b'a')",
        "path.read_bytes()",
        "path.rename(target)",
        "path.replace(target)",
        "path.unlink(missing_ok=True)",
        "path.mkdir()",
        "path.hardlink_to(other)",
        "path.exists()",
        "path.is_dir()",
        "path.open('wb')",
        "path.open(mode='a')",
        "open('a')",
        "with open(path, 'w') as file: ...",
        "import threading\nthreading.Thread(target=f)",
        "from threading import Thread",
        "from concurrent.futures import ThreadPoolExecutor",
        "import asyncio\nasyncio.to_thread(f)",
        "from asyncio import to_thread",
        "loop.run_in_executor(None, f)",
        "asyncio.create_subprocess_exec('a')",
        "import subprocess",
        "import random",
        "from random import random",
        "import uuid",
        "from secrets import token_hex",
        "import tempfile",
    ],
)
def test_a_planted_way_around_the_ports_is_caught(text: str) -> None:
    for path in (
        "streamlet/state/store.py",
        "streamlet/runtime/job/attempt.py",
        "connectors/streamlet_connectors/print.py",
    ):
        assert violations(reaches_the_machine, [Module(path, text)])


def test_what_goes_through_the_ports_is_not_reported() -> None:
    fine = """
import os
import threading
self._disk.rename(source, target)
files.disk.exists(path)
disk.open(path)
disk.make_folder(path)
lock = threading.Lock()
name.replace("/", "_")
f"{root}{os.sep}"
operator.open(context)
await workers.run_apart(child.run)
ports.randomness.random()
"""
    assert violations(reaches_the_machine, [Module("streamlet/runtime/job/attempt.py", fine)]) == []
