"""The logs of one store since its base: deltas still to be written, and logs that manifests may name."""

from __future__ import annotations

import threading

import msgspec

from streamlet.errors import CheckpointFailedError
from streamlet.state.log.delta import Delta
from streamlet.state.log.file import write_log
from streamlet.state.log.replayed import ENTRY_BYTES
from streamlet.state.snapshot import FileRef, LogRef, SnapshotFiles

FOLD_ENTRIES = 500_000
"""A restart replays the logs at about 0.5 us per entry: this bounds that part of it to a quarter of a second."""
FOLD_BYTES = 64 << 20
"""Logs of large values replay at the speed of the disk: this bounds them to a fraction of a second too."""
FOLD_LOGS = 60
"""Each log is one more file to keep, name and check in every manifest."""
REWRITTEN = 120_000
"""A state of more cells goes into a base. So many are listed in 3 ms, and packed in 30 to 60 ms, in slices."""
REWRITTEN_OVER = 8
"""As many entries are written anew at most for each that has changed: RocksDB's merging takes about as many."""


class ClosedLog(msgspec.Struct, frozen=True, gc=False):
    """A durable log."""

    ref: LogRef
    interval: int
    """The last interval of changes in it."""
    first_cut: int
    """It has what changed up to this cut too, so a checkpoint from here to before its own cut is in no log."""
    is_whole: bool = False
    """It has everything, so nothing before it is needed."""


class LogSet:
    """Keeps a delta until its log is durable, and a log until a base covers it: a failed checkpoint loses nothing.

    `write` may run in a thread beside everything else; two of them wait for each other.
    """

    def __init__(self, files: SnapshotFiles, stem: str) -> None:
        self._files = files
        self._stem = stem
        self._writing = threading.Lock()
        self._unwritten: list[Delta] = []
        self.closed: list[ClosedLog] = []
        self.base_cut = 0
        self.base: tuple[FileRef, ...] = ()
        self.bytes_written = 0
        self.rewritten_interval = 0
        """The last interval of changes in the newest log that has everything."""

    def restore(self, base_cut: int, base: tuple[FileRef, ...], logs: tuple[LogRef, ...]) -> None:
        """Takes over what a checkpoint names."""
        self.base_cut, self.base = base_cut, base
        self.closed = [ClosedLog(ref, 0, ref.cut) for ref in logs]

    def add(self, delta: Delta) -> None:
        """Takes a delta that is packed."""
        self._unwritten.append(delta)

    def entries(self) -> int:
        """Entries of all logs since the base, and of what is still to be written."""
        return sum(log.ref.entries for log in self.closed) + sum(delta.entries for delta in self._unwritten)

    @property
    def is_rewriting(self) -> bool:
        """True while everything is packed and in no log yet: that log will stand for all that are closed now."""
        return any(delta.is_whole for delta in self._unwritten)

    def unwritten_bytes(self) -> int:
        """Memory that frames take until they are durable."""
        return sum(len(frame) for delta in self._unwritten for frame in delta.frames)

    def write(self) -> LogRef | None:
        """Writes everything packed so far as one durable log; None when nothing changed.

        When it fails, the frames stay for the next call.
        """
        with self._writing:
            deltas = list(self._unwritten)
            entries = sum(delta.entries for delta in deltas)
            ref = self._write(deltas, entries) if entries else None
            # First the log, then the frames: whoever looks in between sees too much rather than too little.
            if ref is not None:
                self._close(ref, deltas)
            del self._unwritten[: len(deltas)]
            return ref

    def named_by(self, cut: int) -> tuple[LogRef, ...]:
        """The logs that checkpoint `cut` needs besides the base.

        Raises `CheckpointFailedError` when changes up to that cut are in no log yet or together with later ones, or the
        base is newer.
        """
        is_unwritten = any(delta.cut <= cut and delta.entries for delta in self._unwritten)
        if is_unwritten or cut < self.base_cut or any(log.first_cut <= cut < log.ref.cut for log in self.closed):
            raise CheckpointFailedError(f"{self._stem}: the state at checkpoint {cut} is not in its files")
        return tuple(log.ref for log in self.closed if self.base_cut < log.ref.cut <= cut)

    def is_fold_due(self, memory_bytes: int) -> bool:
        """True when replaying the logs would take longer than a restart should, or much of the memory bound."""
        logs = [log.ref for log in self.closed]
        return (
            len(logs) >= FOLD_LOGS
            or sum(log.entries for log in logs) >= min(FOLD_ENTRIES, memory_bytes // 2 // ENTRY_BYTES)
            or sum(log.file.size for log in logs) >= FOLD_BYTES
        )

    def is_rewrite_due(self, memory_bytes: int, cells: int, restored: int) -> bool:
        """True when a state without a base, of so many cells and restored entries, is better written anew than folded:
        small enough to be listed at once and to leave room for logs behind it, and worth it by what has changed."""
        if max(cells, restored) > REWRITTEN or self.is_rewriting or not self.is_fold_due(memory_bytes):
            return False
        logs = [log.ref for log in self.closed]
        entries, size = sum(log.entries for log in logs), sum(log.file.size for log in logs)
        everything = cells + restored
        whole = sum(log.ref.entries for log in self.closed if log.is_whole)
        return everything * size <= entries * FOLD_BYTES // 2 and everything <= (entries - whole) * REWRITTEN_OVER

    def rebase(self, cut: int, base: tuple[FileRef, ...], logs: tuple[LogRef, ...] = ()) -> int:
        """Puts a new base under the logs after `cut`; `logs` stand for what is left before it.
        Gives the last interval that is covered now."""
        covered = [log.interval for log in self.closed if log.ref.cut <= cut]
        later = [log for log in self.closed if log.ref.cut > cut]
        self.base = base
        self.closed = [ClosedLog(ref, max(covered, default=0), ref.cut) for ref in logs] + later
        if not logs:
            self.base_cut = cut
        return max(covered, default=0)

    def _close(self, ref: LogRef, deltas: list[Delta]) -> None:
        interval = deltas[-1].interval
        if any(delta.is_whole for delta in deltas):
            self.closed = [ClosedLog(ref, interval, 0, is_whole=True)]
            self.rewritten_interval = interval
        else:
            self.closed.append(ClosedLog(ref, interval, deltas[0].cut))

    def _write(self, deltas: list[Delta], entries: int) -> LogRef:
        cut = deltas[-1].cut
        path = self._files.scratch() / f"{self._stem}-{cut}.log"
        try:
            frames = [frame for delta in deltas for frame in delta.frames]
            self.bytes_written += write_log(self._files.disk, path, cut, frames, entries)
            return LogRef(cut, entries, self._files.keep(path, "log", suffix=".log"))
        finally:
            self._files.disk.remove(path)
