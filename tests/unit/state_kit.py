"""What the tests of keyed state share: a folder of kept files, a clock that moves when told, ways to a store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlet.machine.disk import LocalDisk
from streamlet.ports import Disk
from streamlet.state.backends.folding import main as fold_in_process
from streamlet.state.backends.logged import LoggedStore
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.declaration import StateDeclaration
from streamlet.state.descriptor import Descriptor
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.snapshot import FileRef, StoreSnapshot
from streamlet.state.store import FoldJob

KEY_GROUPS = 16
STORES: tuple[type[Any], ...] = (RocksDbKeyedStore, MemoryKeyedStore)


class FolderFiles:
    """`SnapshotFiles` in one folder. `failing` makes the next calls of `keep` fail."""

    def __init__(self, root: Path) -> None:
        self.disk: Disk = LocalDisk()
        self.root = root
        self.failing = 0
        self.kept: list[str] = []
        (root / "files").mkdir(parents=True, exist_ok=True)
        (root / "scratch").mkdir(exist_ok=True)

    def scratch(self) -> Path:
        return self.root / "scratch"

    def keep(self, path: Path, role: str, *, suffix: str) -> FileRef:
        if self.failing:
            self.failing -= 1
            raise OSError(28, "No space left on device", str(path))
        data = path.read_bytes()
        checksum = hashlib.blake2b(data, digest_size=16).hexdigest()
        ref = FileRef(checksum + suffix, len(data), checksum, role)
        if not self.path(ref).exists():
            os.link(path, self.path(ref))
        self.kept.append(role)
        return ref

    def path(self, ref: FileRef) -> Path:
        return self.root / "files" / ref.name


class SteppingClock:
    """Moves by `step` seconds at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.seconds = 0.0
        self.step = step

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        self.seconds += self.step
        return self.seconds


def declare(**states: Descriptor) -> list[StateDeclaration]:
    """Gives declarations with ids 1, 2, 3 ... of operator `op`."""
    return [state.declare(id, "op", name) for id, (name, state) in enumerate(states.items(), 1)]


def make_store(
    kind: type[Any],
    root: Path,
    states: Sequence[StateDeclaration],
    *,
    name: str = "task",
    subtask: int = 0,
    groups: tuple[int, int] = (0, KEY_GROUPS),
    memory_bytes: int = 64 << 20,
    clock: SteppingClock | None = None,
    keys: KeyType | None = None,
) -> Any:
    """Gives a store that is not open yet. Two stores of one subtask under one root must not be open together."""
    return kind(
        name,
        subtask,
        key_groups=KEY_GROUPS,
        first_group=groups[0],
        end_group=groups[1],
        files=FolderFiles(root),
        work_dir=root / "work" / f"{name}-{subtask}",
        memory_bytes=memory_bytes,
        states=states,
        clock=clock or SteppingClock(),
        keys=keys,
    )


def checkpoint(store: LoggedStore, checkpoint_id: int) -> StoreSnapshot:
    """Takes a whole checkpoint."""
    store.freeze(checkpoint_id)
    store.pack(1.0)
    store.write_log()
    return store.snapshot(checkpoint_id)


def fold(store: Any) -> FoldJob | None:
    """Takes a whole fold, with the work done in this process."""
    job: FoldJob | None = store.begin_fold()
    if job is not None:
        finish_fold(store, job)
    return job


def finish_fold(store: Any, job: FoldJob) -> None:
    """Takes the rest of a fold that was begun."""
    if job.arguments:
        assert fold_in_process(LocalDisk(), job.arguments) == 0
    store.finish_fold(job)
    store.adopt_fold(job)


def handle(store: Any, name: str, key: Any) -> Any:
    """Gives the handle of a state with `key` in hand."""
    store.current = store.lookup([key])[0]
    spec = next(state.spec for state in store.states.values() if state.spec.name == name)
    return store.handle(spec)
