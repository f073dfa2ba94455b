"""How many records a source gives at once: as many as pass through in the time that the event loop may be held."""

from __future__ import annotations

_TURN_SECONDS = 0.002
"""What one batch may take: a tenth of it is what a batch costs beside its records, and nothing else runs meanwhile."""
_FIRST_RECORDS = 100
"""The size before anything was measured."""
_MEMORY = 7 / 8
"""What of the past counts at each batch."""


class BatchSize:
    """The size of the sources' batches in one process, from what each of its subtasks needs for a record.

    All of them share the event loop, and a batch is cut by those downstream at most: so the slowest counts.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = min(most, _FIRST_RECORDS)
        self._taken: dict[object, tuple[float, float]] = {}

    def __call__(self) -> int:
        """How many records the next batch may have."""
        return self._size

    def took(self, who: object, records: int, seconds: float) -> None:
        """Tells how long a subtask held the event loop for a batch, which must not be empty."""
        before_records, before_seconds = self._taken.get(who, (0.0, 0.0))
        self._taken[who] = before_records * _MEMORY + records, before_seconds * _MEMORY + seconds
        slowest = max(seconds / records for records, seconds in self._taken.values())
        self._size = max(1, min(self._most, int(_TURN_SECONDS / slowest) if slowest > 0 else self._most))
