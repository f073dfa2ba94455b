"""Planted bugs of outages: what ends by itself must be told from what does not, over every message on its way."""

from __future__ import annotations

import errno
from datetime import timedelta
from typing import Any

from streamlet.checkpoint.messages import Decline
from streamlet.config import Restart
from streamlet.runtime.task import snapshots
from streamlet.testing.patches import Patches
from tests.simulation.oracle import WrongOutput
from tests.simulation.planting import planted_in
from tests.simulation.scenario import Faults
from tests.simulation.small_scenarios import small
from tests.simulation.world import simulate


def run_with_full_disk(seed: int) -> None:
    """A job that may fail once only, on a disk that is full for far longer than a checkpoint may take."""
    one = small(
        Faults(disk_fails=1.0, disk_fails_at="/files/", disk_says=(errno.ENOSPC,)),
        checkpoint_timeout=timedelta(seconds=0.1),
        stalled_intervals=5,
        restart=Restart.fixed(timedelta(seconds=0.01), attempts=1),
    )
    one.seed = seed
    one.calms_at = 2.0
    one.sources[0].slowness = 0.5
    world = simulate(one)
    if world.outcomes != ["finished"] or not world.restarts:
        raise WrongOutput(f"a full disk ended the job, or did nothing: {world.outcomes}, {world.restarts} restarts")


planted = planted_in("outages", run_with_full_disk, range(5))


@planted
def the_kind_of_a_decline_is_lost_on_its_way(patches: Patches) -> None:
    def text_alone(original: Any) -> Any:
        def made(attempt: int, checkpoint_id: int, task: str, subtask: int, reason: str, *_: object) -> Decline:
            return Decline(attempt, checkpoint_id, task, subtask, reason)

        return made

    patches.put(snapshots, "Decline", text_alone)
