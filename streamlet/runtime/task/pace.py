"""What batches take: what each record adds, and what a batch waits for however many records it has."""

from __future__ import annotations

_SHORT_MEMORY, _LONG_MEMORY = 7 / 8, 63 / 64
"""What of the past counts at each batch."""
_SPREAD = 1e-3
"""So much must sizes differ, in squares of their mean, to show what a record adds."""


class Waits:
    """How long sinks let batches wait: a line through the last ones, by least squares.

    A request may take as long for one record as for a thousand.  As long as all batches were of one size, that is
    assumed: larger ones will show it.
    """

    def __init__(self) -> None:
        self.per_batch = self.per_record = 0.0
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def took(self, records: int, seconds: float) -> None:
        """Tells how long a batch waited."""
        if not seconds and not self._t:
            return
        self._weight = self._weight * _SHORT_MEMORY + 1
        self._n = self._n * _SHORT_MEMORY + records
        self._t = self._t * _SHORT_MEMORY + seconds
        self._nn = self._nn * _SHORT_MEMORY + records * records
        self._nt = self._nt * _SHORT_MEMORY + records * seconds
        mean, mean_seconds = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - mean * mean
        if spread < _SPREAD * mean * mean:
            self.per_batch, self.per_record = mean_seconds, 0.0
            return
        slope = (self._nt / self._weight - mean * mean_seconds) / spread
        self.per_record = max(0.0, min(slope, mean_seconds / mean))
        self.per_batch = mean_seconds - self.per_record * mean


class Pace:
    """What records take a task's receivers: by the last few batches or by many, whichever is more.

    The first follow a function that becomes slow, the others remember that one record in a hundred is.
    """

    def __init__(self, at_first: float) -> None:
        self.per_record = at_first
        self.per_batch = 0.0
        self._waits = Waits()
        self._short = self._short_seconds = 0.0
        self._long = self._long_seconds = 0.0

    def took(self, records: int, seconds: float, waited: float = 0.0) -> None:
        """Tells how long a batch, which must not be empty, was worked for, and how long sinks let it wait."""
        self._short = self._short * _SHORT_MEMORY + records
        self._short_seconds = self._short_seconds * _SHORT_MEMORY + seconds
        self._long = self._long * _LONG_MEMORY + records
        self._long_seconds = self._long_seconds * _LONG_MEMORY + seconds
        self._waits.took(records, waited)
        self.per_batch = self._waits.per_batch
        self.per_record = self._waits.per_record + max(
            self._short_seconds / self._short, self._long_seconds / self._long
        )
