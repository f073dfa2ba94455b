"""Threads and processes of a simulation: blocking calls and commands run inline, at moments that the loop chooses."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from streamlet.errors import CheckpointError
from streamlet.ports import Child, Disk, HostedProcess, Workers
from streamlet.state.backends import folding
from streamlet.testing.loop import SimulatedLoop

T = TypeVar("T")

_LOOK_SECONDS = 0.02


class SimulatedThreads:
    """`Threads` on the running `SimulatedLoop`."""

    def workers(self) -> Workers:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop), "simulated threads need a simulated loop"
        return _SimulatedWorkers(loop)


class _SimulatedWorkers:
    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def run_blocking(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return self._loop.run_in_executor(self, function, *args)

    def run_apart(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return self._loop.run_in_executor(None, function, *args)

    async def close(self) -> None:
        while self._loop.is_blocked_in(self):  # noqa: ASYNC110 - as long as their threads take
            await asyncio.sleep(_LOOK_SECONDS)


class SimulatedProcesses:
    """`Processes` of a machine with one process. The commands of the engine run in it."""

    def __init__(self, disk: Disk, pid: int = 1, host: str = "simulated") -> None:
        self._disk = disk
        self.pid = pid
        self.host = host

    def is_alive(self, pid: int) -> bool:
        return pid == self.pid

    def python(self, module: str, arguments: Sequence[str], what: str) -> Child:
        assert module == folding.MODULE, f"a simulation cannot run {module}"
        return _InlineFold(self._disk, arguments, what)

    def hosts(self, module: str, count: int) -> Sequence[HostedProcess]:
        raise AssertionError(f"a simulation has one process, not {count} beside it for {module}")


class _InlineFold:
    def __init__(self, disk: Disk, arguments: Sequence[str], what: str) -> None:
        self._disk, self._arguments, self._what = disk, arguments, what
        self._is_killed = False

    def run(self) -> None:
        if self._is_killed:
            return
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = folding.main(self._disk, self._arguments)
        if code:
            raise CheckpointError(f"{self._what} failed: {said.getvalue()}")

    def kill(self) -> None:
        self._is_killed = True
