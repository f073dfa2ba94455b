"""Where the subtasks of an attempt run: in this process, or in others (`runtime/processes`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streamlet.checkpoint.manifest import Manifest
from streamlet.graph.plan import ExecutionPlan
from streamlet.observe.facts import WorkFacts
from streamlet.runtime.job.assembly import Assembly, Splits
from streamlet.runtime.job.restored import number_states
from streamlet.runtime.job.surroundings import Surroundings
from streamlet.runtime.task.control import LocalControl


class Host(Protocol):
    """Runs all subtasks of one attempt. The coordinator reaches them by `control`, and they it."""

    control: LocalControl

    def start(self) -> None:
        """Begins to get ready, beside the choice of a checkpoint. Called once the job is ours."""
        ...

    async def build(self, around: Surroundings, manifest: Manifest | None, positions: Splits) -> None:
        """Opens the state of all subtasks and wires them."""
        ...

    async def run(self) -> None:
        """Runs all subtasks until it is cancelled; raises what made one of them fail."""
        ...

    def facts(self) -> WorkFacts:
        """What the subtasks have done, and what they hold."""
        ...

    def stopping(self) -> None:
        """A stop was asked for: what holds the event loop of a process that is not this one is to be said there."""
        ...

    async def close(self) -> None:
        """Ends everything. May be called at any time; nothing of it is left running when it returns."""
        ...


HostMaker = Callable[[ExecutionPlan], Host]
"""Makes the host of one attempt."""


class LocalHost:
    """All subtasks in this process, on one event loop."""

    def __init__(self, plan: ExecutionPlan) -> None:
        self.control = LocalControl()
        self._plan = plan
        self._assembly: Assembly | None = None

    def start(self) -> None:
        pass

    async def build(self, around: Surroundings, manifest: Manifest | None, positions: Splits) -> None:
        states = number_states(self._plan, manifest)
        self._assembly = Assembly(self._plan, around, states, manifest, positions)
        await self._assembly.build()

    async def run(self) -> None:
        assert self._assembly is not None, "built before"
        await self._assembly.run()

    def facts(self) -> WorkFacts:
        return WorkFacts() if self._assembly is None else self._assembly.facts()

    def stopping(self) -> None:
        pass

    async def close(self) -> None:
        if self._assembly is not None:
            await self._assembly.close()
