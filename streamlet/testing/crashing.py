"""`crash_everywhere`: the simulator on a job of yours, killed at each of its steps and started again.

```text
run that is never killed -> again, from the same memory: the same output? -> for each place: killed there, started
                            again on the same disk, run to the end: the same output?
```

The engine is that of production, on a simulated loop, clock and disk in this process.  A killed process has no effect
from that instant; the next one finds the disk, what the sinks have committed, and functions that remember nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet.config import Restart
from streamlet.dsl.job import Job
from streamlet.errors import ConfigError
from streamlet.testing.collecting import Inputs, JobOnLists
from streamlet.testing.errors import OutputDiffers
from streamlet.testing.job_machine import JobMachine
from streamlet.testing.memory import ProcessMemory

_INTERVAL = timedelta(milliseconds=10)
_DOWN_SECONDS = 2.0
_KINDS = {"step": "step", "disk": "disk call"}
_REMEDY = (
    "keep what has to survive in declared state; a result must not depend on globals, on attributes that are no "
    "state, on random, or on the time of day"
)


@dataclass(frozen=True)
class Crashes:
    """What `crash_everywhere` did."""

    killed: int
    """How many runs were killed, each at another place."""
    places: int
    """How many steps and disk calls a run has."""


@dataclass
class _Run:
    output: dict[str, list[Any]]
    counts: dict[str, int]
    call: str
    """What was asked of the disk last before the kill."""
    committed: int
    """How many records were committed when it was killed."""


def crash_everywhere(job: Job, inputs: Inputs, *, at_most: int | None = 200) -> Crashes:
    """Kills a job at its steps and disk calls, starts it again, and compares what it has committed in the end with what
    a run commits that is never killed; raises `OutputDiffers`, an `AssertionError`, for the first difference, with the
    step and the first record that differs.

    Finds what is remembered outside of declared state (globals, attributes that are no state, classes) and results that
    are not the same again (`random`, the time of day: `time.time()` is the simulated clock).  The order of records of
    one sink is not compared.  `at_most` places are tried, spread evenly over the run, first and last among them; None:
    all of them, which takes some thousand runs.

    Give lists, or a `ListSource`: a source that cuts its batches elsewhere in each run, as most do, also has other late
    records in each.

    Sources and sinks are replaced as by `collect`; the settings are the job's, but for a checkpoint each 10 ms of
    simulated time, state in memory and logs, and no restart after a failure.  A job that reaches a network in its
    functions, or runs in several processes, cannot be simulated so.  What goes by the wall clock (processing-time
    timers and windows) sees the 2 s in which nothing runs after a kill.

    >>> _ = by_user.sum(lambda one: one.amount, uid="spend").sink(Print(), uid="out")
    >>> crash_everywhere(job, {"payments": [Payment("ann", 3, 0), Payment("ann", 4, 1)]}, at_most=10).killed
    10
    """
    if at_most is not None and at_most < 2:
        raise ConfigError(f"at_most is {at_most}", remedy="try at least two places, or None for all of them")
    nodes = [node for node in job.graph.nodes if not node.is_sink]
    memory = ProcessMemory([one for node in nodes for one in (node.watermarks, None if node.is_source else node.made)])
    killed = 0
    try:
        wanted = _run(job, inputs, memory, None)
        _compare(job, wanted, _run(job, inputs, memory, None), "run a second time, without any kill,")
        for kind, place in _places(wanted.counts, at_most):
            got = _run(job, inputs, memory, (kind, place))
            killed += 1
            what = f"killed at {_KINDS[kind]} {place:,} of {wanted.counts[kind]:,}"
            what += f" ({got.call}; {got.committed} records were committed) and started again,"
            _compare(job, wanted, got, what)
    finally:
        memory.forget()
    return Crashes(killed, sum(wanted.counts[kind] for kind in _KINDS))


def _run(job: Job, inputs: Inputs, memory: ProcessMemory, dies_at: tuple[str, int] | None) -> _Run:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    root = Path(tempfile.mkdtemp(prefix="streamlet-crashes-", dir=base))
    on_lists = JobOnLists(
        job, inputs, restart=Restart.none(), checkpoint_interval=_INTERVAL, state_backend="memory", check_mutation=False
    )
    machine = JobMachine(on_lists, root / "state")
    try:
        memory.forget()
        first = machine.run(dies_at)
        call = f"the last call before was {machine.calls[-1]}" if machine.calls else "before any disk call"
        committed = sum(map(len, on_lists.values().values()))
        if first.has_died:
            machine.clock.seconds += _DOWN_SECONDS
            memory.forget()
            machine.run()
        return _Run(on_lists.values(), first.counts, call, committed)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _places(counts: dict[str, int], at_most: int | None) -> Iterator[tuple[str, int]]:
    """Spread evenly over both kinds, and over the run: as many of one as of the other, if there are."""
    if at_most is None:
        yield from ((kind, place) for kind in _KINDS for place in range(1, counts[kind] + 1))
        return
    some = min(counts["disk"], at_most // 2)
    for kind, number in (("disk", some), ("step", min(counts["step"], at_most - some))):
        last = counts[kind]
        yield from ((kind, 1 + (last - 1) * one // max(1, number - 1)) for one in range(number))


def _compare(job: Job, wanted: _Run, got: _Run, what: str) -> None:
    for uid, expected in wanted.output.items():
        found = got.output[uid]
        if found == expected:
            continue
        missing, extra = _without(expected, found), _without(found, expected)
        if missing or extra:
            lost = f"expected {missing[0]!r:.200}" if missing else "nothing is missing"
            more = f"found {extra[0]!r:.200}" if extra else "nothing in its place"
            place = expected.index(missing[0]) if missing else found.index(extra[0])
            raise OutputDiffers(
                f"job {job.name!r}, {what} puts out something else at sink {uid!r}\n"
                f"  first differing record, number {place}: {lost}, {more}\n"
                f"  {len(missing)} of {len(expected)} expected records are missing, {len(extra)} others are there\n"
                f"  -> {_REMEDY}"
            )


def _without(some: list[Any], others: list[Any]) -> list[Any]:
    """The values that are more often here than there; they need no hash."""
    rest = list(others)
    left = []
    for one in some:
        if one in rest:
            rest.remove(one)
        else:
            left.append(one)
    return left
