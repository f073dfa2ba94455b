"""Event time that stands still while records come: facts in, and the split that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamlet.observe.facts import SplitFacts


class _Seen(NamedTuple):
    since: float
    lowest: int | None
    highest: int


class EventTimeWatch:
    """Looks at the splits of all sources, again and again; every source has its own event time."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._seen: dict[str, _Seen] = {}

    def look(self, splits: Sequence[SplitFacts], now: float) -> str:
        """Says which split holds event time, where it has stood still for longer than the patience although event time
        of other splits of its source moved on; empty when none does."""
        by_source: dict[str, list[SplitFacts]] = {}
        for one in splits:
            by_source.setdefault(one.uid, []).append(one)
        said = [self._held(uid, found, now) for uid, found in by_source.items()]
        return next(filter(None, said), "")

    def _held(self, uid: str, splits: Sequence[SplitFacts], now: float) -> str:
        speaking = [one for one in splits if not one.is_idle]
        highest = max((one.watermark_ms for one in speaking if one.watermark_ms is not None), default=None)
        if highest is None:
            self._seen.pop(uid, None)
            return ""
        holder = min(speaking, key=lambda one: -1 if one.watermark_ms is None else one.watermark_ms)
        seen = self._seen.get(uid)
        if seen is None or seen.lowest != holder.watermark_ms:
            self._seen[uid] = _Seen(now, holder.watermark_ms, highest)
            return ""
        stood = now - seen.since
        if stood < self._patience_seconds or highest <= seen.highest:
            return ""
        return (
            f"event time of {uid} has stood still for {stood:.0f} s: split {holder.split} has no records while others "
            "go on; .with_idleness(...) goes on without it"
        )
