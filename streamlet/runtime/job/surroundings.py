"""What every part of an attempt shares: its names, its folder, and the ways to the coordinator and the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamlet.checkpoint.files import AttemptFolder
from streamlet.graph.plan import ExecutionPlan
from streamlet.outages import Outages
from streamlet.ports import Ports, Workers
from streamlet.runtime.task.control import LocalControl
from streamlet.sink import SinkContext
from streamlet.tally import Tally


@dataclass(frozen=True)
class Surroundings:
    """What every part of an attempt shares."""

    job: str
    instance: str
    attempt: int
    folder: AttemptFolder
    control: LocalControl
    ports: Ports
    workers: Workers
    outages: Outages
    tally: Tally = field(default_factory=Tally)
    unfenced: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Sink uid -> earlier attempts that may have left something outside; only the process that settles needs it."""

    def sink_context(
        self, plan: ExecutionPlan, uid: str, subtask: int, parallelism: int, owns_memo: bool
    ) -> SinkContext:
        """What the writer (or, with subtask -1, the committer) of a sink gets."""
        config = plan.config
        budget = config.checkpoint_interval * 3 + config.checkpoint_timeout + config.restart.max_delay
        return SinkContext(
            self.job,
            self.instance,
            uid,
            subtask,
            parallelism,
            self.ports.clock,
            self.workers.run_blocking,
            owns_memo,
            budget.total_seconds(),
            self.outages,
            self.attempt,
            tuple(self.unfenced.get(uid, ())),
        )
