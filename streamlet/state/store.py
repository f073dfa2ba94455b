"""The contract of keyed state: slots in memory, changes in logs, folds into a base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from streamlet.state.handles import Handle
from streamlet.state.memory.cells import Cell, Slot
from streamlet.state.memory.state_cells import StateCells
from streamlet.state.memory.timers import Timers
from streamlet.state.memory.undo import UndoLog
from streamlet.state.snapshot import FileRef, LogRef, StateSpec, StoreSnapshot


class FoldJob(msgspec.Struct):
    """A fold under way: which logs become one file. It reads nothing but these."""

    cut: int
    logs: tuple[Path, ...]
    out: Path
    arguments: tuple[str, ...] = ()
    """Those of `folding.MODULE`, which does the work in a process of its own; exit code 0 means that `out` is there.
    Empty when there is nothing to run: `finish_fold` does it all."""
    base: tuple[FileRef, ...] | None = None
    """Set by `finish_fold`."""
    merged: LogRef | None = None
    """Set by `finish_fold` of a store that folds logs into a log."""


class KeyedStore(Protocol):
    """Keyed state of one subtask. Calls marked BLOCKING run in a thread; all others are short, on the loop's thread.

    Exactly one thread at a time makes BLOCKING calls of one kind; short calls may come beside them.
    """

    name: str
    subtask: int
    interval: int
    """Number of the interval between two freezes; read it anew after each freeze, as also `dirty`."""
    dirty: list[Cell]
    current: Slot | None
    undo_log: UndoLog | None
    """Set while an operator binds cells, handles and timers whose changes it wants to undo."""
    late_packs: int
    """How many freezes found the one before unpacked and packed it on the spot."""

    @property
    def is_packing(self) -> bool:
        """True while frozen cells are in no frame yet: only then does a cell keep the value before its first change,
        for letting go of one later costs more than letting go of it at once, while it is in the processor's cache."""
        ...

    def open(self, restored: Sequence[StoreSnapshot] = ()) -> None:
        """BLOCKING. Starts from nothing, or from what the snapshots hold for this store's key groups and states."""
        ...

    def lookup(self, keys: Sequence[Any]) -> list[Slot]:
        """Gives the slot of each key; raises `KeyTypeError` with the row of the first that is no key of this stream."""
        ...

    def value_cells(self, spec: StateSpec) -> StateCells:
        """Gives the cells of a declared state."""
        ...

    def handle(self, spec: StateSpec) -> Handle:
        """Gives the typed view of a declared state."""
        ...

    def length_cells(self, spec: StateSpec, type: Any) -> StateCells:
        """Gives the cells that say how long the lists of a state are, in the form of `type`."""
        ...

    def timers(self, spec: StateSpec) -> Timers:
        """Gives the timers of a declared state. Only once the store is open."""
        ...

    def scan(self, cells: StateCells, slot: Slot) -> list[tuple[bytes, Any]]:
        """Gives what the cells of all namespaces of a key hold, in the order of their namespaces."""
        ...

    def freeze(self, checkpoint_id: int) -> None:
        """Cuts: all changes until now belong to this checkpoint. Microseconds, if `pack` finished the cut before;
        up to 5 ms where a small state is written anew (see `LogSet.is_rewrite_due`)."""
        ...

    def pack(self, budget_seconds: float) -> bool:
        """Packs a slice of what was frozen; True when all is packed."""
        ...

    def write_log(self) -> LogRef | None:
        """BLOCKING. Makes what is packed durable; None when nothing changed. What fails stays for the next call."""
        ...

    def snapshot(self, checkpoint_id: int) -> StoreSnapshot:
        """Says what this checkpoint names; raises `CheckpointFailedError` when its changes are not durable yet."""
        ...

    def fold_due(self) -> bool:
        """True when there is so much in logs that a fold is worth it."""
        ...

    def begin_fold(self) -> FoldJob | None:
        """Describes a fold of all closed logs; None when there are none, or when everything is on its way into one."""
        ...

    def finish_fold(self, job: FoldJob) -> None:
        """BLOCKING. Takes the folded file in and keeps the new base. Nothing names it before `adopt_fold`."""
        ...

    def adopt_fold(self, job: FoldJob) -> None:
        """Lets checkpoints name the new base; cells up to its cut become clean."""
        ...

    def abandon_fold(self, job: FoldJob) -> None:
        """Gives a fold up, at any time before `adopt_fold`: nothing is lost."""
        ...

    @property
    def evictions(self) -> int:
        """How many cells have left memory while they held a value: while it is the same, a cell that was looked up is
        still the one."""
        ...

    @property
    def keys_in_memory(self) -> int:
        """How many keys have a slot."""
        ...

    def memory_bytes(self) -> int:
        """Estimates the memory in use, RocksDB's cache included."""
        ...

    def cache_bytes(self) -> int:
        """What of `memory_bytes` the caches of the base may take."""
        ...

    def evict(self, budget_seconds: float) -> int:
        """Drops cells that are gone, and clean ones while over the bound; only between two batches, since a batch holds
        slots.  Gives how many clean ones it dropped."""
        ...

    @property
    def is_at_rest(self) -> bool:
        """True when nothing is to be done for memory: neither `can_evict` nor `needs_fold_to_evict`."""
        ...

    def can_evict(self) -> bool:
        """True when `evict` may find something to drop: memory is over its bound, or holds cells that are gone."""
        ...

    def wants_checkpoint(self) -> bool:
        """True when so much of the memory is changes that a checkpoint and a fold should free some of it soon."""
        ...

    def needs_fold_to_evict(self) -> bool:
        """True when memory is over its bound and nothing is clean: checkpoint, fold, and hold the source back."""
        ...

    def close(self) -> None:
        """BLOCKING. Lets go of files. May be called twice."""
        ...

    def let_go(self) -> bool:
        """Lets go of a piece of a closed store's memory, for a million keys in one go stop the event loop; True while
        there is more."""
        ...
