"""Folds closed logs into one sorted SST, in a process of its own.

`python -m streamlet.cli.fold OUT FIRST_GROUP END_GROUP LOG...`

It reads nothing but those immutable files, so it can be killed at any time; the exit code 0 says that OUT is complete.
Memory is bounded however large the logs are: they are read once for each part of the key groups, and stored keys begin
with the key group, so the parts come out in order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from streamlet.crash_points import fault_point
from streamlet.errors import StreamletError
from streamlet.ports import Disk
from streamlet.state.backends.rocksdb_database import write_sst
from streamlet.state.encoding.key_groups import group_prefix
from streamlet.state.log.file import read_header, read_log

MODULE = "streamlet.cli.fold"
"""What python runs for it."""

PART_ENTRIES = 600_000
"""Entries of logs per part: about 150 MB at worst, when no two are of the same key. More than what makes a fold due, so
that the logs are read once."""
PART_BYTES = 64 << 20
"""The same bound for large values."""


def merge_logs(disk: Disk, logs: Sequence[Path], first_group: int, end_group: int) -> dict[bytes, bytes | None]:
    """The last word of the logs on each stored key of these key groups; None is a tombstone."""
    low, high = group_prefix(first_group), group_prefix(end_group)
    merged: dict[bytes, bytes | None] = {}
    for path in logs:
        for keys, values, deletes in read_log(disk, path):
            if keys and low <= min(keys) and max(keys) < high:
                merged.update(zip(keys, values, strict=True))
            else:
                merged.update((key, value) for key, value in zip(keys, values, strict=True) if low <= key < high)
            merged.update((key, None) for key in deletes if low <= key < high)
    for key, value in merged.items():
        if value is not None:
            # A copy, now that it is known which are needed: a value as it is decoded keeps its whole frame in memory.
            merged[key] = bytes(value)
    return merged


def fold_logs(disk: Disk, logs: Sequence[Path], out: Path, first_group: int, end_group: int) -> int:
    """Writes the SST and gives its number of entries."""
    headers = [read_header(disk, path) for path in logs]
    entries = sum(header.entries for header in headers)
    size = sum(header.raw_bytes for header in headers)
    parts = min(max(-(-entries // PART_ENTRIES), -(-size // PART_BYTES), 1), end_group - first_group)
    bounds = [first_group + (end_group - first_group) * part // parts for part in range(parts + 1)]
    return write_sst(out, _sorted_parts(disk, logs, bounds))


def _sorted_parts(disk: Disk, logs: Sequence[Path], bounds: Sequence[int]) -> Iterator[tuple[bytes, bytes | None]]:
    for first, end in pairwise(bounds):
        merged = merge_logs(disk, logs, first, end)
        for key in sorted(merged):
            yield key, merged[key]


def main(disk: Disk, arguments: Sequence[str]) -> int:
    """Runs a fold; 1 when a log is damaged, os.EX_IOERR when the file cannot be written: nothing is lost then."""
    out, first_group, end_group, *logs = arguments
    fault_point("during_fold")
    try:
        fold_logs(disk, [Path(log) for log in logs], Path(out), int(first_group), int(end_group))
    except StreamletError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # RocksDB raises a bare one when its disk is full
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return os.EX_IOERR
    return 0
