"""The oracle of starts with `--from ID`, tried without a job."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.simulation.forks import Forks
from tests.simulation.outside import Outside


class Pick(random.Random):
    """Chooses what it was told to."""

    def __init__(self, place: int) -> None:
        super().__init__(0)
        self.place = place

    def choice(self, seq: Any) -> Any:
        return seq[self.place]


def test_a_start_from_the_end_of_a_left_line_sets_aside_what_came_after_that_line(tmp_path: Path) -> None:
    storage = CheckpointStorage(tmp_path, "simulated", LocalDisk())
    attempt = storage.begin_attempt()
    outside = Outside()
    log = outside.log["out"] = []
    forks = Forks(outside, Counter())

    def checkpoint(number: int, kind: Any, parent: int | None, *new: int) -> None:
        manifest = Manifest(
            job="simulated", checkpoint_id=number, attempt=attempt, kind=kind, parent=parent, key_groups=4
        )
        forks.deciding(manifest)
        storage.write_manifest(manifest)
        log.extend(new)
        storage.write_marker(number)
        forks.marked(number, forks.lengths())

    checkpoint(0, "periodic", None, 1)
    checkpoint(1, "final", 0, 2, 3)
    assert forks.choose(storage, "older", Pick(0)) == "0"
    checkpoint(2, "start", 0)
    forks.begins(2, storage)
    checkpoint(3, "periodic", 2, 2)
    assert forks.wanted() == {"out": [1, 2]}, "the line that began again at 1 has got so far"
    assert forks.choose(storage, "older", Pick(1)) == "1"
    forks.finished()
    assert forks.wanted() == {"out": [1, 2, 3]}, "the line that had finished, and nothing of the other"
