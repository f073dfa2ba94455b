"""The half of a keyed store that does not depend on where old state lies; the package's docstring has the theory.

```text
lookup -> slot -> cell --first change after a freeze--> dirty --freeze--> delta --pack--> frames --write_log--> log
                   ^                                                                                          |
                   +---- read: the replayed logs, then the base <-------------- fold -------------+
```
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from streamlet.clock import Clock
from streamlet.errors import CheckpointFailedError, KeyTypeError, StateTypeError
from streamlet.state.backends.key_notes import KeyNotes
from streamlet.state.declaration import StateDeclaration
from streamlet.state.encoding.codec import Codec, refused_value
from streamlet.state.encoding.key_groups import NO_STATE, namespace_of, state_of
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.handles import Handle, handle_of
from streamlet.state.log.delta import Delta
from streamlet.state.log.log_set import ClosedLog, LogSet
from streamlet.state.log.replayed import Replayed
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, Cell, Slot, content
from streamlet.state.memory.eviction import Eviction
from streamlet.state.memory.slot_table import SlotTable, slot_maker
from streamlet.state.memory.state_cells import StateCells
from streamlet.state.memory.timers import Timers
from streamlet.state.memory.undo import UndoLog, cells_in, timers_in
from streamlet.state.snapshot import LogRef, SnapshotFiles, StateSpec, StoreSnapshot
from streamlet.state.store import FoldJob


class LoggedStore:
    """Slots in memory over a base that a subclass reads. Bases are empty here: see `RocksDbKeyedStore`."""

    def __init__(
        self,
        name: str,
        subtask: int,
        *,
        key_groups: int,
        first_group: int,
        end_group: int,
        files: SnapshotFiles,
        work_dir: Path,
        memory_bytes: int,
        states: Sequence[StateDeclaration],
        clock: Clock,
        keys: KeyType | None = None,
    ) -> None:
        """`keys`: what the stores of all subtasks share, so that the type of a key is one in the whole job."""
        self.name, self.subtask = name, subtask
        self.key_groups, self.first_group, self.end_group = key_groups, first_group, end_group
        self.files, self.work_dir, self.memory_bound = files, work_dir, memory_bytes
        self.states = {state.spec.id: state for state in states}
        self.is_upgrading = any(state.convert is not None for state in states)
        self.clock = clock
        self.interval = 1
        self.folded_interval = 0
        self.rewritten_interval = 0
        self.dirty: list[Cell] = []
        self.current: Slot | None = None
        self.late_packs = 0
        self.cut = 0
        self.log_set = LogSet(files, f"{name}-{subtask}".replace("/", "_"))
        self.replayed = Replayed()
        self._keys = keys or KeyType(f"keyed state of {name!r}")
        self.notes = KeyNotes(self._keys, first_group)
        self._codecs = {id: Codec(one.type, where=one.spec.where, option=one.option) for id, one in self.states.items()}
        values = [state.spec.id for state in states if state.spec.kind == "value"]
        self._inline = values[0] if values else None
        self.undo_log: UndoLog | None = None
        self._inline_cells = self.value_cells(self.states[values[0]].spec) if values else None
        self._frozen: Delta | None = None
        self._timers: dict[int, Timers] = {}
        self._slots = SlotTable()
        self._make_slot = slot_maker(
            name,
            NO_STATE if self._inline is None else self._inline,
            key_groups=key_groups,
            groups=(first_group, end_group),
            unread_value=self.unread_value if values else lambda: ABSENT,
            remember=self.remember,
        )
        self.eviction = Eviction(self._slots, memory_bytes)
        self.gone, self.drop = self.eviction.gone, self.eviction.bury
        self._is_folding = False

    # -- looking up and reading ------------------------------------------------------------------------------

    def lookup(self, keys: Sequence[Any]) -> list[Slot]:
        """Gives the slot of each key; raises `KeyTypeError` with the row of the first that is no key of this stream."""
        key_type = self._keys
        try:
            if set(map(key_type.probe, keys)) != key_type.expected:
                key_type.check(keys)
            ring = self.eviction.ring
            known = len(ring)
            found = self._slots.look_up(keys, self._make_slot)
        except (KeyTypeError, OverflowError, ValueError, TypeError):
            key_type.check(keys)
            key_type.check_packable(keys)
            raise
        if len(ring) > known and self._inline_cells is not None:
            # Together, for one by one they take three times as long.
            self._inline_cells.load_all(list(islice(reversed(ring), len(ring) - known)))
        return found

    def value_cells(self, spec: StateSpec) -> StateCells:
        """Gives the cells of a declared state."""
        return cells_in(self, spec.id, self._codecs[spec.id], self.undo_log, inline=spec.id == self._inline)

    def handle(self, spec: StateSpec) -> Handle:
        """Gives the typed view of a declared state."""
        return handle_of(self, spec, self.states[spec.id].key_type)

    def length_cells(self, spec: StateSpec, type: Any) -> StateCells:
        """Gives the cells that say how long the lists of a state are, in the form of `type`."""
        return cells_in(self, spec.id, Codec(type, where=f"the length of {spec.where}"), self.undo_log, inline=False)

    def timers(self, spec: StateSpec) -> Timers:
        """Gives the timers of a declared state. Only once the store is open."""
        if spec.id not in self._timers:
            self._timers[spec.id] = timers_in(self, spec.id, self.undo_log)
        return self._timers[spec.id]

    def scan(self, cells: StateCells, slot: Slot) -> list[tuple[bytes, Any]]:
        """Gives what the cells of all namespaces of a key hold, in the order of their namespaces."""
        prefix = cells.prefix(slot)
        packed: dict[bytes, bytes | msgspec.Raw | None] = {}
        if self.unread_value() is NOT_LOADED:
            packed.update(self.scan_base(prefix))
            packed.update(self.replayed.scan(prefix))
        found = {stored: cells.codec.unpack(data) for stored, data in packed.items() if data is not None}
        for cell in cells.in_memory(slot):
            if cell.value is ABSENT:
                found.pop(cell.stored, None)
            elif cell.value is not NOT_LOADED:
                found[cell.stored] = content(cell)
        return [(namespace_of(stored), found[stored]) for stored in sorted(found)]

    def read(self, stored: Sequence[bytes]) -> Sequence[bytes | msgspec.Raw | None]:
        """Gives what is stored outside memory, still packed."""
        entries = self.replayed.entries
        if not entries:
            return self.read_base(stored)
        found: dict[bytes, bytes | msgspec.Raw | None] = {key: entries[key] for key in stored if key in entries}
        unknown = [key for key in stored if key not in found]
        if unknown:
            found.update(zip(unknown, self.read_base(unknown), strict=True))
        return [found[key] for key in stored]

    def range_stored(self, low: bytes, high: bytes, limit: int) -> tuple[list[bytes], bytes | None]:
        """The first entries outside memory from `low` to before `high`, of one state; and where to go on, None at the
        end. There may be fewer than `limit` before that, even none."""
        newer = self.replayed.range(low, high, limit)
        base = self.range_base(low, high, limit)
        ends = [max(found) + b"\0" for found in (newer, base) if len(found) >= limit]
        end = min(ends, default=None)
        keys = {*newer, *base}.difference(stored for stored, value in newer.items() if value is None)
        return sorted(stored for stored in keys if end is None or stored < end), end

    def buried_interval(self) -> int:
        """Tombstones of this interval or before are needed no more in memory."""
        return max(self.folded_interval, self.rewritten_interval)

    def unstore(self, stored: bytes) -> None:
        """Says that a tombstone leaves memory: what was restored must not show through."""
        if stored in self.replayed.entries:
            self.replayed.entries[stored] = None

    def decode_key(self, packed: bytes) -> Any:
        """The key of its packed bytes."""
        return self._keys.decode(packed)

    def unread_value(self) -> Any:
        """What a new cell holds."""
        return ABSENT if self.is_base_empty() and not self.replayed.entries else NOT_LOADED

    def remember(self, cell: Cell) -> None:
        """Counts a cell that came into memory."""
        self.eviction.ring.append(cell)

    # -- the base, for subclasses ------------------------------------------------------------------------------

    def is_base_empty(self) -> bool:
        """True when nothing can be read from the base."""
        return True

    def read_base(self, stored: Sequence[bytes]) -> Sequence[bytes | None]:
        """Gives what the base has."""
        return [None] * len(stored)

    def scan_base(self, prefix: bytes) -> dict[bytes, bytes]:
        """Gives the entries of the base whose stored key begins with `prefix`."""
        return {}

    def range_base(self, low: bytes, high: bytes, limit: int) -> list[bytes]:
        """Gives the first stored keys of the base from `low` to before `high`."""
        return []

    # -- freezing, packing, writing ------------------------------------------------------------------------------

    def freeze(self, checkpoint_id: int) -> None:
        """Cuts: all changes until now belong to this checkpoint. See `KeyedStore.freeze` for how long it takes."""
        if checkpoint_id <= self.cut:
            raise CheckpointFailedError(f"{self.name}: checkpoint {checkpoint_id} comes after checkpoint {self.cut}")
        if self._frozen is not None:
            self.late_packs += 1
            self._pack(None, 0.0)
        if self.is_rewrite_due():
            self._frozen = Delta(checkpoint_id, self.interval, self._everything(), self._refused, self.replayed.entries)
        else:
            self.dirty += self.notes.news(self.interval)
            self._frozen = Delta(checkpoint_id, self.interval, self.dirty, self._refused)
        self.cut = checkpoint_id
        self.dirty = []
        self.interval += 1

    @property
    def is_packing(self) -> bool:
        """True while frozen cells are in no frame yet."""
        return self._frozen is not None

    def pack(self, budget_seconds: float) -> bool:
        """Packs a slice of what was frozen; True when all is packed."""
        return self._pack(self.clock, budget_seconds)

    def write_log(self) -> LogRef | None:
        """BLOCKING. Makes what is packed durable; None when nothing changed. What fails stays for the next call."""
        return self.log_set.write()

    def snapshot(self, checkpoint_id: int) -> StoreSnapshot:
        """Says what this checkpoint names; raises `CheckpointFailedError` when its changes are not durable yet."""
        if self._frozen is not None and self._frozen.cut <= checkpoint_id:
            raise CheckpointFailedError(f"{self.name}: checkpoint {checkpoint_id} is not packed yet")
        book = self.log_set
        if book.rewritten_interval > self.rewritten_interval:
            self.rewritten_interval = book.rewritten_interval
            self.became_clean()
        groups, logs = (self.first_group, self.end_group), book.named_by(checkpoint_id)
        return StoreSnapshot(
            self.name, self.subtask, *groups, checkpoint_id, book.base_cut, book.base, logs, tuple(self.states)
        )

    def is_rewrite_due(self) -> bool:
        """True when the next freeze takes everything, so that no older log is needed: there is much in logs, no base,
        and little enough in memory."""
        if self._is_folding or not self.is_base_empty() or self.eviction.is_nearly_full:
            return False
        cells = len(self.eviction.ring) + sum(map(len, self._timers.values()))
        return self.log_set.is_rewrite_due(self.memory_bound, cells, len(self.replayed.entries))

    def fold_due(self) -> bool:
        """True when there is so much in logs that a fold is worth it, and a rewrite is not the way."""
        if self.log_set.is_fold_due(self.memory_bound):
            return not self.is_rewrite_due()
        return self.eviction.is_nearly_full and self.log_set.entries() >= self.eviction.room_cells() // 3

    def begin_fold(self) -> FoldJob | None:
        """Describes a fold of all closed logs; None when there are none, or when everything is on its way into one."""
        is_rewriting = self.log_set.is_rewriting or (self._frozen is not None and self._frozen.is_whole)
        job = None if is_rewriting else self.fold_of(list(self.log_set.closed))
        # What is written as a whole meanwhile would stand on a base of older logs, and not tell what was deleted.
        self._is_folding = job is not None
        return job

    def fold_of(self, closed: Sequence[ClosedLog]) -> FoldJob | None:
        """Describes a fold of these logs, for subclasses."""
        raise NotImplementedError

    def adopt_fold(self, job: FoldJob) -> None:
        """Lets checkpoints name what a fold made; subclasses do so first."""
        self._is_folding = False
        self.became_clean()

    def abandon_fold(self, job: FoldJob) -> None:
        """Gives a fold up, at any time before `adopt_fold`: nothing is lost."""
        self._is_folding = False
        self.files.disk.remove(job.out)

    # -- memory ----------------------------------------------------------------------------------------------------

    @property
    def keys_in_memory(self) -> int:
        """How many keys have a slot."""
        return len(self._slots)

    @property
    def evictions(self) -> int:
        """How many cells have left memory."""
        return self.eviction.evicted

    @property
    def log_bytes_written(self) -> int:
        """Bytes of all logs written in this attempt."""
        return self.log_set.bytes_written

    def memory_bytes(self) -> int:
        """Estimates the memory in use, RocksDB's cache included."""
        timers = sum(timers.memory_bytes() for timers in self._timers.values())
        self.eviction.other_bytes = (
            self.replayed.memory_bytes() + self.log_set.unwritten_bytes() + self.cache_bytes() + timers
        )
        return self.eviction.memory_bytes()

    def cache_bytes(self) -> int:
        """What the base may take for its caches."""
        return 0

    def evict(self, budget_seconds: float) -> int:
        """Drops clean cells while over the bound; only between two batches, since a batch holds slots."""
        self.current = None
        self.eviction.tidy(self.buried_interval(), self.unstore, self.clock, budget_seconds)
        self.memory_bytes()
        deadline = self.clock.monotonic() + budget_seconds
        dropped = self.eviction.evict(self.folded_interval, self.clock, budget_seconds)
        for timers in self._timers.values():
            while self.eviction.is_over_bound and not timers.is_exhausted and self.clock.monotonic() < deadline:
                dropped += timers.evict_some()
                self.memory_bytes()
        return dropped

    @property
    def is_at_rest(self) -> bool:
        """True when nothing is to be done for memory: neither `can_evict` nor `needs_fold_to_evict`."""
        return self.eviction.is_at_rest

    def can_evict(self) -> bool:
        """True when `evict` may find something to drop: memory is over its bound, or holds cells that are gone."""
        eviction = self.eviction
        return eviction.has_litter(self.buried_interval()) or (eviction.is_over_bound and not self._is_exhausted())

    def wants_checkpoint(self) -> bool:
        """True when memory is nearly full, and half of it or more is changes that are in no base."""
        return self.eviction.is_nearly_full and self._unfolded() >= self.eviction.room_cells() // 2

    def needs_fold_to_evict(self) -> bool:
        """True when memory is over its bound and nothing is clean: checkpoint, fold, and hold the source back."""
        return self.eviction.is_over_bound and self._is_exhausted() and self._unfolded() > 0

    def became_clean(self) -> None:
        """Says that a fold was adopted, or everything written anew: what memory holds may be dropped now."""
        self.eviction.look_again()
        for timers in self._timers.values():
            timers.look_again()

    def close(self) -> None:
        """Ends the work; what is in memory stays there for `let_go`."""
        self._timers.clear()
        self.current = None
        self._frozen, self.dirty = None, []
        self.replayed = Replayed()

    def let_go(self) -> bool:
        """Lets go of a piece of memory; True while there is more."""
        return self.eviction.let_go()

    # -- inside ------------------------------------------------------------------------------------------------------

    def replay(self, restored: StoreSnapshot) -> None:
        """Reads the logs of a snapshot, and names them from now on. Blocks."""
        self.replayed.replay(self.files.disk, [self.files.path(log.file) for log in restored.logs])
        scanned = [id for id, state in self.states.items() if state.spec.kind in ("map", "entries", "timers")]
        self.replayed.order(scanned)
        self.log_set.restore(restored.base_cut, restored.base, restored.logs)
        self.cut = restored.cut

    def _everything(self) -> list[Cell]:
        """All cells that are in memory."""
        timers = [cell for one in self._timers.values() for cell in one.cells()]
        return [*self.eviction.cells(), *timers, *self.notes.all(self.interval)]

    def _is_exhausted(self) -> bool:
        return self.eviction.is_exhausted and all(timers.is_exhausted for timers in self._timers.values())

    def _unfolded(self) -> int:
        """How many changes are in no base yet; a key that changed in several intervals counts several times."""
        frozen = 0 if self._frozen is None else self._frozen.left + self._frozen.entries
        return len(self.dirty) + frozen + self.log_set.entries()

    def _pack(self, clock: Clock | None, budget_seconds: float) -> bool:
        frozen = self._frozen
        if frozen is None:
            return True
        if not frozen.pack(clock, budget_seconds):
            return False
        self.log_set.add(frozen)
        self._frozen = None
        return True

    def _refused(self, cell: Cell, value: object, error: Exception) -> StateTypeError:
        return refused_value(self.states[state_of(cell.stored)].spec.where, cell.key, value, error)
