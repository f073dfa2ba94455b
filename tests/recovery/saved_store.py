"""The checkpoints of a real store with several SSTs and logs, to be damaged file by file and started from again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from streamlet import ValueState
from streamlet.checkpoint.lock import JobInstance, read_instance
from streamlet.checkpoint.manifest import ListedCommittable, Manifest
from streamlet.checkpoint.recovery import JobFacts, plan_start
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.connect import Committable
from streamlet.machine.disk import LocalDisk
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.state.snapshot import StoreSnapshot
from tests.unit.state_kit import KEY_GROUPS, SteppingClock, checkpoint, declare, fold

KEYS = 2400
CUTS = (0.02, 0.25, 0.5, 0.75, 1.0)
BITS = 20
States = dict[int, int]


class Damage(msgspec.Struct, frozen=True):
    """One way to damage a file: from what it held and what another checkpoint's holds to what it holds now."""

    name: str
    change: Callable[[bytes, bytes], bytes | None]
    """None: the file goes."""

    def __str__(self) -> str:
        return self.name


def damages(seed: int, bits: int = BITS) -> Iterator[Damage]:
    """Missing, empty, cut at 5 places, 20 bits at seeded places, another checkpoint's content, more content."""
    yield Damage("missing", lambda data, other: None)
    yield Damage("empty", lambda data, other: b"")
    for part in CUTS:
        yield Damage(f"cut at {part:.0%}", partial(_cut, part))
    random = Random(seed)
    for number in range(bits):
        yield Damage(f"bit {number}", partial(_flipped, random.random()))
    yield Damage("swapped", lambda data, other: other)
    yield Damage("longer", lambda data, other: data + b"x")


def _cut(part: float, data: bytes, other: bytes) -> bytes:
    return data[: int(part * (len(data) - 1))]


def _flipped(at: float, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    changed[int(at * len(data))] ^= 1 << int(at * 8000) % 8
    return bytes(changed)


class SavedStore:
    """A state directory with checkpoints 4 to 7 of one store: 7 is the newest; 4 and 5 are marked, or all are."""

    def __init__(self, root: Path, *, is_marked: bool) -> None:
        self.root = root
        self.states = declare(n=ValueState(int))
        self.truth: dict[int, States] = {}
        self.model: States = {}
        storage = self._storage = CheckpointStorage(root, "job", LocalDisk())
        self.folder = storage.folder
        attempt = storage.begin_attempt()
        self.instance = JobInstance(self.folder, LocalDisk(), random.Random(), storage.running()).instance
        store = self._store(storage)
        store.open()
        for number in range(1, 4):
            self._change(store, range(number * 500 - 500, number * 500 + 300), number)
            checkpoint(store, number)
            fold(store)
        for number in range(4, 8):
            self._change(store, range(number * 300 - 1200, number * 300 - 900), number)
            storage.write_manifest(self._manifest(number, attempt, checkpoint(store, number)))
            if is_marked or number < 6:
                storage.write_marker(number)
            self.truth[number] = dict(self.model)
        store.close()
        (self.folder / "lock").write_bytes(b'{"pid":1,"host":"h","started_ms":0}')

    def info(self, number: int = 7) -> CheckpointInfo:
        return CheckpointStorage(self.root, "job", LocalDisk()).load(number)

    def files(self, number: int = 7) -> dict[str, Path]:
        """Every file of a checkpoint that has content, by what it is."""
        info = self.info(number)
        assert info.manifest is not None
        named = {file.name: file.role for file in info.manifest.files() if file.size}
        logs = iter(range(1, 100))
        return {
            (f"log {next(logs)}" if role == "log" else role): self.folder / "files" / name
            for name, role in named.items()
        }

    def own_files(self, number: int = 7) -> dict[str, Path]:
        """What belongs to a checkpoint or to the job besides `files`."""
        chk = self.folder / f"chk-{number:08d}"
        found = {"manifest": chk / "manifest", "marker": chk / "committed"}
        found |= {"instance": self.folder / "instance", "lock": self.folder / "lock", "began": self.folder / "began"}
        return {name: path for name, path in found.items() if path.exists()}

    def start(self) -> tuple[int, bool, str]:
        """Does what a start does, with the verification that is the default: chooses, opens the store, reads all.
        Gives the checkpoint, whether the state is its state, and what was passed over; raises what a start raises."""
        storage = self._storage
        instance = read_instance(LocalDisk(), self.folder)
        plan = plan_start(
            storage.checkpoints(),
            "latest",
            JobFacts(KEY_GROUPS, frozenset({"out"}), instance=instance),
            has_history=storage.has_history(),
            verify=lambda info: storage.verify(_manifest_of(info)),
        )
        assert plan.restore is not None, "never silently empty"
        store = self._store(storage)
        try:
            store.open(_manifest_of(plan.restore).stores)
            state = self._read(store)
        finally:
            store.close()
        return plan.restore.id, state == self.truth[plan.restore.id], plan.damage or ""

    def _store(self, storage: CheckpointStorage) -> Any:
        return RocksDbKeyedStore(
            "s",
            0,
            key_groups=KEY_GROUPS,
            first_group=0,
            end_group=KEY_GROUPS,
            files=storage.attempt.store_files("s", 0),
            work_dir=self.folder / "work" / "1" / "s",
            memory_bytes=1 << 20,
            states=self.states,
            clock=SteppingClock(),
        )

    def _change(self, store: Any, keys: range, number: int) -> None:
        handle = store.handle(self.states[0].spec)
        for key, slot in zip(keys, store.lookup(list(keys)), strict=True):
            store.current = slot
            handle.update(key * 10 + number)
            self.model[key] = key * 10 + number

    def _read(self, store: Any) -> States:
        handle = store.handle(self.states[0].spec)
        found: States = {}
        for key, slot in enumerate(store.lookup(list(range(KEYS)))):
            store.current = slot
            value = handle.value()
            if value is not None:
                found[key] = value
        return found

    def _manifest(self, number: int, attempt: int, snapshot: StoreSnapshot) -> Manifest:
        unit = Committable(f"unit-{number}", {}, 1, f"unit {number}")
        return Manifest(
            job="job",
            instance=self.instance,
            checkpoint_id=number,
            attempt=attempt,
            kind="periodic",
            parent=number - 1 if number > 4 else None,
            key_groups=KEY_GROUPS,
            states=[state.spec for state in self.states],
            stores=[snapshot],
            committables=[ListedCommittable("out", 0, number, unit)],
        )


class Damaged:
    """A file that is damaged inside the `with`, and as it was after it."""

    def __init__(self, path: Path, other: bytes, damage: Damage) -> None:
        self._path = path
        self._data = path.read_bytes()
        self._changed = damage.change(self._data, other)

    def __enter__(self) -> None:
        self._write(self._changed)

    def __exit__(self, *_: object) -> None:
        self._write(self._data)

    def _write(self, data: bytes | None) -> None:
        self._path.unlink(missing_ok=True)  # it may be linked into a working folder
        if data is not None:
            self._path.write_bytes(data)


def other_content(saved: SavedStore, what: str, path: Path, elsewhere: SavedStore) -> bytes:
    """What the same kind of file holds in another checkpoint, or in another state directory of the same job."""
    if what in ("manifest", "marker"):
        return (saved.folder / "chk-00000005" / path.name).read_bytes()
    if what in ("instance", "lock", "began"):
        return (elsewhere.folder / path.name).read_bytes()
    alike = [one for role, one in elsewhere.files().items() if role.split()[0] == what.split()[0]]
    different = [one for one in (*alike, *elsewhere.files().values()) if one.read_bytes() != path.read_bytes()]
    return different[0].read_bytes()


def _manifest_of(info: CheckpointInfo) -> Manifest:
    assert info.manifest is not None
    return info.manifest
