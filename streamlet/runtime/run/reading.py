"""What is known of a run, put together when somebody asks: over all attempts, and with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from streamlet.checkpoint.facts import CheckpointFigures
from streamlet.clock import Clock
from streamlet.config import JobConfig
from streamlet.observe.facts import CheckpointFacts, JobFacts, WorkFacts, with_former
from streamlet.observe.health import judge
from streamlet.observe.standstill import EventTimeWatch
from streamlet.outages import Outages
from streamlet.runtime.job.supervisor import Supervisor
from streamlet.tally import told

_STANDSTILL_INTERVALS = 3
_SHORTEST_STANDSTILL_SECONDS = 10.0


class Reading:
    """Reads one run.  All calls are made in its event loop."""

    def __init__(self, name: str, config: JobConfig, clock: Clock, outages: Outages) -> None:
        self.supervisor: Supervisor
        self.lateness_seconds: Callable[[], float] = lambda: 0.0
        self._name = name
        self._clock = clock
        self._outages = outages
        patience = _STANDSTILL_INTERVALS * config.checkpoint_interval.total_seconds()
        self._event_time = EventTimeWatch(max(patience, _SHORTEST_STANDSTILL_SECONDS))
        self._former = WorkFacts()
        self._completed = self._abandoned = self._committed = 0

    def attempt_over(self) -> None:
        """Keeps the counts of an attempt before another one begins."""
        attempt = self.supervisor.attempt
        if attempt is None:
            return
        self._former = with_former(attempt.work(), self._former)
        figures = attempt.figures()
        if figures is not None:
            self._completed += figures.completed
            self._abandoned += figures.failed
            self._committed += figures.records_committed

    def facts(self) -> JobFacts:
        """The facts of this moment."""
        supervisor, attempt = self.supervisor, self.supervisor.attempt
        figures = attempt.figures() if attempt is not None else None
        work = with_former(attempt.work() if attempt is not None else WorkFacts(), self._former)
        late = {"parent": self.lateness_seconds(), **work.lateness_seconds}
        health = judge(
            outages=self._outages.describe(),
            failure=supervisor.failure,
            trouble=figures.trouble if figures is not None else "",
        )
        return JobFacts(
            name=self._name,
            state=supervisor.life.state.value,
            work=msgspec.structs.replace(work, lateness_seconds=late),
            checkpoint=self._checkpoint(figures or CheckpointFigures(), work.phases),
            unhealthy=health.reason,
            remark=self._event_time.look(work.splits, self._clock.monotonic()),
            restarts=dict(supervisor.reasons),
            restored=attempt.restored if attempt is not None else None,
            now_ms=self._clock.now_ms(),
        )

    def _checkpoint(self, figures: CheckpointFigures, phases: dict[str, float]) -> CheckpointFacts:
        at = figures.last_completed_at
        return CheckpointFacts(
            last=figures.last_id,
            age_seconds=None if at is None else self._clock.monotonic() - at,
            completed_at=None if figures.last_completed_ms is None else figures.last_completed_ms / 1000,
            seconds=figures.last_duration_seconds,
            completed=self._completed + figures.completed,
            abandoned=self._abandoned + figures.failed,
            records_committed=self._committed + figures.records_committed,
            phases={**phases, **figures.phases},
            sizes=figures.sizes,
        )


def status_of(facts: JobFacts, pid: int) -> dict[str, Any]:
    """What `streamlet status` and `/status` show: the sums, then all that is known."""
    work, checkpoint = facts.work, facts.checkpoint
    return {
        "job": facts.name,
        "pid": pid,
        "state": facts.state,
        "health": facts.unhealthy,
        "remark": facts.remark,
        "records": work.records,
        "lag": work.lag,
        "checkpoint": checkpoint.last,
        "checkpoint_age_seconds": checkpoint.age_seconds,
        "checkpoint_seconds": checkpoint.seconds,
        "keys": work.keys,
        "state_bytes": work.state_bytes,
        "restarts": sum(facts.restarts.values()),
        "counts": told(work.counts),
        "details": msgspec.to_builtins(facts),
    }
