"""What the engine meets inside a simulation in place of few logs, answers that come once and a large memory."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from collections.abc import Iterator
from typing import Any, Protocol

from streamlet.checkpoint.messages import Acknowledge
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.runtime.job.restoring import Restorer
from streamlet.runtime.task.control import LocalControl
from streamlet.state.backends.rocksdb import CACHE_MIN_BYTES, RocksDbKeyedStore
from streamlet.state.log import log_set as log_set
from streamlet.state.log.log_set import LogSet
from streamlet.state.memory import slot_table
from streamlet.testing.patches import Patches
from tests.simulation import functions
from tests.simulation.forks import Forks
from tests.simulation.oracle import WrongOutput

CELL_BYTES = 460
"""About what one small cell takes in memory."""


class Shrunk(Protocol):
    """What is needed of a scenario."""

    @property
    def seed(self) -> int: ...
    @property
    def folds_after(self) -> int: ...
    @property
    def rewrites(self) -> float: ...
    @property
    def memory_cells(self) -> int | None: ...


class Numbered(Protocol):
    number: int


class Simulated(Protocol):
    """What is needed of the world."""

    @property
    def scenario(self) -> Shrunk: ...

    @property
    def taken_over(self) -> int:
        """How often a process was taken over by the next one."""
        ...

    @property
    def current(self) -> Numbered | None:
        """The process that runs now."""
        ...

    forks: Forks
    largest_id: int
    """The largest checkpoint id that was ever reserved, as far as a restart can know it."""

    def chance(self, name: str) -> bool: ...


@contextlib.contextmanager
def surrounded(world: Simulated) -> Iterator[None]:
    """Puts the simulation around the engine, for the time of one run."""
    patches = Patches()
    patches.put(log_set, "FOLD_LOGS", lambda _: world.scenario.folds_after)
    patches.put(LogSet, "is_rewrite_due", lambda due: _at_times(world, due))
    patches.put(slot_table, "LARGE", lambda _: 3)
    patches.put(slot_table, "MOVED", lambda _: 2)
    patches.put(LocalControl, "report", lambda report: _repeating(world, report))
    patches.put(CheckpointStorage, "reserve", lambda reserve: _rising(world, reserve))
    patches.put(CheckpointStorage, "write_marker", lambda write: _marking(world, write))
    patches.put(CheckpointStorage, "write_manifest", lambda write: _deciding(world, write))
    patches.put(Restorer, "begin", lambda begin: _beginning(world, begin))
    patches.put(functions, "fails", lambda _: lambda: world.chance("function_fails"))
    patches.add(RocksDbKeyedStore, "__init__", _tight(world))
    logger = logging.getLogger("streamlet")
    level = logger.level
    # What the engine warns of is what the simulation does to it.
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        patches.undo()


def _repeating(world: Simulated, report: Any) -> Any:
    """Answers that come twice: nothing on the way promises that they do not."""

    @functools.wraps(report)
    def repeating(control: LocalControl, message: Any) -> None:
        report(control, message)
        if isinstance(message, Acknowledge) and world.chance("repeats_answers"):
            report(control, message)

    return repeating


def _rising(world: Simulated, reserve: Any) -> Any:
    """I8: checkpoint ids only rise, over restarts too."""

    @functools.wraps(reserve)
    def rising(storage: CheckpointStorage, checkpoint_id: int) -> None:
        before = world.taken_over
        reserve(storage, checkpoint_id)
        if world.taken_over != before:
            return  # paused inside: whoever took over may have come further meanwhile
        if checkpoint_id <= world.largest_id:
            raise WrongOutput(f"checkpoint id {checkpoint_id} comes after {world.largest_id}")
        world.largest_id = checkpoint_id

    return rising


def _marking(world: Simulated, write: Any) -> Any:
    @functools.wraps(write)
    def marking(storage: CheckpointStorage, checkpoint_id: int) -> None:
        lengths = world.forks.lengths()
        write(storage, checkpoint_id)
        world.forks.marked(checkpoint_id, lengths)

    return marking


def _deciding(world: Simulated, write: Any) -> Any:
    @functools.wraps(write)
    def deciding(storage: CheckpointStorage, manifest: Any) -> Any:
        world.forks.deciding(manifest, world.current.number if world.current else 0)
        return write(storage, manifest)

    return deciding


def _beginning(world: Simulated, begin: Any) -> Any:
    @functools.wraps(begin)
    async def beginning(restorer: Restorer, *args: Any) -> Any:
        positions, parent = await begin(restorer, *args)
        world.forks.begins(parent, restorer._storage)
        return positions, parent

    return beginning


def _at_times(world: Simulated, due: Any) -> Any:
    """Rewrites and folds in turns: what is small enough now may have been too large before."""
    rng = random.Random(f"{world.scenario.seed} rewrites")

    @functools.wraps(due)
    def at_times(book: LogSet, *args: int) -> Any:
        return due(book, *args) and rng.random() < world.scenario.rewrites

    return at_times


def _tight(world: Simulated) -> Any:
    """Stores with memory for a few cells only."""

    def tight(store: RocksDbKeyedStore, *args: Any, **kwargs: Any) -> None:
        super(RocksDbKeyedStore, store).__init__(*args, **kwargs)
        cells = world.scenario.memory_cells
        if cells is not None:
            store.memory_bound = store.eviction.bound_bytes = CACHE_MIN_BYTES + cells * CELL_BYTES

    return tight
