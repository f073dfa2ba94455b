"""One checkpoint on its way to being decided: who has acknowledged, what they said, what became of it. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from streamlet.checkpoint.manifest import ListedCommittable, Manifest, ManifestKind
from streamlet.checkpoint.messages import Acknowledge, Busy, Decline, SubtaskReport
from streamlet.elements import Position
from streamlet.errors import CheckpointError
from streamlet.state.snapshot import StateSpec, StoreSnapshot

Subtask = tuple[str, int]
"""(task, subtask)"""


ALIGNING = "aligning"
"""Of a subtask: the barrier has come from some of those before it, but not from all."""
_NOT_THERE = "the barrier has not come"
"""Of a source: it has not come to where it injects it."""


class CheckpointState(enum.Enum):
    """What became of a checkpoint."""

    PENDING = "pending"
    COMPLETED = "completed"
    COMMITTED = "committed"
    ABORTED = "aborted"
    SUBSUMED = "subsumed"


_NEXT: Mapping[CheckpointState, frozenset[CheckpointState]] = {
    CheckpointState.PENDING: frozenset({CheckpointState.COMPLETED, CheckpointState.ABORTED}),
    CheckpointState.COMPLETED: frozenset({CheckpointState.COMMITTED, CheckpointState.SUBSUMED}),
    CheckpointState.COMMITTED: frozenset({CheckpointState.SUBSUMED}),
    CheckpointState.ABORTED: frozenset(),
    CheckpointState.SUBSUMED: frozenset(),
}


class Verdict(enum.Enum):
    """What was done with a message about a checkpoint."""

    ACCEPTED = "accepted"
    DUPLICATE = "this subtask has answered before"
    STALE = "it belongs to another attempt or checkpoint"
    STRANGER = "this subtask was not asked"
    CLOSED = "the checkpoint is no longer pending"


class PendingCheckpoint:
    """Collects the answers of every subtask for one checkpoint of one attempt.

    ```text
             declined, timed out, failed
    PENDING ----------------------------> ABORTED          aborts nothing outside: what was prepared stays listed
       |  all acknowledged, manifest durable
       v
    COMPLETED --all committed, marker durable--> COMMITTED
       |                                             |
       +--covered by a newer marker-----+            | released after a newer marker
                                        v            v
                                        +-> SUBSUMED <+
    ```

    Complete and abandoned exclude each other: `transition_to` is the only way out of a state, and refuses the rest.
    A checkpoint whose manifest may or may not be durable stays PENDING, and its attempt ends.
    """

    def __init__(self, checkpoint_id: int, attempt: int, expected: Iterable[Subtask]) -> None:
        self.checkpoint_id = checkpoint_id
        self.attempt = attempt
        self.state = CheckpointState.PENDING
        self.reason: str | None = None
        """Why it was abandoned."""
        self.is_outage = False
        """True when it was abandoned because of something outside."""
        self._expected = frozenset(expected)
        self._reports: dict[Subtask, SubtaskReport] = {}
        self._doing: dict[Subtask, str] = {}

    def transition_to(self, state: CheckpointState) -> None:
        """Moves on; raises `CheckpointError` for a step that the diagram does not have."""
        if state not in _NEXT[self.state]:
            raise CheckpointError(f"checkpoint {self.checkpoint_id} cannot go from {self.state.value} to {state.value}")
        if state is CheckpointState.COMPLETED and not self.is_fully_acknowledged:
            raise CheckpointError(f"checkpoint {self.checkpoint_id} cannot complete without {self.describe_missing()}")
        self.state = state

    @property
    def is_fully_acknowledged(self) -> bool:
        """True when every subtask has answered: the manifest may be written."""
        return self._expected == self._reports.keys()

    def missing(self) -> list[Subtask]:
        """Gives the subtasks that have not answered, sorted."""
        return sorted(self._expected - self._reports.keys())

    @property
    def is_on_its_way(self) -> bool:
        """True while its barriers have not come through to every subtask."""
        return any(self._doing.get(one, _NOT_THERE) in (_NOT_THERE, ALIGNING) for one in self.missing())

    def acknowledge(self, message: Acknowledge) -> Verdict:
        """Takes a subtask's part; refuses what is not for this checkpoint, and a second answer."""
        if message.attempt != self.attempt or message.checkpoint_id != self.checkpoint_id:
            return Verdict.STALE
        return self._take(message.report)

    def note(self, message: Busy) -> None:
        """Remembers what a subtask does for this checkpoint."""
        if message.checkpoint_id == self.checkpoint_id:
            self._doing[message.task, message.subtask] = message.doing

    def decline(self, message: Decline) -> Verdict:
        """Abandons the checkpoint because a subtask cannot do its part."""
        if message.attempt != self.attempt or message.checkpoint_id != self.checkpoint_id:
            return Verdict.STALE
        if (message.task, message.subtask) not in self._expected:
            return Verdict.STRANGER
        verdict = self.abandon(f"{message.task}[{message.subtask}] declined: {message.reason}")
        if verdict is Verdict.ACCEPTED:  # what a second subtask declines changes nothing any more
            self.is_outage = message.is_outage
        return verdict

    def abandon(self, reason: str) -> Verdict:
        """Abandons the checkpoint, once; a complete one cannot be abandoned any more."""
        if self.state is not CheckpointState.PENDING:
            return Verdict.CLOSED
        self.transition_to(CheckpointState.ABORTED)
        self.reason = reason
        return Verdict.ACCEPTED

    def time_out(self) -> Verdict:
        """Abandons the checkpoint because answers are missing, and says whose."""
        return self.abandon(f"timed out waiting for {self.describe_missing()}")

    def manifest(
        self,
        *,
        job: str,
        kind: ManifestKind,
        parent: int | None,
        created_ms: int,
        key_groups: int,
        parallelism: Mapping[str, int],
        states: Iterable[StateSpec],
        restored_from: str = "",
        instance: str = "",
    ) -> Manifest:
        """Merges what was acknowledged; the same answers give the same manifest, in whatever order they came.

        Raises `CheckpointError` when an answer is missing or two of them claim the same split.
        """
        if not self.is_fully_acknowledged:
            raise CheckpointError(f"checkpoint {self.checkpoint_id} lacks {self.describe_missing()}")
        reports = [self._reports[subtask] for subtask in sorted(self._reports)]
        return Manifest(
            job=job,
            instance=instance,
            checkpoint_id=self.checkpoint_id,
            attempt=self.attempt,
            kind=kind,
            parent=parent,
            created_ms=created_ms,
            key_groups=key_groups,
            parallelism=dict(parallelism),
            states=list(states),
            stores=self._stores(reports),
            positions=self._positions(reports),
            finished=self._finished_tasks(reports),
            operators=self._operators(reports),
            committables=self._committables(reports),
            restored_from=restored_from,
        )

    def _take(self, report: SubtaskReport) -> Verdict:
        subtask = (report.task, report.subtask)
        if self.state is not CheckpointState.PENDING:
            return Verdict.CLOSED
        if subtask not in self._expected:
            return Verdict.STRANGER
        if subtask in self._reports:
            return Verdict.DUPLICATE
        self._reports[subtask] = report
        return Verdict.ACCEPTED

    def describe_missing(self) -> str:
        """Names who has not answered, and what each does."""
        doing = self._doing
        return ", ".join(f"{one[0]}[{one[1]}] ({doing.get(one, _NOT_THERE)})" for one in self.missing()) or "nobody"

    def _stores(self, reports: Iterable[SubtaskReport]) -> list[StoreSnapshot]:
        return [store for report in reports for store in report.stores]

    def _positions(self, reports: Iterable[SubtaskReport]) -> dict[str, dict[str, Position]]:
        merged: dict[str, dict[str, Position]] = {}
        for report in reports:
            for uid, splits in report.positions.items():
                known = merged.setdefault(uid, {})
                twice = known.keys() & splits.keys()
                if twice:
                    raise CheckpointError(
                        f"checkpoint {self.checkpoint_id}: two subtasks of {uid} report the split {min(twice)!r}"
                    )
                known.update(splits)
        return merged

    def _finished_tasks(self, reports: Iterable[SubtaskReport]) -> list[str]:
        running = {report.task for report in reports if not report.finished}
        return sorted({task for task, _ in self._expected} - running)

    def _operators(self, reports: Iterable[SubtaskReport]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for report in reports:
            twice = merged.keys() & report.operators.keys()
            if twice:
                raise CheckpointError(f"checkpoint {self.checkpoint_id}: two subtasks report {min(twice)}")
            merged.update(report.operators)
        return merged

    def _committables(self, reports: Iterable[SubtaskReport]) -> list[ListedCommittable]:
        listed = [listed for report in reports for listed in report.committables]
        # A sink lists again what it has listed before, until it hears of a marker: once is enough. The first wins, so
        # that the checkpoint that it was prepared for stays what it was.
        unique: dict[tuple[str, str], ListedCommittable] = {}
        for one in listed:
            unique.setdefault((one.sink_uid, one.committable.id), one)
        return sorted(unique.values(), key=lambda one: (one.checkpoint_id, one.sink_uid, one.subtask))
