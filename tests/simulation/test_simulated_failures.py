"""What a job does about failures that it lives through."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Restart
from streamlet.errors import SourceError
from streamlet.testing.patches import Patches
from streamlet.testing.process import Process
from tests.simulation.connectors import SimulatedSource
from tests.simulation.scenario import Faults, Scenario, Shape, SinkSpec, SourceSpec
from tests.simulation.world import World, simulate


def _plain(faults: Faults) -> Scenario:
    splits = {"s0": [(index % 5, index) for index in range(1, 40)]}
    return Scenario(
        seed=5,
        policy="fifo",
        sources=[SourceSpec("source", splits, starts_latest=False, slowness=0.05)],
        before=[],
        keyed="value",
        regroups=False,
        sinks=[SinkSpec("out", "end", "pooled")],
        settings={
            "checkpoint_interval": timedelta(seconds=0.02),
            "stalled_intervals": 100,
            "batch_records": 3,
            "state_backend": "memory",
            "restart": Restart.fixed(timedelta(seconds=0.2), attempts=50),
        },
        shapes=[Shape(1, {"source": 1}, None, None, None)],
        faults=faults,
        folds_after=3,
        memory_cells=None,
        slow_calls={},
        blocking_seconds=0.002,
        answer_seconds=0.002,
    )


def test_a_stop_while_it_waits_for_the_next_attempt_suspends_the_job() -> None:
    world = simulate(_plain(Faults(fetch_fails=1.0, stops=(0.1,))))
    assert world.outcomes == ["suspended", "finished"]


def test_a_log_that_cannot_be_kept_costs_a_checkpoint_and_no_attempt() -> None:
    world = simulate(_plain(Faults(disk_fails=0.5, disk_fails_at="/files/", stops=(100.0,))))
    assert world.outcomes == ["finished"]
    assert world.restarts == 0
    assert world.happened["disk_fails"] > 0


def test_a_reader_that_fails_is_restarted_from_the_checkpoint() -> None:
    world = simulate(_plain(Faults(fetch_fails=0.1, stops=(100.0,))))
    assert world.outcomes == ["finished"]
    assert world.restarts > 0


def test_a_stop_while_it_restores_for_the_second_time_suspends_the_job() -> None:
    world = simulate(_plain(Faults(request_lost=1.0, stops=(1.6,))))
    assert world.outcomes == ["suspended", "finished"]


def test_a_stop_while_it_restores_behind_a_group_of_questions_that_failed_suspends_the_job() -> None:
    # A connector has asyncio's own: before Python 3.13 it leaves its task cancelled once more, when a child fails while
    # it waits.
    async def fails() -> None:
        await asyncio.sleep(0)
        raise SourceError("not now")

    def discover(original: Any) -> Any:
        async def asking_twice(self: Any, known: Any) -> Any:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
            await asyncio.sleep(1)
            return await original(self, known)

        return asking_twice

    patches = Patches()
    patches.put(SimulatedSource, "discover", discover)
    try:
        world = simulate(_plain(Faults(stops=(0.5,))))
    finally:
        patches.undo()
    assert world.outcomes == ["suspended", "finished"]


class Impatient(World):
    """Asks for every stop twice."""

    def _stop(self, process: Process) -> None:
        super()._stop(process)
        super()._stop(process)


@pytest.mark.parametrize("milliseconds", range(1, 40, 3))
def test_a_stop_that_is_asked_for_twice_suspends_the_job_wherever_it_is(milliseconds: int, tmp_path: Path) -> None:
    world = Impatient(_plain(Faults(stops=(milliseconds / 1000,))), tmp_path / "state")
    world.run()
    assert world.outcomes == ["suspended", "finished"]
