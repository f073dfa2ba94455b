"""What checkpoints bring and hold, read from a job's state directory beside the running job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from streamlet.checkpoint.manifest import Manifest, decode
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import StreamletError
from streamlet.machine.disk import LocalDisk
from streamlet.state.backends.rocksdb_database import RocksBase
from streamlet.state.encoding.key_groups import META_STATE, state_of
from streamlet.state.log.replayed import Replayed
from streamlet.state.snapshot import StoreSnapshot

_LOOK_SECONDS = 0.01
_HEAD_BYTES = 8


@dataclass(frozen=True)
class Brought:
    """What one checkpoint has that none before it had."""

    id: int
    changed: int
    """Entries of its new logs."""
    log_bytes: int
    base_bytes: int
    """Files of the base: what folds brought, and what RocksDB wrote anew when it merged files."""
    logs: int
    """All logs that a restart would replay."""
    entries: int
    """Their entries."""
    tables: int
    """SST files of the base."""
    is_base_new: bool
    """True when a fold has put another base under it."""


class Manifests:
    """Follows the checkpoints of a job as they appear; each is there for some intervals."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[Brought] = []
        self._folder = folder
        self._ids: set[int] = set()
        self._names: set[str] = set()
        self._cuts: set[int] = set()
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="manifests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the looking; what was seen stays."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Takes in what is there now. Also called when the job has ended, to see its last one."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        for path in sorted(self._folder.glob("chk-*")):
            number = int(path.name[4:])
            if number in self._ids:
                continue
            try:
                manifest = decode((path / "manifest").read_bytes(), str(path))
            except (OSError, StreamletError):
                continue  # Just being made or removed.
            self._ids.add(number)
            self.seen.append(self._brought(manifest))

    def _brought(self, manifest: Manifest) -> Brought:
        logs = [log for store in manifest.stores for log in store.logs]
        base = [ref for store in manifest.stores for ref in store.base]
        new_logs = [log for log in logs if log.file.name not in self._names]
        new_base = {ref.name: ref.size for ref in base if ref.name not in self._names}
        cuts = {store.base_cut for store in manifest.stores}
        brought = Brought(
            manifest.checkpoint_id,
            sum(log.entries for log in new_logs),
            sum(log.file.size for log in new_logs),
            sum(new_base.values()),
            len(logs),
            sum(log.entries for log in logs),
            sum(ref.role.endswith(".sst") for ref in base),
            not cuts <= self._cuts,
        )
        self._names |= manifest.file_names()
        self._cuts |= cuts
        return brought


def newest(state_dir: Path, job: str) -> Manifest:
    """The newest checkpoint that can be read."""
    infos = CheckpointStorage(state_dir, job, LocalDisk()).checkpoints()
    return max((info.manifest for info in infos if info.manifest is not None), key=lambda found: found.checkpoint_id)


def entries_of(state_dir: Path, job: str, scratch: Path) -> Iterator[tuple[object, object]]:
    """(key, value) of everything in the newest checkpoint's value states, read without the store that wrote it."""
    files = CheckpointStorage(state_dir, job, LocalDisk()).folder / "files"
    for number, snapshot in enumerate(newest(state_dir, job).stores):
        for stored, packed in _stored(files, snapshot, scratch / str(number)):
            if state_of(stored) != META_STATE:
                yield msgspec.msgpack.decode(stored[_HEAD_BYTES:]), msgspec.msgpack.decode(packed)


def _stored(files: Path, snapshot: StoreSnapshot, scratch: Path) -> Iterator[tuple[bytes, bytes | msgspec.Raw]]:
    replayed = Replayed()
    replayed.replay(LocalDisk(), [files / log.file.name for log in snapshot.logs])
    yield from ((key, value) for key, value in replayed.entries.items() if value is not None)
    if not snapshot.base:
        return
    scratch.mkdir(parents=True)
    for ref in snapshot.base:
        (scratch / ref.role).write_bytes((files / ref.name).read_bytes())
    base = RocksBase(scratch, 64 << 20, create=False)
    try:
        yield from (one for one in base.range(b"") if one[0] not in replayed.entries)
    finally:
        base.close()
