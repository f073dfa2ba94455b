"""What a job will need of what the system limits, looked at before it starts."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

from streamlet.errors import ConfigError
from streamlet.graph.plan import ExecutionPlan
from streamlet.limits import limit

_ENOUGH_FILES = 1 << 16
_FILES_OF_A_PROCESS, _FILES_OF_A_STORE, _FILES_OF_AN_END = 32, 24, 8
"""As measured: a store keeps its sorted files open, a source or sink what it talks to."""
_LEAST_FILES = 24
_LEAST_ADDRESSES = 768 << 20
"""Python, RocksDB and their threads take so much address space (not memory) before the first record.  With less,
RocksDB ends the process at a thread that it cannot start."""


def raise_soft_limits() -> None:
    """Takes as many open files as this process may have, when that is asked of it: the soft limit is low by habit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_limits(plan: ExecutionPlan) -> Iterator[str]:
    """Gives what may become too little; raises `ConfigError` for what cannot do."""
    files = limit(resource.RLIMIT_NOFILE)
    stores = sum(len(task.stores) * task.parallelism for task in plan.tasks)
    ends = sum(task.parallelism for task, _ in (*plan.sources.values(), *plan.sinks.values()))
    processes = plan.config.processes
    needed = _FILES_OF_A_PROCESS + (_FILES_OF_A_STORE * stores + _FILES_OF_AN_END * ends) // processes + 4 * processes
    if files is not None and files < needed:
        text = (
            f"a process may have {files} files open (`ulimit -n`), and this job may need {needed}: {stores} stores "
            f"with {_FILES_OF_A_STORE} each, {ends} subtasks of sources and sinks with {_FILES_OF_AN_END} each, in "
            f"{processes} processes"
        )
        remedy = f"start it with `ulimit -n {max(1024, 2 * needed)}` or more"
        if files < _LEAST_FILES:
            raise ConfigError(text, remedy=remedy)
        yield f"{text}\n  -> {remedy}"
    addresses = limit(resource.RLIMIT_AS)
    wanted = _LEAST_ADDRESSES + plan.config.state_memory // processes
    if addresses is not None and addresses < wanted:
        text = (
            f"a process may have {addresses >> 20} MB of address space (`ulimit -v`), and this job may need "
            f"{wanted >> 20} MB: {_LEAST_ADDRESSES >> 20} MB for itself, and {plan.config.state_memory >> 20} MB of "
            "state_memory"
        )
        remedy = f"start it with `ulimit -v unlimited`, or with {wanted >> 10} or more"
        if addresses < _LEAST_ADDRESSES:
            raise ConfigError(text, remedy=remedy)
        yield f"{text}\n  -> {remedy}"
