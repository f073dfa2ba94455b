"""Faults that end at a time, under whatever process runs then, and what a process must do to which nothing happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlet.testing.errors import SimulationStuck
from streamlet.testing.process import Process
from tests.simulation.network import ANSWER_TIMEOUT
from tests.simulation.oracle import WrongOutput
from tests.simulation.scenario import NO_FAULTS
from tests.simulation.survivor import Survivor, patience

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST_SECONDS = 30.0
"""In so much time a job of these tests comes to its end when nothing goes wrong; most take a second, the slowest of
hundreds of seeds took seven."""
LONGEST_FAULTS_SECONDS = 60.0
"""A process that lives so long among faults is spared from then on: where they are dense it would not get through for
hours, and rightly so, as when its memory is full and no fold of it succeeds on a disk that fails."""
CALM_CALL_SHARE = 0.02
"""Of the time-out of a checkpoint: so long takes a call of the disk, or a way to the outside, when all is well again.
One that cannot answer within the time-out is not well."""


class Recovery:
    """Ends the faults, and holds processes to what they have to do then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.survivor: Survivor | None = None

    def plan(self) -> None:
        """At the beginning of the world."""
        if self._world.scenario.calms_at is not None:
            self._world.network.at(self._world.scenario.calms_at, self._calm_down)

    def _calm_down(self) -> None:
        world, newest = self._world, self._world.processes[-1]
        if newest.is_spared or newest.has_ended:
            return  # one that took over earlier is not spared, though no faults come any more: what is slow stays so
        world.faults = NO_FAULTS
        world.happened["calm"] += 1
        one, config, now = world.scenario, world.scenario.settings, world.clock.seconds
        most = CALM_CALL_SHARE * config["checkpoint_timeout"].total_seconds()
        one.answer_seconds = min(one.answer_seconds, most)
        under_way = max(now, world.network.last(), *(process.loop.blocked_until for process in world.processes))
        for process in world.processes:
            process.spare(min(one.blocking_seconds, most))
        self.survivor = Survivor(newest, world.largest_id, now, under_way - now + patience(config, ANSWER_TIMEOUT))
        newest.is_spared = True
        newest.ends_by = now + self.survivor.patience_seconds + LONGEST_SECONDS

    def marked(self, checkpoint_id: int) -> None:
        """A checkpoint was committed and marked."""
        if self.survivor is not None:
            self.survivor.marked(checkpoint_id, self._world.current, self._world.clock.seconds)

    def may_fail(self, process: Process) -> bool:
        """True when it was asked to stop, or had used up restarts before it was spared: what goes wrong late is left to
        the next start, which nothing befalls."""
        if self.survivor is None or self.survivor.process is not process:
            return False
        return process.is_asked_to_stop or self._world.scenario.settings["restart"].attempts is not None

    def check(self, process: Process) -> None:
        """Raises when a process takes too long, or restarts though nothing has gone wrong since it began."""
        now = self._world.clock.seconds
        if self.survivor is None and not process.is_spared and now > process.began + LONGEST_FAULTS_SECONDS:
            self._calm_down()
        survivor = self.survivor
        if survivor is not None:
            survivor.check(process, now)
        if now > process.ends_by:
            raise SimulationStuck(f"process {process.number} is not done after {now - process.began:.0f} s")
        lived_through = survivor is not None and survivor.process is process
        if process.is_spared and not lived_through and process.supervisor is not None and process.supervisor.restarts:
            raise WrongOutput(f"nothing goes wrong, but an attempt failed: {process.supervisor.failure}")
