"""Records that a read_committed reader does not get because a transaction before them is still open."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streamlet.connect import Clock
from streamlet_connectors.kafka.reading.feed import Feed

LONG_SECONDS = 10.0
"""Transactions that end sooner are nobody's concern."""
_NAMED = 5

_log = logging.getLogger("streamlet.kafka")


class HeldBack:
    """Tells of partitions where such a transaction has been open for long: one line for all of them.

    A producer that commits once a minute is usual with some, and then told of twice: a partition is told of again only
    when it waits for twice as long as the last time.
    """

    def __init__(self, feeds: Sequence[Feed], clock: Clock) -> None:
        self._feeds = feeds
        self._clock = clock
        self._next: dict[str, float] = {}
        self._told: set[str] = set()

    def offsets(self, feed: Feed) -> int:
        """How many offsets of a partition have been held back for long. Markers count as offsets."""
        return feed.high - feed.end if self._seconds(feed) >= LONG_SECONDS else 0

    def look(self) -> None:
        """Looks at the partitions; to be called now and then."""
        new = [feed for feed in self._feeds if self._seconds(feed) >= self._next.get(feed.split, LONG_SECONDS)]
        for feed in new:
            self._next[feed.split] = 2 * self._seconds(feed)
            self._told.add(feed.split)
        if new:
            count = sum(feed.high - feed.end for feed in new)
            _log.warning(
                "%s: an open transaction holds back %d offsets (from offset %d on), for %.0f s as seen from here; they "
                "are read when it ends (kafka-transactions.sh find-hanging names its producer)",
                _named(new),
                count,
                new[0].end,
                max(map(self._seconds, new)),
            )
        over = [feed for feed in self._feeds if feed.split in self._told and feed.held_since is None]
        if over:
            self._told.difference_update(feed.split for feed in over)
            _log.warning("%s: the transaction has ended, and what it held back is read", _named(over))

    def _seconds(self, feed: Feed) -> float:
        return 0.0 if feed.held_since is None else self._clock.monotonic() - feed.held_since


def _named(feeds: Sequence[Feed]) -> str:
    more = len(feeds) - _NAMED
    return "; ".join([*map(str, feeds[:_NAMED]), *([f"{more} more partitions"] if more > 0 else [])])
