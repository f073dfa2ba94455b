"""What a store says about its part of a checkpoint: plain data, named files, no behaviour."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import msgspec

from streamlet.ports import Disk
from streamlet.state.evolution.schema import Schema


class FileRef(msgspec.Struct, frozen=True):
    """An immutable file of a checkpoint. Its name says its content, so the same content is kept once."""

    name: str
    """Name in the `files` folder: the checksum and a suffix."""
    size: int
    checksum: str
    """BLAKE2b, 16 bytes, hex, of the whole file."""
    role: str
    """What it is for its store: the file's name in the working RocksDB (`000012.sst`, `CURRENT`), or `log`."""


class LogRef(msgspec.Struct, frozen=True):
    """One closed delta log: everything that changed between the freeze before and the freeze of checkpoint `cut`."""

    cut: int
    entries: int
    file: FileRef


class KeyedStates(Protocol):
    """The part of a job's keyed state that one store has."""

    first_group: int
    end_group: int
    is_upgrading: bool
    """True while values of an earlier type are made ones of the declared type."""

    @property
    def states(self) -> Collection[int]:
        """Ids of its states."""
        ...


class StoreSnapshot(msgspec.Struct, frozen=True):
    """State of one store (one subtask of one task) at checkpoint `cut`: the base, then the logs in this order."""

    store: str
    subtask: int
    first_group: int
    end_group: int
    """First key group that is not in it."""
    cut: int
    base_cut: int
    """The cut that the base stands for; 0 for an empty base."""
    base: tuple[FileRef, ...]
    logs: tuple[LogRef, ...]
    states: tuple[int, ...] = ()
    """Ids of the states that it holds: by them the stores of a later plan find it.  Whatever else may be in its files
    must never be read."""

    def is_of(self, store: KeyedStates) -> bool:
        """True when it is the part of just these key groups and states, with values as they are declared: then its
        files can be taken over as they are.  With other states in them they would bring back, one day, what is over."""
        same_groups = (self.first_group, self.end_group) == (store.first_group, store.end_group)
        return same_groups and not store.is_upgrading and (not self.states or set(self.states) == set(store.states))

    def files(self) -> list[FileRef]:
        """Every file that this snapshot needs."""
        return [*self.base, *(log.file for log in self.logs)]


class StateSpec(msgspec.Struct, frozen=True):
    """One declared state of one operator, and the id that stands for it in every stored key."""

    id: int
    uid: str
    name: str
    kind: str
    """`value`, `list`, `map`, `windows` or `timers`."""
    type: str
    """The declared type as text: compared at restore."""
    key_type: str = ""
    """For a map: the declared type of its keys."""
    made_by: str = ""
    """The functions whose accumulators it holds, in the order of their parts, or by name in parentheses: types alone do
    not tell a sum from a count, nor one sum from another."""

    schema: Schema | None = None
    """What a value of it is; None in checkpoints of the first format."""
    key_schema: Schema | None = None
    """For a map: what its keys are."""
    settings: dict[str, Any] = {}
    """What else decides what the values mean, such as the size of windows."""

    @property
    def where(self) -> str:
        """The state, for messages."""
        return f"{self.kind} state {self.name!r} of {self.uid!r}"


class SnapshotFiles(Protocol):
    """Where a store puts files that a checkpoint may name. All calls block: run them off the loop."""

    disk: Disk
    """Where all of it lies."""

    def scratch(self) -> Path:
        """A folder of this attempt, on the same file system, for files in the making."""
        ...

    def keep(self, path: Path, role: str, *, suffix: str) -> FileRef:
        """Makes the finished file durable under its content's name (hard link where possible; `path` itself stays)
        and gives the reference.  The same content again is free."""
        ...

    def path(self, ref: FileRef) -> Path:
        """Where the content of `ref` lies. Never open it for writing; link or copy it."""
        ...
