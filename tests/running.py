"""How a run is shared out: workers, which of them runs what, names of tests, folders in memory, the slowest parts.

A run of everything has one worker more than there are cores, for the tests of Kafka and of recovery mostly wait.  They
stand at the front of the queue and the simulator, which only computes, at its back: half of the workers take from each
end, and they meet among the many small files in between.  So both cores have work and few workers need a broker.
`pytest FILE` runs in one process, `-n` chooses otherwise.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FRONT = ("kafka", "recovery", "soak", "security")
"""Folders whose tests wait for other processes, longest first."""
BACK = ("benchmarks", "simulation")
"""Folders whose tests compute, longest last."""
IN_MEMORY = ("unit", "operators", "protocol")
"""Folders whose tests ask nothing of a disk but that files are there: an fsync takes no time in memory."""
ON_DISK = ("unit/connectors/files/",)
"""What is below them all the same: tests of what a file system does with names and inodes."""
SLOWEST = 10
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 << 30


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Gives a run of everything its workers, unless `-n` or a debugger is asked for."""
    if hasattr(config, "workerinput") or config.args_source is pytest.Config.ArgsSource.ARGS:
        return  # a worker is asked, too
    if config.getoption("numprocesses", 0) is None and not config.getoption("usepdb"):
        config.option.numprocesses = (os.cpu_count() or 1) + (not config.getoption("quick"))


def place(nodeid: str) -> str:
    """The file of a test, below the folder of the tests."""
    return nodeid.partition("::")[0].removeprefix("tests/")


def folder(nodeid: str) -> str:
    """The first folder of a test."""
    return place(nodeid).partition("/")[0]


def turn(nodeid: str) -> int:
    """Where a test stands in the queue: below 0 at the front, above 0 at the back."""
    name = folder(nodeid)
    if name in FRONT:
        return FRONT.index(name) - len(FRONT)
    return BACK.index(name) + 1 if name in BACK else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests in the order of the queue, which every worker has alike."""
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files stay whole; the workers take them from both ends of the queue."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    scheduler = LoadFileScheduling(config, log)
    assign_the_first = scheduler._assign_work_unit

    def assign_from_its_end(node: Any) -> None:
        queue = scheduler.workqueue
        is_odd = int(node.gateway.id.removeprefix("gw")) % 2
        queue.move_to_end(next(reversed(queue) if is_odd else iter(queue)), last=False)
        assign_the_first(node)

    scheduler._assign_work_unit = assign_from_its_end
    return scheduler


def memory_for(nodeid: str) -> Path | None:
    """Where the files of a test are in memory; None when they belong on a disk, or there is too little room."""
    if folder(nodeid) not in IN_MEMORY or place(nodeid).startswith(ON_DISK):
        return None
    try:
        room = os.statvfs(_MEMORY)
    except OSError:
        return None
    return _MEMORY if room.f_bavail * room.f_frsize >= _ROOM_BYTES else None


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A new folder, in memory where that shows the same."""
    memory = memory_for(request.node.nodeid)
    if memory is None:
        yield request.getfixturevalue("tmp_path_factory").mktemp(re.sub(r"\W", "_", request.node.name)[:30])
        return
    with tempfile.TemporaryDirectory(prefix="streamlet-test-", dir=memory, ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for folders that a test makes by `tempfile`."""
    memory = memory_for(request.node.nodeid)
    if memory is not None:
        monkeypatch.setattr(tempfile, "tempdir", str(memory))


class Parts:
    """Adds up how long each file of tests took."""

    def __init__(self) -> None:
        self.seconds = defaultdict[str, float](float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[place(report.nodeid)] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if len(self.seconds) > 1:
            terminalreporter.section(f"slowest {min(SLOWEST, len(self.seconds))} of {len(self.seconds)} parts")
            for name, seconds in sorted(self.seconds.items(), key=lambda part: -part[1])[:SLOWEST]:
                terminalreporter.write_line(f"{seconds:7.1f} s  {name}")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Parts(), "parts")
