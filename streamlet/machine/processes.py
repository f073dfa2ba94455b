"""Processes of this machine: this one, and commands beside it that are started from a thread."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from streamlet.errors import CheckpointError
from streamlet.machine.hosts import HostedInterpreter, start_hosts

_SAID_BYTES = 2000


class LocalProcesses:
    """`Processes` of this machine."""

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def host(self) -> str:
        return socket.gethostname()

    def is_alive(self, pid: int) -> bool:
        if pid <= 0:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True

    def python(self, module: str, arguments: Sequence[str], what: str) -> ChildProcess:
        return ChildProcess((sys.executable, "-m", module, *arguments), what)

    def hosts(self, module: str, count: int) -> Sequence[HostedInterpreter]:
        return start_hosts(module, count)


def _failed_write(message: str) -> OSError:
    """The error of a command that could not write, of the kind that it had there: a full disk is waited for."""
    number = next((one for one in (errno.ENOSPC, errno.EDQUOT, errno.EIO) if os.strerror(one) in message), None)
    return OSError(message) if number is None else OSError(number, message)


class ChildProcess:
    """Runs a command once. `run` blocks a thread; `kill` may come from any other, at any time.

    Not asyncio's subprocesses: uvloop forks, and a fork copies the page tables of this process on the event loop's
    thread, 60 ms for each gigabyte.  `subprocess` uses vfork, which takes a millisecond whatever the size.
    """

    def __init__(self, argv: Sequence[str], what: str) -> None:
        self._argv = argv
        self._what = what
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_killed = False

    def run(self) -> None:
        """See `Child`."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with self._lock:
            if self._is_killed:
                return
            self._process = subprocess.Popen(
                self._argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for this process: it stops the job, and the command must not fail by it.
            )
        with self._process as process:
            _, said = process.communicate()
        code = process.returncode
        if code < 0:
            hint = "; was memory short?" if code == -signal.SIGKILL else ""
            raise OSError(f"{self._what} was ended by signal {-code}{hint}")
        if code:
            message = f"{self._what} failed: {said.decode(errors='replace').strip()[-_SAID_BYTES:]}"
            raise _failed_write(message) if code == os.EX_IOERR else CheckpointError(message)

    def kill(self) -> None:
        """Ends the command; one that has not begun never will."""
        with self._lock:
            self._is_killed = True
            if self._process is not None:
                self._process.kill()
