"""`pytest --quick`: the tests that start no process and no broker and never sleep, as one does between two edits.

A test of the quick folders that does any of it is marked `outside`; one that is not marked fails, in every run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import pytest

from tests.running import folder

QUICK = ("unit", "protocol", "operators", "test_architecture.py", "test_architecture_ports.py", "test_examples.py")
"""The folders and files of the quick tests."""
FORBIDDEN = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
"""Python's own audit events of what a quick test must not do, beside sleeping."""
BROKERS = frozenset({"kafka", "kafka_broker_factory"})
"""The fixtures that have a real broker."""

_sleep = time.sleep
_done: list[str] | None = None
"""What the quick test that runs has done of it; None while none runs."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in FORBIDDEN and _done is not None:
        _done.append(f"{event}{arguments!r:.100}")


def _slept(seconds: float | SupportsIndex) -> None:
    if _done is not None:
        _done.append(f"time.sleep({seconds})")
    _sleep(seconds)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests without processes, brokers and sleeps: a minute")


def pytest_configure() -> None:
    sys.addaudithook(_watch)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("quick") or collection_path.parent != Path(__file__).parent:
        return None
    return True if collection_path.name not in QUICK else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("quick"):
        return
    left_out = [item for item in items if is_outside(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_outside(item)]


def is_outside(item: pytest.Item) -> bool:
    """True for a test that may do what a quick one must not."""
    if folder(item.nodeid) not in QUICK or item.get_closest_marker("outside") is not None:
        return True
    return not BROKERS.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _watched(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _watched(item)


def _watched(item: pytest.Item) -> Iterator[None]:
    """Runs a part of a test, which fails behind it when it has done what a quick one must not."""
    global _done
    if is_outside(item):
        yield
        return
    done: list[str] = []
    _done, time.sleep = done, _slept
    try:
        yield
    finally:
        _done, time.sleep = None, _sleep
    if done:
        pytest.fail(f"not marked `outside`, but it did: {'; '.join(done[:3])}", pytrace=False)
