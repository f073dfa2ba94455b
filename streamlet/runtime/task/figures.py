"""Facts for people about what runs: they own nothing, and nothing depends on them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streamlet.tally import added_up


class Figures(msgspec.Struct, frozen=True, tag=True):
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


def total(several: Iterable[Figures]) -> Figures:
    """Adds up the figures of several processes."""
    figures = list(several)
    return Figures(
        sum(one.records for one in figures),
        total_lag(one.lag for one in figures),
        sum(one.keys for one in figures),
        sum(one.state_bytes for one in figures),
        added_up(one.counts for one in figures),
    )


def total_lag(lags: Iterable[int | None]) -> int | None:
    """Adds up what is known; None when nothing is."""
    known = [lag for lag in lags if lag is not None]
    return sum(known) if known else None
