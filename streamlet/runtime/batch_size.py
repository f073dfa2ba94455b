"""How large batches are: as many records as a subtask can work off in the time that the event loop may be held."""

from __future__ import annotations

_TURN_SECONDS = 0.002
"""What one batch may take: a tenth of it is what a batch costs beside its records, and nothing else runs meanwhile."""
_FIRST_RECORDS = 100
"""The size before anything was measured."""
_MEMORY = 7 / 8
"""What of the past counts at each batch."""


class BatchSize:
    """The size of one subtask's batches, from what its last ones took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = min(most, _FIRST_RECORDS)
        self._records = self._seconds = 0.0

    def __call__(self) -> int:
        """How many records the next batch may have."""
        return self._size

    def took(self, records: int, seconds: float) -> None:
        """Tells how long the event loop was held for a batch, which must not be empty."""
        self._records = self._records * _MEMORY + records
        self._seconds = self._seconds * _MEMORY + seconds
        fit = _TURN_SECONDS * self._records / self._seconds if self._seconds > 0 else self._most
        self._size = max(1, min(self._most, int(fit)))
