"""How far a job has read, as the world sees it: an unbounded job is stopped when it has read everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from streamlet.testing.process import Process
from tests.simulation.scenario import Scenario

IDLE_FETCHES = 20


class Reading:
    """Follows the newest process."""

    def __init__(self, one: Scenario, root: Path) -> None:
        # An empty split need not be in any checkpoint.
        self._ends = {split: 2 * len(found) for read in one.sources for split, found in read.splits.items() if found}
        self._positions: dict[str, int] = {}
        self._idle = 0
        self._storage = CheckpointStorage(root, "simulated", LocalDisk())

    def begins(self) -> None:
        """An attempt has read nothing yet."""
        self._positions.clear()
        self._idle = 0

    def reached(self, positions: Mapping[str, int]) -> None:
        """These splits are read to there, as a checkpoint says: what was fetched may still wait to be sent."""
        self._positions.update(positions)

    def has_nothing(self, process: Process) -> None:
        """A source has nothing more for now.  When everything was read, and for a while nothing else came, the
        process is asked to stop: it must commit all of it."""
        self._idle = self._idle + 1 if self._ends.items() <= self._positions.items() else 0
        if self._idle > IDLE_FETCHES and process.supervisor is not None and not self._has_in_flight():
            process.is_asked_to_end = True
            process.stop()

    def _has_in_flight(self) -> bool:
        """True when records were in flight at the newest checkpoint, or waited in it: a stop does not wait for them."""
        newest = max(self._storage.checkpoints(), key=lambda info: info.id).manifest
        found = {} if newest is None else newest.operators
        return any(isinstance(one, dict) and (one.get("records") or one.get("batches")) for one in found.values())
