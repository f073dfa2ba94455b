"""What the logs of the restored checkpoint say, until a fold has brought it into RocksDB."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from streamlet.ports import Disk
from streamlet.state.encoding.key_groups import group_prefix, state_of
from streamlet.state.log.file import read_log

ENTRY_BYTES = 250
"""Estimated memory of an entry: stored key, dict entry, and its part of a frame."""


class Replayed:
    """Entries by stored key, still packed; None is a tombstone. Looked at before RocksDB."""

    def __init__(self) -> None:
        self.entries: dict[bytes, msgspec.Raw | None] = {}
        self._ordered: list[bytes] = []
        self._states: frozenset[int] = frozenset()

    def replay(self, disk: Disk, logs: Iterable[Path]) -> None:
        """Reads logs, oldest first. Blocks; raises `CheckpointDamagedError`."""
        entries = self.entries
        for path in logs:
            for keys, values, deletes in read_log(disk, path):
                entries.update(zip(keys, values, strict=True))
                entries.update(dict.fromkeys(deletes))

    def replay_part(
        self, disk: Disk, logs: Iterable[Path], first_group: int, end_group: int, states: Collection[int]
    ) -> None:
        """Like `replay`, for the entries of these key groups and states only."""
        low, high = group_prefix(first_group), group_prefix(end_group)
        entries = self.entries
        for path in logs:
            for keys, values, deletes in read_log(disk, path):
                wanted = {key for key in (*keys, *deletes) if low <= key[:2] < high and state_of(key) in states}
                entries.update((key, value) for key, value in zip(keys, values, strict=True) if key in wanted)
                entries.update((key, None) for key in deletes if key in wanted)

    def order(self, states: Collection[int]) -> None:
        """Prepares scans over these states. Blocks for as long as sorting their entries takes."""
        self._states = frozenset(states)
        self._ordered = sorted(key for key in self.entries if state_of(key) in states)

    def scan(self, prefix: bytes) -> dict[bytes, msgspec.Raw | None]:
        """The entries whose key begins with `prefix`. The first scan of a state not given to `order` sorts again."""
        if self.entries and state_of(prefix) not in self._states:
            self.order({*self._states, state_of(prefix)})
        found: dict[bytes, msgspec.Raw | None] = {}
        ordered = self._ordered
        at = bisect_left(ordered, prefix)
        while at < len(ordered) and ordered[at].startswith(prefix):
            found[ordered[at]] = self.entries[ordered[at]]
            at += 1
        return found

    def range(self, low: bytes, high: bytes, limit: int) -> dict[bytes, msgspec.Raw | None]:
        """The first `limit` entries from `low` to before `high`, both of one state, tombstones among them."""
        if self.entries and state_of(low) not in self._states:
            self.order({*self._states, state_of(low)})
        ordered = self._ordered
        start = bisect_left(ordered, low)
        found = ordered[start : min(bisect_left(ordered, high, start), start + limit)]
        return {stored: self.entries[stored] for stored in found}

    def memory_bytes(self) -> int:
        """Estimated memory."""
        return len(self.entries) * ENTRY_BYTES
