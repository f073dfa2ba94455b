"""What a coordinator is told of its attempt, and the figures that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamlet.state.snapshot import StateSpec

_SLOW_INTERVALS = 3


@dataclass(frozen=True)
class CoordinatorSettings:
    """When to trigger and when to give up, in seconds."""

    interval_seconds: float
    timeout_seconds: float
    stalled_intervals: int
    retain: int

    @property
    def patience_seconds(self) -> float:
        """After this what is waited for is told."""
        return min(_SLOW_INTERVALS * self.interval_seconds, self.timeout_seconds)

    @property
    def stalled_seconds(self) -> float:
        """So long may a job go without a complete checkpoint; one that is pending has its whole time-out."""
        return max(self.stalled_intervals * self.interval_seconds, self.timeout_seconds)


@dataclass(frozen=True)
class AttemptFacts:
    """What stands in every manifest of this attempt."""

    job: str
    attempt: int
    key_groups: int
    parallelism: Mapping[str, int]
    states: Sequence[StateSpec]
    subtasks: Sequence[tuple[str, int]]
    sources: Sequence[tuple[str, int]]
    restored_from: str
    instance: str = ""


@dataclass
class CheckpointFigures:
    """Facts for people, and for those who restart the attempt; nothing here decides by them."""

    is_open: bool = False
    """Every sink's writers are open."""
    completed: int = 0
    failed: int = 0
    last_id: int | None = None
    last_completed_at: float | None = None
    last_completed_ms: int | None = None
    """The same by the wall clock."""
    last_duration_seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    """The seconds that the newest `manifest` and `commit` took."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the files that the newest checkpoint names: `base` and `log`."""
    last_committed_id: int | None = None
    records_committed: int = 0
    positions: dict[str, dict[str, Any]] = field(default_factory=dict)
    trouble: str = ""
    """Why no checkpoint completes, while that is so."""
