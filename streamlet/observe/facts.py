"""What is known of a running job at one moment, as plain data.  Readers pull it; nothing of the job depends on it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streamlet.tally import added_up


class OperatorFacts(msgspec.Struct, frozen=True):
    """One subtask of one operator, source or sink.  Counts are those since the attempt began."""

    uid: str
    subtask: int
    kind: str
    """`source`, `map`, `sink` ...: the method that made it."""
    records_in: int
    """Taken in; of a source: read."""
    records_out: int
    """Put out, side outputs included; of a sink: written."""
    busy_seconds: float
    """In which it worked; of a sink: in which a write was under way."""
    watermark_ms: int | None
    """How far event time has come here; None before the first watermark."""
    backpressured_seconds: float | None = None
    """In which the subtask could not go on, since something behind it took no more.  At the first operator of a chain
    for all of it; None at the others."""


class SplitFacts(msgspec.Struct, frozen=True):
    """One split of a source."""

    uid: str
    split: str
    lag: int | None
    """Records that could be read and were not yet; None where the source cannot tell."""
    position: int | None
    """The place of the next record, where that is a number."""
    watermark_ms: int | None
    """None without event time, and before the first watermark."""
    is_idle: bool


class StoreFacts(msgspec.Struct, frozen=True):
    """The keyed state of one subtask."""

    uid: str
    subtask: int
    keys: int
    """In memory."""
    bytes: int
    """In memory, without what the cache of the base may take."""
    evicted: int
    """Cells that have left memory for the base."""


class SinkFacts(msgspec.Struct, frozen=True):
    """The prepared output of one subtask of a sink."""

    uid: str
    subtask: int
    oldest_seconds: float
    """How long the oldest unit has been waiting to be committed; 0 when none waits."""
    deadline_seconds: float | None
    """After so long the outside may abort it by itself; None when it waits for ever, or none waits."""


class WorkFacts(msgspec.Struct, frozen=True, tag=True):
    """What the subtasks of one process have done and hold, or those of all. A worker sends its own now and then."""

    records: int = 0
    """Given by the sources."""
    lag: int | None = None
    """What the sources could read and have not given yet; None while none of them can tell."""
    keys: int = 0
    """In memory."""
    state_bytes: int = 0
    """That state takes in memory, without what RocksDB's cache may take."""
    counts: dict[str, dict[str, int]] = {}
    """Records that went another way than the rest: by uid, then by kind; see `streamlet.tally`."""
    operators: list[OperatorFacts] = []
    splits: list[SplitFacts] = []
    stores: list[StoreFacts] = []
    sinks: list[SinkFacts] = []
    phases: dict[str, float] = {}
    """The seconds of each phase of the newest checkpoint, in the subtask where it took longest."""
    lateness_seconds: dict[str, float] = {}
    """How late the event loop was of late, by process."""


class CheckpointFacts(msgspec.Struct, frozen=True):
    """The checkpoints of a job."""

    last: int | None = None
    """The newest complete one of this attempt."""
    age_seconds: float | None = None
    completed_at: float | None = None
    """Epoch seconds."""
    seconds: float = 0.0
    """How long the newest took, from its trigger to its manifest."""
    completed: int = 0
    abandoned: int = 0
    records_committed: int = 0
    phases: dict[str, float] = {}
    """Those of the coordinator: `manifest` and `commit`."""
    sizes: dict[str, int] = {}
    """Bytes of its files: `base` and `log`."""


class JobFacts(msgspec.Struct, frozen=True):
    """All of it.  Counts are those since the process began, over all attempts."""

    name: str
    state: str
    work: WorkFacts
    checkpoint: CheckpointFacts
    unhealthy: str = ""
    """Why the job is not healthy; empty for a healthy one."""
    remark: str = ""
    """What is worth knowing of a job that is healthy: which split holds event time."""
    restarts: dict[str, int] = {}
    """By reason: `outage`, or the name of the error."""
    restored: int | None = None
    """The checkpoint that the attempt went on from."""
    now_ms: int = 0

    @property
    def is_healthy(self) -> bool:
        """True while nothing is wrong."""
        return not self.unhealthy

    @property
    def not_ready(self) -> str:
        """Why the job does not do what it is there for just now; empty when it does."""
        if self.unhealthy:
            return self.unhealthy
        if self.state != "running":
            return f"the job is {self.state}"
        return "" if self.checkpoint.last is not None else "no checkpoint is complete yet"

    @property
    def is_ready(self) -> bool:
        """True while it runs, reaches the outside and completes checkpoints."""
        return not self.not_ready


def total(several: Iterable[WorkFacts]) -> WorkFacts:
    """Puts the facts of several processes together."""
    facts = list(several)
    phases: dict[str, float] = {}
    for one in facts:
        for phase, seconds in one.phases.items():
            phases[phase] = max(seconds, phases.get(phase, 0.0))
    return WorkFacts(
        sum(one.records for one in facts),
        total_lag(one.lag for one in facts),
        sum(one.keys for one in facts),
        sum(one.state_bytes for one in facts),
        added_up(one.counts for one in facts),
        [operator for one in facts for operator in one.operators],
        [split for one in facts for split in one.splits],
        [store for one in facts for store in one.stores],
        [sink for one in facts for sink in one.sinks],
        phases,
        {process: seconds for one in facts for process, seconds in one.lateness_seconds.items()},
    )


def total_lag(lags: Iterable[int | None]) -> int | None:
    """Adds up what is known; None when nothing is."""
    known = [lag for lag in lags if lag is not None]
    return sum(known) if known else None


def with_former(work: WorkFacts, former: WorkFacts) -> WorkFacts:
    """The facts of an attempt with the counts of those before it added."""
    before = {(one.uid, one.subtask): one for one in former.operators}
    operators = [_added(one, before.pop((one.uid, one.subtask), None)) for one in work.operators]
    evicted = {(one.uid, one.subtask): one.evicted for one in former.stores}
    stores = [
        msgspec.structs.replace(one, evicted=one.evicted + evicted.get((one.uid, one.subtask), 0))
        for one in work.stores
    ]
    return msgspec.structs.replace(
        work,
        records=work.records + former.records,
        counts=added_up([former.counts, work.counts]),
        operators=[*operators, *(msgspec.structs.replace(one, watermark_ms=None) for one in before.values())],
        stores=stores,
    )


def _added(one: OperatorFacts, before: OperatorFacts | None) -> OperatorFacts:
    if before is None:
        return one
    pressed = one.backpressured_seconds
    return msgspec.structs.replace(
        one,
        records_in=one.records_in + before.records_in,
        records_out=one.records_out + before.records_out,
        busy_seconds=one.busy_seconds + before.busy_seconds,
        backpressured_seconds=None if pressed is None else pressed + (before.backpressured_seconds or 0.0),
    )
