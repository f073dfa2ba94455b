"""Interpreters that host a part of a job: started together, linked by Unix sockets, and never alive without a parent.

Every socket is made before its processes are and inherited by them, so nothing listens and nothing has a path.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1


class HostedInterpreter:
    """`HostedProcess` of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, life: int) -> None:
        self.pid = process.pid
        self.control = control
        self._process = process
        self._life = life
        self._lock = threading.Lock()

    def wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with self._lock:
            life, self._life = self._life, -1
        if life >= 0:
            os.close(life)


@dataclass(frozen=True)
class Inherited:
    """What such a process got at birth."""

    control: socket.socket
    peers: dict[int, socket.socket]
    """Sibling -> the link to it."""


def start_hosts(module: str, count: int) -> list[HostedInterpreter]:
    """Starts them; call it in a thread that lives as long as they shall, for on Linux they end with that thread."""
    links = {
        frozenset((one, other)): socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for one in range(count)
        for other in range(one)
    }
    try:
        hosts: list[HostedInterpreter] = []
        for here in range(count):
            peers = {
                other: links[frozenset((here, other))][here < other].fileno() for other in range(count) if other != here
            }
            hosts.append(_start(module, peers))
        return hosts
    except BaseException:
        for host in hosts:
            host.kill()
        raise
    finally:
        for pair in links.values():
            for one in pair:
                one.close()


def _start(module: str, peers: dict[int, int]) -> HostedInterpreter:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ends, life = os.pipe()
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(ends), str(theirs.fileno()), *_arguments(peers)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                pass_fds=(ends, theirs.fileno(), *peers.values()),
                process_group=0,  # Ctrl-C is for the parent, which stops the job with a last checkpoint.
            )
    except BaseException:
        mine.close()
        os.close(life)
        raise
    finally:
        os.close(ends)
    return HostedInterpreter(process, mine, life)


def _arguments(peers: dict[int, int]) -> list[str]:
    return [f"{other}:{descriptor}" for other, descriptor in peers.items()]


def inherited(arguments: Sequence[str]) -> Inherited:
    """In such a process: takes over what it was started with, and from here on it dies with its parent."""
    ends, control, *peers = arguments
    _end_with(int(ends))
    links = {}
    for text in peers:
        other, _, descriptor = text.partition(":")
        links[int(other)] = _socket(int(descriptor))
    return Inherited(_socket(int(control)), links)


def _socket(descriptor: int) -> socket.socket:
    taken = socket.socket(fileno=descriptor)
    taken.set_inheritable(False)
    return taken


def die_with_parent() -> None:
    """Has the system kill this process with the thread that started it, also while it is stopped: Linux can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with(ends: int) -> None:
    """The system kills this process with its parent where it can; where not, a thread that reads the parent's pipe to
    its end does, as soon as it gets a turn."""
    os.set_inheritable(ends, False)
    die_with_parent()

    def watch() -> None:
        os.read(ends, 1)  # nothing is ever written
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
