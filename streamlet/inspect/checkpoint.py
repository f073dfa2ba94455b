"""A checkpoint seen from outside the job: its operators, their states, and what is in them. Nothing is written."""

from __future__ import annotations

import difflib
import weakref
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import msgspec

from streamlet.checkpoint.finding import find_checkpoint
from streamlet.checkpoint.layout import FILES
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.errors import CheckpointDamagedError, ConfigError, StateTypeError
from streamlet.inspect.entries import StoredEntries, entries_of
from streamlet.inspect.plain_keys import parse_key
from streamlet.inspect.plain_types import ANY, PlainType, parse_all
from streamlet.inspect.plain_values import PlainValues
from streamlet.inspect.rows import Row, StateRows
from streamlet.machine.disk import LocalDisk
from streamlet.machine.held_files import HeldFiles
from streamlet.state.snapshot import StateSpec

SNAPSHOT = "@snapshot"
"""The name of what an operator keeps beside its keyed states and tables, such as calls in flight."""


class StateView:
    """One state, as plain data. Iterating gives its keys; memory does not grow with the state.

    What has a time to live is there until the job frees it, which may be a little after it is over.
    """

    uid: str
    name: str
    kind: str
    type: str

    def rows(self) -> Iterator[Row]:
        """Gives one dict for each entry; see `streamlet.inspect.rows` for what is in them."""
        raise NotImplementedError

    def for_json(self, row: Row) -> Row:
        """Gives a row as JSON can hold it."""
        return row

    def columns(self) -> dict[str, PlainType]:
        """Gives the names and types of what `rows` may have."""
        return {"key": ANY, "value": ANY}

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Gives each key and what is there for it: a value, a list, a dict, or a list of rows (windows, joins,
        timers).  Rows of one key come together, but for timers, which come in the order of time."""
        for key, rows in groupby(self.rows(), key=lambda row: row["key"]):
            yield key, self._together(list(rows))

    def __iter__(self) -> Iterator[Any]:
        for key, _ in groupby(row["key"] for row in self.rows()):
            yield key

    def get(self, key: Any, default: Any = None) -> Any:
        """Gives what is there for a key: as `items`."""
        rows = self.rows_of(key)
        return self._together(rows) if rows else default

    def __getitem__(self, key: Any) -> Any:
        rows = self.rows_of(key)
        if not rows:
            raise ConfigError(f"state {self.name!r} of {self.uid!r} has no key {key!r:.80}")
        return self._together(rows)

    def __contains__(self, key: object) -> bool:
        return bool(self.rows_of(key))

    def rows_of(self, key: Any) -> list[Row]:
        """Gives the rows of one key."""
        return [row for row in self.rows() if row["key"] == key]

    def _together(self, rows: list[Row]) -> Any:
        return rows[0]["value"]


class KeyedView(StateView):
    """A keyed state."""

    def __init__(self, spec: StateSpec, stores: list[StoredEntries], rows: StateRows) -> None:
        self.uid, self.name, self.kind, self.type = spec.uid, spec.name, spec.kind, spec.type
        self.spec = spec
        self.stores = stores
        self.layout = rows

    def rows(self) -> Iterator[Row]:
        return self._shown(entries_of(self.stores, self.spec.id))

    def for_json(self, row: Row) -> Row:
        return self.layout.for_json(row)

    def columns(self) -> dict[str, PlainType]:
        return self.layout.columns()

    def rows_of(self, key: Any) -> list[Row]:
        if self.kind == "timers":
            return super().rows_of(key)
        prefix = self.layout.prefix(key)
        group = int.from_bytes(prefix[:2], "big")
        stores = [one for one in self.stores if one.has_group(group)]
        return list(self._shown(entry for store in stores for entry in store.with_prefix(prefix)))

    def _shown(self, entries: Iterator[tuple[bytes, bytes]]) -> Iterator[Row]:
        row = self.layout.row
        return (found for stored, value in entries if (found := row(stored, value)) is not None)

    def _together(self, rows: list[Row]) -> Any:
        if self.kind == "value":
            return rows[0]["value"]
        if self.kind == "list":
            return [row["value"] for row in rows]
        if self.kind != "map":
            return [{name: value for name, value in row.items() if name != "key"} for row in rows]
        try:
            return {row["map_key"]: row["value"] for row in rows}
        except TypeError:  # keys of a class are dicts here
            return [(row["map_key"], row["value"]) for row in rows]


class TableView(StateView):
    """A broadcast table, or that of a lookup join: every subtask has it whole."""

    kind = "broadcast"

    def __init__(self, uid: str, name: str, snapshot: dict[str, Any]) -> None:
        self.uid, self.name, self.type = uid, name, str(snapshot["types"])
        types = parse_all(self.type)
        key, value = types if len(types) == 2 else (ANY, ANY)
        self._keys, self._values = PlainValues(key), PlainValues(value)
        self._packed = snapshot["entries"]

    def rows(self) -> Iterator[Row]:
        for key, value in self.packed():
            yield {"key": self._keys.read(key), "value": self._values.read(value)}

    def packed(self) -> list[tuple[bytes, bytes]]:
        """Gives all keys and values as they are stored, in their order."""
        return msgspec.msgpack.decode(self._packed, type=list[tuple[bytes, bytes]])

    def entry(self, row: Row) -> tuple[bytes, bytes]:
        """Gives the stored key and value of a row; raises `StateTypeError` for one that is none of this table."""
        where = f"broadcast state {self.name!r} of {self.uid!r}"
        if not isinstance(row, dict) or "key" not in row:
            raise StateTypeError(f"{where}: a row has no key", remedy='write rows such as {"key": ..., "value": ...}')
        key = self._keys.write(row["key"], f"{where}, a key")
        return key, b"" if row.get("deleted") else self._values.write(row.get("value"), f"{where}, key {row['key']!r}")

    def for_json(self, row: Row) -> Row:
        return {"key": self._keys.for_json(row["key"]), "value": self._values.for_json(row["value"])}

    def columns(self) -> dict[str, PlainType]:
        return {"key": self._keys.type, "value": self._values.type}


class SnapshotView(StateView):
    """What an operator keeps beside its states, subtask by subtask, as it lies there."""

    kind = "snapshot"
    type = "Any"

    def __init__(self, uid: str, snapshots: dict[int, Any]) -> None:
        self.uid, self.name = uid, SNAPSHOT
        self._snapshots = snapshots
        self._values = PlainValues(ANY)

    def rows(self) -> Iterator[Row]:
        return ({"key": subtask, "value": value} for subtask, value in sorted(self._snapshots.items()))

    def for_json(self, row: Row) -> Row:
        return {"key": row["key"], "value": self._values.for_json(row["value"])}


class OperatorView:
    """The states of one operator, by name."""

    def __init__(self, uid: str, states: dict[str, Callable[[], StateView]]) -> None:
        self.uid = uid
        self._states = states

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __contains__(self, name: object) -> bool:
        return name in self._states

    def __getitem__(self, name: str) -> StateView:
        if name not in self._states:
            raise ConfigError(f"operator {self.uid!r} has no state {name!r}", remedy=nearest(name, self._states))
        return self._states[name]()


class CheckpointView:
    """A checkpoint that is open for reading: `checkpoint["uid"]["state"]`.

    Its files are held open, so the job may run and remove it meanwhile.  Close it, or use it in a `with`.
    """

    def __init__(self, info: CheckpointInfo) -> None:
        assert info.manifest is not None, "only what can be read is opened"
        self.info = info
        self.path: Path = info.path
        self.manifest: Manifest = info.manifest
        self.is_committed = info.is_marked
        self._held = HeldFiles()
        self._stores: list[StoredEntries] = []
        self._closing = weakref.finalize(self, _close, self._stores, self._held)
        files = info.path.parent / FILES
        try:
            for number, store in enumerate(self.manifest.stores):
                self._stores.append(StoredEntries(store, files, self._held, number))
        except OSError as error:
            self.close()
            raise CheckpointDamagedError(
                f"{info.path} cannot be read: {error.filename}: {error.strerror}",
                remedy="if its job runs, it may have removed this checkpoint just now: open `latest` again; else see "
                "what is damaged with `streamlet checkpoints verify`",
            ) from error
        self._operators = self._found_operators()

    def __iter__(self) -> Iterator[str]:
        return iter(self._operators)

    def __contains__(self, uid: object) -> bool:
        return uid in self._operators

    def __getitem__(self, uid: str) -> OperatorView:
        if uid not in self._operators:
            raise ConfigError(
                f"checkpoint {self.manifest.checkpoint_id} has no state of an operator {uid!r}",
                remedy=nearest(uid, self._operators),
            )
        return OperatorView(uid, self._operators[uid])

    def states(self) -> Iterator[StateView]:
        """Gives all states, operator by operator."""
        for uid in self:
            for name in self[uid]:
                yield self[uid][name]

    def close(self) -> None:
        """Lets go of all files. May be called twice."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found_operators(self) -> dict[str, dict[str, Callable[[], StateView]]]:
        found: dict[str, dict[str, Callable[[], StateView]]] = {}
        for spec in self.manifest.states:
            found.setdefault(spec.uid, {})[spec.name] = lambda spec=spec: self._keyed(spec)  # type: ignore[misc]
        for uid, snapshots in snapshots_of(self.manifest).items():
            states = found.setdefault(uid, {})
            rest: dict[int, Any] = {}
            for subtask, snapshot in snapshots.items():
                tables = snapshot if isinstance(snapshot, dict) else {}
                named = {name: one for name, one in tables.items() if is_table(one)}
                for name, one in named.items():
                    states[name] = lambda uid=uid, name=name, one=one: TableView(uid, name, one)  # type: ignore[misc]
                if not named or len(named) < len(tables):
                    rest[subtask] = {name: one for name, one in tables.items() if name not in named} or snapshot
            if rest:
                states[SNAPSHOT] = lambda uid=uid, rest=rest: SnapshotView(uid, rest)  # type: ignore[misc]
        return found

    def _keyed(self, spec: StateSpec) -> KeyedView:
        stores = [store for store in self._stores if store.holds(spec.id)]
        noted = next(filter(None, (store.key_type() for store in stores)), "")
        others = [one.name for one in self.manifest.states if one.uid == spec.uid]
        keys = PlainValues(parse_key(noted) if noted else ANY)
        return KeyedView(spec, stores, StateRows(spec, others, keys, self.manifest.key_groups))


def open_checkpoint(path: str | Path) -> CheckpointView:
    """Opens a checkpoint or a savepoint by its path, for reading; the job may run.

    `path` is its folder, `<state dir>/<job>/chk-00000042`, or that of a savepoint, or of a job: then it is the newest.
    Raises `CheckpointError` for a path that is none of these, and `CheckpointDamagedError` for damaged files.

    >>> with open_checkpoint("streamlet-state/spend") as checkpoint:     # doctest: +SKIP
    ...     for user, total in checkpoint["spend"]["state"].items():
    ...         print(user, total)
    """
    return CheckpointView(find_checkpoint(LocalDisk(), Path(path)))


def snapshots_of(manifest: Manifest) -> dict[str, dict[int, Any]]:
    """Gives what operators keep beside their keyed states, by uid and subtask, without what the engine notes itself."""
    found: dict[str, dict[int, Any]] = {}
    for key, snapshot in manifest.operators.items():
        uid, _, subtask = key.rpartition("/")
        if "@" not in uid and subtask.isdecimal():
            found.setdefault(uid, {})[int(subtask)] = snapshot
    return found


def is_table(snapshot: Any) -> bool:
    """True for the snapshot of a broadcast table."""
    return isinstance(snapshot, dict) and snapshot.keys() >= {"types", "entries"}


def nearest(name: str, known: Collection[str]) -> str:
    """Gives a remedy for a name that is not known: the nearest one, and those that there are."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}there are: {', '.join(known) or 'none'}"


def _close(stores: list[StoredEntries], held: HeldFiles) -> None:
    for store in stores:
        store.close()
    held.close()
