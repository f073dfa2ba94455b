"""Trouble that ends at a time, under whatever process of a Kafka job runs then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.kafka_scenario import CONNECT_TIMEOUT
from tests.simulation.survivor import Survivor, patience

if TYPE_CHECKING:
    from tests.simulation.kafka_process import Process
    from tests.simulation.kafka_world import KafkaWorld

LONGEST_LINGER = 8.0
"""Seconds that the broker may keep a request; see `KafkaScenario.delays`."""


class KafkaRecovery:
    """Ends the trouble, and holds the process that runs then to what it has to do."""

    def __init__(self, world: KafkaWorld) -> None:
        self._world = world
        self.survivor: Survivor | None = None
        self.marked_at: list[float] = []

    def plan(self) -> None:
        """At the beginning of the world."""
        if self._world.scenario.calms_at is not None:
            self._world.outside.at(self._world.scenario.calms_at, self._calm_down)

    def _calm_down(self) -> None:
        world, one, now = self._world, self._world.scenario, self._world.clock.seconds
        newest = world.processes[-1] if world.processes else None
        if world.is_calm or newest is None or not world.is_running(newest):
            return
        newest.dies_at = None
        # Who sleeps may wake up later still, and do harm until it learns that it has lost the job.
        under_way = max(*one.naps, LONGEST_LINGER, newest.loop.blocked_until - now)
        wait = under_way + patience(one.settings, CONNECT_TIMEOUT + one.request_timeout_seconds)
        self.survivor = Survivor(newest, world.largest_id, now, wait)
        world.calm_down()

    def marked(self, checkpoint_id: int) -> None:
        """A checkpoint was committed and marked."""
        self.marked_at.append(self._world.clock.seconds)
        if self.survivor is not None:
            self.survivor.marked(checkpoint_id, self._world.current, self._world.clock.seconds)

    def check(self, process: Process | None) -> None:
        """Raises when it takes too long."""
        if self.survivor is not None:
            self.survivor.check(process, self._world.clock.seconds)
