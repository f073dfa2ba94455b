"""Limits of the system on a process, named where one is met: what is said of them elsewhere is an error's text."""

from __future__ import annotations

import resource

_WORDS = (
    ("Too many open files in system", "system files"),
    ("Too many open files", "files"),
    ("start new thread", "threads"),
    ("Cannot allocate memory", "memory"),
    ("bad_alloc", "memory"),
    ("MemoryError", "memory"),
)
"""How an error that meets a limit is known, whoever raised it: also those of libraries and other processes are text."""


def with_limit(text: str) -> str:
    """The text of an error, and a line with the limit that it has met and the remedy, where it has met one."""
    kind = next((kind for words, kind in _WORDS if words in text), None)
    is_named = "ulimit" in text or "fs.file-max" in text
    return text if kind is None or is_named else f"{text}\n  -> {_REMEDIES[kind]()}"


def limit(of: int) -> int | None:
    """Gives a limit of this process (`resource.RLIMIT_...`); None where there is none."""
    soft, _ = resource.getrlimit(of)
    return None if soft == resource.RLIM_INFINITY else soft


def _files() -> str:
    number = limit(resource.RLIMIT_NOFILE)
    return (
        f"a process may have {number} files and sockets open here: raise that before the start (`ulimit -n 4096`; "
        "LimitNOFILE= of systemd, --ulimit nofile= of docker)"
    )


def _system_files() -> str:
    return "all processes of this machine together have too many files open: raise fs.file-max"


def _threads() -> str:
    number, memory = limit(resource.RLIMIT_NPROC), limit(resource.RLIMIT_AS)
    if memory is not None:
        return f"a thread needs address space, and this process may have {_mb(memory)} of it: raise `ulimit -v`"
    return (
        f"this user may have {'many' if number is None else number} processes and threads (`ulimit -u`), a container "
        "perhaps fewer (pids.max): raise what is lowest"
    )


def _memory() -> str:
    number = limit(resource.RLIMIT_AS)
    if number is not None:
        return f"this process may have {_mb(number)} of address space: raise `ulimit -v`, or give --state-memory less"
    return "the machine or the container has no more memory: give it more, or --state-memory less (`ulimit -v` is none)"


def _mb(number: int) -> str:
    return f"{number >> 20} MB"


_REMEDIES = {"files": _files, "system files": _system_files, "threads": _threads, "memory": _memory}
