"""Keyed state in memory only, for tests and small jobs: the same slots, logs and snapshots without a RocksDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from streamlet.state.backends.folding import merge_logs
from streamlet.state.backends.logged import LoggedStore
from streamlet.state.backends.rescale import read_part
from streamlet.state.log.file import write_log
from streamlet.state.log.log_set import ClosedLog
from streamlet.state.log.replayed import Replayed
from streamlet.state.snapshot import LogRef, StoreSnapshot
from streamlet.state.store import FoldJob

FRAME_ENTRIES = 500


class MemoryKeyedStore(LoggedStore):
    """A `KeyedStore` whose base is always empty: a fold merges logs into one log, and nothing is ever evicted.

    Its snapshots and those of `RocksDbKeyedStore` are the same format, so either restores the other's, as long as
    there is no RocksDB base in it.
    """

    def open(self, restored: Sequence[StoreSnapshot] = ()) -> None:
        """BLOCKING. Starts from nothing, or from what the snapshots hold for this store's key groups and states."""
        self.eviction.bound_bytes = 1 << 62
        if len(restored) == 1 and restored[0].is_of(self) and not restored[0].base:
            self.replay(restored[0])
        elif restored:
            self._restore_rescaled(restored)
        self.notes.restore(self.read)

    def fold_of(self, closed: Sequence[ClosedLog]) -> FoldJob | None:
        """A fold into one log; None when there are fewer than two."""
        if len(closed) < 2:
            return None
        cut = closed[-1].ref.cut
        out = self.files.scratch() / f"{self.name}-{self.subtask}-fold-{cut}.log".replace("/", "_")
        return FoldJob(cut, tuple(self.files.path(log.ref.file) for log in closed), out)

    def finish_fold(self, job: FoldJob) -> None:
        """BLOCKING. Merges the logs: what was deleted needs no tombstone, since nothing lies below."""
        merged = merge_logs(self.files.disk, job.logs, self.first_group, self.end_group)
        job.merged = self._write_merged(job, {key: value for key, value in merged.items() if value is not None})

    def adopt_fold(self, job: FoldJob) -> None:
        """Lets checkpoints name the merged log instead of the others."""
        if job.merged is not None:
            self.log_set.rebase(job.cut, (), (job.merged,))
        super().adopt_fold(job)

    def buried_interval(self) -> int:
        """What was packed: below it nothing is read but the replayed."""
        return self.interval - 1 if self._frozen is None else self.interval - 2

    def _write_merged(self, job: FoldJob, entries: dict[bytes, bytes]) -> LogRef:
        frames = list(_frames(entries))
        try:
            write_log(self.files.disk, job.out, job.cut, frames, len(entries))
            return LogRef(job.cut, len(entries), self.files.keep(job.out, "log", suffix=".log"))
        finally:
            self.files.disk.remove(job.out)

    def _restore_rescaled(self, restored: Sequence[StoreSnapshot]) -> None:
        cut = max(snapshot.cut for snapshot in restored)
        groups = (self.first_group, self.end_group)
        with read_part(restored, self.files, self.work_dir.with_suffix(".old"), groups, self.states) as part:
            entries = dict(part)
        out = self.files.scratch() / f"{self.name}-{self.subtask}-part-{cut}.log".replace("/", "_")
        ref = self._write_merged(FoldJob(cut, (), out), entries)
        part_snapshot = StoreSnapshot(self.name, self.subtask, *groups, cut, 0, (), (ref,))
        self.replayed = Replayed()
        self.replay(part_snapshot)


def _frames(entries: dict[bytes, bytes]) -> Iterator[bytes]:
    keys = sorted(entries)
    for start in range(0, len(keys), FRAME_ENTRIES):
        some = keys[start : start + FRAME_ENTRIES]
        yield msgspec.msgpack.encode((some, [msgspec.Raw(entries[key]) for key in some], []))
