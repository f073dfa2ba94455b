"""The stored entries of one state of a checkpoint, in order and in bounded memory.

Each store of a checkpoint is a RocksDB base and logs over it: the last word on a stored key is that of the newest log
that has it, a tombstone included, else that of the base, which is read as a stream.  Logs that are too large to be
merged in memory are brought, sorted piece by piece, into a copy of the base in a temporary folder.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path

import msgspec

from streamlet.errors import CheckpointDamagedError, CheckpointError
from streamlet.machine.disk import LocalDisk
from streamlet.machine.held_files import HeldFiles
from streamlet.state.backends.folding import PART_BYTES, PART_ENTRIES, merge_logs
from streamlet.state.backends.rocksdb_database import RocksBase, write_sst
from streamlet.state.encoding.key_groups import META_STATE, stored_key
from streamlet.state.encoding.key_type import KEY_TYPE_NOTE
from streamlet.state.log.file import read_header, read_log
from streamlet.state.snapshot import StoreSnapshot

Entry = tuple[bytes, bytes]

_CACHE_BYTES = 8 << 20


class StoredEntries:
    """What one store of a checkpoint holds. Files are opened when it is made, the base when it is first read."""

    def __init__(self, snapshot: StoreSnapshot, files: Path, held: HeldFiles, number: int) -> None:
        """`number` is one that no other store has which shares `held`."""
        self.snapshot = snapshot
        self._held = held
        self._files = files.absolute()
        self._folder = f"base-{number}"
        self._base: RocksBase | None = None
        self._whole: RocksBase | None = None
        self._logs = [held.hold(files / log.file.name) for log in snapshot.logs]
        self._tables = [(ref.role, held.hold(files / ref.name)) for ref in snapshot.base]
        base = held.folder / self._folder
        self._names = {str(base): str(self._files)}
        self._names |= {str(base / ref.role): str(self._files / ref.name) for ref in snapshot.base}
        self._names |= {
            str(path): str(self._files / log.file.name) for path, log in zip(self._logs, snapshot.logs, strict=True)
        }
        self._merged: tuple[int, dict[bytes, bytes | None]] | None = None

    def holds(self, state_id: int) -> bool:
        """True when the store has this state."""
        return state_id in self.snapshot.states

    def has_group(self, group: int) -> bool:
        """True when the store has the keys of a key group."""
        return self.snapshot.first_group <= group < self.snapshot.end_group

    def of_state(self, state_id: int) -> Iterator[Entry]:
        """Gives the entries of a state, in the order of their stored keys."""
        with self._told_by_own_names():
            yield from self._of_state(state_id)

    def _of_state(self, state_id: int) -> Iterator[Entry]:
        first, end = self.snapshot.first_group, self.snapshot.end_group
        prefixes = [stored_key(group, state_id, b"")[:4] for group in range(first, end)]
        if self._is_large():
            return chain.from_iterable(map(self._with_logs().scan, prefixes))
        logged = merge_logs(LocalDisk(), self._logs, first, end)
        own = prefixes[0][2:]
        return self._together(prefixes, {key: value for key, value in logged.items() if key[2:4] == own})

    def with_prefix(self, prefix: bytes) -> list[Entry]:
        """Gives the entries whose stored key begins with a prefix, which is one of a single key group."""
        group = int.from_bytes(prefix[:2], "big")
        with self._told_by_own_names():
            if self._merged is None or self._merged[0] != group:
                self._merged = (group, merge_logs(LocalDisk(), self._logs, group, group + 1))
            logged = {key: value for key, value in self._merged[1].items() if key.startswith(prefix)}
            return list(self._together([prefix], logged))

    def key_type(self) -> str:
        """Gives the shape of the keys as the store notes it; empty while there was none."""
        place = stored_key(self.snapshot.first_group, META_STATE, KEY_TYPE_NOTE)
        noted = [value for key, value in self.with_prefix(place) if key == place]
        return msgspec.msgpack.decode(noted[0], type=str) if noted else ""

    def close(self) -> None:
        """Lets go of the base."""
        for base in (self._base, self._whole):
            if base is not None:
                base.close()
        self._base = self._whole = None

    @contextmanager
    def _told_by_own_names(self) -> Iterator[None]:
        """Has errors name the checkpoint's files, not the names under which they are held here."""
        try:
            yield
        except CheckpointError as error:
            text = error.message
            for held, name in sorted(self._names.items(), reverse=True):  # of /fd/1 and /fd/10 the longer one first
                text = text.replace(held, name)
            raise type(error)(text, remedy=error.remedy) from error

    def _together(self, prefixes: Sequence[bytes], logged: dict[bytes, bytes | None]) -> Iterator[Entry]:
        """The entries below some prefixes, in order; `logged` is what the logs say of them."""
        newer = [(key, value) for key, value in sorted(logged.items()) if value is not None]
        if not self._tables:
            return iter(newer)
        base = self._opened()
        older = chain.from_iterable(map(base.scan, prefixes))
        return heapq.merge(newer, (entry for entry in older if entry[0] not in logged)) if logged else older

    def _is_large(self) -> bool:
        """True for logs that are not to be merged in memory."""
        headers = [read_header(LocalDisk(), path) for path in self._logs]
        return sum(one.entries for one in headers) > PART_ENTRIES or sum(one.raw_bytes for one in headers) > PART_BYTES

    def _with_logs(self) -> RocksBase:
        """A copy of the base that has the logs, too."""
        if self._whole is None:
            folder = self._placed(f"{self._folder}-whole")
            self._whole = RocksBase(folder, _CACHE_BYTES, create=not self._tables)
            piece, size = dict[bytes, bytes | None](), 0
            for log in self._logs:
                for keys, values, deletes in read_log(LocalDisk(), log):
                    packed = list(map(bytes, values))
                    piece.update(zip(keys, packed, strict=True))
                    piece.update(dict.fromkeys(deletes))
                    size += sum(map(len, packed))
                    if len(piece) >= PART_ENTRIES or size >= PART_BYTES:
                        self._take(self._whole, piece)
                        piece, size = {}, 0
            self._take(self._whole, piece)
        return self._whole

    def _take(self, whole: RocksBase, piece: dict[bytes, bytes | None]) -> None:
        out = self._held.folder / f"{self._folder}.sst"
        if write_sst(out, iter(sorted(piece.items()))):
            whole.ingest(out)

    def _placed(self, name: str) -> Path:
        """A folder in which the base's files have the names that RocksDB knows."""
        for role, held in self._tables:
            put = self._held.name if role.endswith(".sst") else self._held.copy
            put(held, name, role)
        return self._held.folder / name

    def _opened(self) -> RocksBase:
        if self._base is None:
            self._base = RocksBase.read_only(self._placed(self._folder), _CACHE_BYTES)
        return self._base


def entries_of(stores: Sequence[StoredEntries], state_id: int) -> Iterator[Entry]:
    """Gives the entries of a state from all stores that have it, those of low key groups first."""
    of_state = sorted((one for one in stores if one.holds(state_id)), key=lambda one: one.snapshot.first_group)
    for one, other in pairwise(of_state):
        if one.snapshot.end_group > other.snapshot.first_group:
            raise CheckpointDamagedError(
                f"two stores of the checkpoint hold state {state_id} of key group {other.snapshot.first_group}: "
                f"{one.snapshot.store!r} and {other.snapshot.store!r}",
                remedy="the manifest names stores that do not belong together: take another checkpoint",
            )
    for store in of_state:
        yield from store.of_state(state_id)
