"""Records that a read_committed reader does not get because a transaction before them is still open."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streamlet.connect import Clock
from streamlet_connectors.kafka.reading.partition_fetch import PartitionFetch

LONG_SECONDS = 10.0
"""Transactions that end sooner are nobody's concern."""
_NAMED = 5

_log = logging.getLogger("streamlet.kafka")


class HeldBack:
    """Tells of partitions where such a transaction has been open for long: one line for all of them.

    A producer that commits once a minute is usual with some, and then told of twice: a partition is told of again only
    when it waits for twice as long as the last time.
    """

    def __init__(self, partitions: Sequence[PartitionFetch], clock: Clock) -> None:
        self._partitions = partitions
        self._clock = clock
        self._next: dict[str, float] = {}
        self._told: set[str] = set()

    def offsets(self, part: PartitionFetch) -> int:
        """How many offsets of a partition have been held back for long. Markers count as offsets."""
        return part.high - part.end if self._seconds(part) >= LONG_SECONDS else 0

    def look(self) -> None:
        """Looks at the partitions; to be called now and then."""
        new = [part for part in self._partitions if self._seconds(part) >= self._next.get(part.split, LONG_SECONDS)]
        for part in new:
            self._next[part.split] = 2 * self._seconds(part)
            self._told.add(part.split)
        if new:
            count = sum(part.high - part.end for part in new)
            _log.warning(
                "%s: an open transaction holds back %d offsets (from offset %d on), for %.0f s as seen from here; they "
                "are read when it ends (kafka-transactions.sh find-hanging names its producer)",
                _named(new),
                count,
                new[0].end,
                max(map(self._seconds, new)),
            )
        over = [part for part in self._partitions if part.split in self._told and part.held_since is None]
        if over:
            self._told.difference_update(part.split for part in over)
            _log.warning("%s: the transaction has ended, and what it held back is read", _named(over))

    def _seconds(self, part: PartitionFetch) -> float:
        return 0.0 if part.held_since is None else self._clock.monotonic() - part.held_since


def _named(partitions: Sequence[PartitionFetch]) -> str:
    more = len(partitions) - _NAMED
    return "; ".join([*map(str, partitions[:_NAMED]), *([f"{more} more partitions"] if more > 0 else [])])
