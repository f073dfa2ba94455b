"""The states of a job, and which may follow which.

```text
CREATED -> RESTORING -> RUNNING -> STOPPING -> SUSPENDED          stopped by the user, with a last checkpoint
              |  ^         |  |        |
              |  |         |  +-> FINISHED                        bounded input read to its end and committed
              |  |         v
              |  +---- RESTARTING                                 another attempt may cure it
              +-----------> FAILED <- (any)                       suspended: the last checkpoint is kept
```
"""

from __future__ import annotations

from enum import Enum

from streamlet.errors import StreamletError


class JobState(Enum):
    CREATED = "created"
    RESTORING = "restoring"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    FINISHED = "finished"
    SUSPENDED = "suspended"
    FAILED = "failed"


_NEXT: dict[JobState, frozenset[JobState]] = {
    JobState.CREATED: frozenset({JobState.RESTORING, JobState.FAILED}),
    JobState.RESTORING: frozenset(
        {JobState.RUNNING, JobState.RESTARTING, JobState.FINISHED, JobState.SUSPENDED, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset({JobState.STOPPING, JobState.FINISHED, JobState.RESTARTING, JobState.FAILED}),
    JobState.STOPPING: frozenset({JobState.SUSPENDED, JobState.FINISHED, JobState.FAILED}),
    JobState.RESTARTING: frozenset({JobState.RESTORING, JobState.SUSPENDED, JobState.FAILED}),
    JobState.FINISHED: frozenset(),
    JobState.SUSPENDED: frozenset(),
    JobState.FAILED: frozenset(),
}


class JobLife:
    """Where a job stands."""

    def __init__(self) -> None:
        self.state = JobState.CREATED

    def transition_to(self, state: JobState) -> None:
        """Moves on; refuses what the table does not have."""
        if state not in _NEXT[self.state]:
            raise StreamletError(f"a job that is {self.state.value} cannot become {state.value}")
        self.state = state
