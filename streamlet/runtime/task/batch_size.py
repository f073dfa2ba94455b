"""How large batches are: as many records as may be worked off before the next barrier is looked for."""

from __future__ import annotations

from streamlet.runtime.task.pace import Waits

_TURN_SECONDS = 0.002
"""How long one batch may hold the event loop: a tenth of it is what a batch costs beside its records, and nothing else
runs meanwhile."""
_WAIT_SECONDS = 0.1
"""What its records may add to the time that its sinks let it wait."""
_BEHIND_SECONDS = 0.05
"""What one batch may give those behind it to do: a barrier that comes next must wait for it."""
_MEMORY = 7 / 8
"""What of the past counts at each batch."""


class BatchSize:
    """The size of one subtask's batches, from what its last ones took.

    The first has one record, for nothing is known of what it takes, and none has more than twice as many as were seen.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 1
        self._seen = self._records = self._held = self._behind = 0.0
        self._waits = Waits()

    def __call__(self) -> int:
        """How many records the next batch may have."""
        return self._size

    def took(self, records: int, held: float, waited: float = 0.0, behind: float = 0.0) -> None:
        """Tells of a batch, which must not be empty, how long it held the event loop, how long its sinks let it wait,
        and how many seconds those will need to whom its results went."""
        self._records = self._records * _MEMORY + records
        self._held = self._held * _MEMORY + held
        self._behind = self._behind * _MEMORY + behind
        self._seen = max(records, self._seen * _MEMORY)
        self._waits.took(records, waited)
        fit = self._records * _TURN_SECONDS / self._held if self._held > 0 else self._most
        if held < _TURN_SECONDS * 3 / 4:
            # It may be the batch that costs so much, not its records.
            fit = max(fit, 2 * records)
        if self._behind > 0:
            fit = min(fit, self._records * _BEHIND_SECONDS / self._behind)
        if self._waits.per_record > 0:
            fit = min(fit, _WAIT_SECONDS / self._waits.per_record)
        self._size = max(1, min(self._most, int(fit), int(2 * self._seen)))
