"""Keyed state over RocksDB, for states larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamlet.errors import CheckpointDamagedError
from streamlet.state.backends.logged import LoggedStore
from streamlet.state.backends.rescale import write_part
from streamlet.state.backends.rocksdb_database import SHARED_SUFFIX, RocksBase
from streamlet.state.log.log_set import ClosedLog
from streamlet.state.log.replayed import Replayed
from streamlet.state.snapshot import FileRef, StoreSnapshot
from streamlet.state.store import FoldJob

CACHE_SHARE = 4
"""One part in four of the store's memory is RocksDB's block cache, within these bounds."""
CACHE_MIN_BYTES = 256 << 10
CACHE_MAX_BYTES = 256 << 20


class RocksDbKeyedStore(LoggedStore):
    """A `KeyedStore` whose base is a RocksDB in `work_dir`, which it owns and empties at each start."""

    _rocks: RocksBase | None = None
    _known: dict[str, FileRef]

    def open(self, restored: Sequence[StoreSnapshot] = ()) -> None:
        """BLOCKING. Starts from nothing, or from what the snapshots hold for this store's key groups and states.

        The snapshot of the same store, key groups and states is linked; anything else is read and written anew.
        """
        disk = self.files.disk
        disk.remove_tree(self.work_dir)
        disk.make_folders(self.work_dir.parent)
        self._known = {}
        if len(restored) == 1 and restored[0].store == self.name and restored[0].is_of(self):
            self._restore(restored[0])
        else:
            self._rocks = self._new_base()
            if restored:
                self._restore_rescaled(restored)
        self.notes.restore(self.read)

    def fold_of(self, closed: Sequence[ClosedLog]) -> FoldJob | None:
        """A fold into a new base; None when there is no log."""
        if not closed:
            return None
        cut = closed[-1].ref.cut
        logs = tuple(self.files.path(log.ref.file) for log in closed)
        out = self._scratch(f"fold-{cut}.sst")
        groups = (str(self.first_group), str(self.end_group))
        return FoldJob(cut, logs, out, (str(out), *groups, *map(str, logs)))

    def finish_fold(self, job: FoldJob) -> None:
        """BLOCKING. Takes the folded file in and keeps the new base. Nothing names it before `adopt_fold`.

        If it fails between the two, RocksDB is ahead of what manifests name: harmless, since the changes are still in
        memory and in logs, and the next fold brings them again.
        """
        self._base.ingest(job.out)
        job.base = self._keep_base(f"base-{job.cut}")

    def adopt_fold(self, job: FoldJob) -> None:
        """Lets checkpoints name the new base; cells up to its cut become clean."""
        if job.base is None:
            raise CheckpointDamagedError(f"{self.name}: the fold at {job.cut} is not finished")
        self.folded_interval = max(self.folded_interval, self.log_set.rebase(job.cut, job.base))
        # Every restored log is older than any cut of this attempt, so all of the replayed is in the base now.
        self.replayed = Replayed()
        super().adopt_fold(job)

    def cache_bytes(self) -> int:
        """What RocksDB's block cache may take."""
        return min(max(self.memory_bound // CACHE_SHARE, CACHE_MIN_BYTES), CACHE_MAX_BYTES)

    def is_base_empty(self) -> bool:
        """True until the first fold of a new job."""
        return self._base.is_empty

    def read_base(self, stored: Sequence[bytes]) -> Sequence[bytes | None]:
        """Gives what RocksDB has."""
        return self._base.get(stored)

    def scan_base(self, prefix: bytes) -> dict[bytes, bytes]:
        """Gives the entries of RocksDB whose stored key begins with `prefix`."""
        return dict(self._base.scan(prefix))

    def range_base(self, low: bytes, high: bytes, limit: int) -> list[bytes]:
        """Gives the first stored keys of RocksDB from `low` to before `high`."""
        return [] if self._base.is_empty else self._base.keys(low, high, limit)

    def close(self) -> None:
        """BLOCKING. Closes RocksDB."""
        super().close()
        if self._rocks is not None:
            self._rocks.close()

    @property
    def _base(self) -> RocksBase:
        if self._rocks is None:
            raise RuntimeError(f"the store {self.name!r} is not open")
        return self._rocks

    def _new_base(self) -> RocksBase:
        self.files.disk.make_folder(self.work_dir)  # for this user only, which RocksDB would not say
        return RocksBase(self.work_dir, self.cache_bytes(), create=True)

    def _restore(self, restored: StoreSnapshot) -> None:
        if restored.base:
            self._rocks = RocksBase.link(self.files, restored.base, self.work_dir, self.cache_bytes())
        else:
            self._rocks = self._new_base()
        self._known = {ref.role: ref for ref in restored.base if ref.role.endswith(SHARED_SUFFIX)}
        self.replay(restored)

    def _restore_rescaled(self, restored: Sequence[StoreSnapshot]) -> None:
        cut = max(snapshot.cut for snapshot in restored)
        part = self._scratch(f"part-{cut}.sst")
        groups = (self.first_group, self.end_group)
        base: tuple[FileRef, ...] = ()
        if write_part(part, restored, self.files, self.work_dir.with_suffix(".old"), groups, self.states):
            self._base.ingest(part)
            base = self._keep_base(f"base-{cut}")
        self.log_set.restore(cut, base, ())
        self.cut = cut

    def _keep_base(self, name: str) -> tuple[FileRef, ...]:
        """Keeps a RocksDB Checkpoint. RocksDB never gives a file number twice, so a known SST is not read again."""
        folder = self._scratch(name)
        self.files.disk.remove_tree(folder)
        refs = []
        for path in self._base.checkpoint(self.files.disk, folder):
            ref = self._known.get(path.name)
            if ref is None:
                ref = self.files.keep(path, path.name, suffix=path.suffix)
            refs.append(ref)
        self.files.disk.remove_tree(folder)
        self._known = {ref.role: ref for ref in refs if ref.role.endswith(SHARED_SUFFIX)}
        return tuple(refs)

    def _scratch(self, name: str) -> Path:
        return self.files.scratch() / f"{self.name}-{self.subtask}-{name}".replace("/", "_")
