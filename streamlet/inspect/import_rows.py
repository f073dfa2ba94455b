"""The entries that imported rows become: with the lengths of lists, and the timers of what has a time to live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from streamlet.checkpoint.manifest import Manifest
from streamlet.errors import KeyTypeError, StateTypeError
from streamlet.inspect.checkpoint import KeyedView
from streamlet.inspect.plain_keys import parse_key
from streamlet.inspect.plain_values import PlainValues
from streamlet.inspect.rows import Row, StateRows
from streamlet.state.descriptor import ttl_timers
from streamlet.state.encoding.key_groups import (
    HEAD_BYTES,
    META_STATE,
    key_group,
    namespace_of,
    stored_key,
    timer_key,
)
from streamlet.state.encoding.key_type import KEY_TYPE_NOTE, key_type_of, key_type_text
from streamlet.state.snapshot import StoreSnapshot

NAMESPACE = "namespace"
DELETED = "deleted"
"""The field of a row that takes away what is there."""

Change = tuple[bytes, bytes | None]

_TRUE = b"\xc3"
_LISTS_LENGTH = msgspec.msgpack.Decoder(int).decode
_LISTS_EXTENT = msgspec.msgpack.Decoder(tuple[int, int, int]).decode


def require_known(row: Row, columns: frozenset[str], where: str) -> None:
    """Raises `StateTypeError` for a row with a field that nobody would look at."""
    if not columns.issuperset(row):
        unknown = sorted(map(str, row.keys() - columns))
        raise StateTypeError(
            f"{where}: a row has {', '.join(map(repr, unknown))}, which this state has not",
            remedy=f"leave it out; rows have {', '.join(sorted(columns))}",
        )


class KeyedRows:
    """Turns rows of one keyed state into changes of what is stored."""

    def __init__(self, state: KeyedView, manifest: Manifest) -> None:
        self._state = state
        self._rows: StateRows = state.layout
        self._key_groups = manifest.key_groups
        self._noted = next(filter(None, (store.key_type() for store in state.stores)), "")
        self._others = [one.name for one in manifest.states if one.uid == state.uid]
        timers = {one.name: one.id for one in manifest.states if one.uid == state.uid}
        self._timers = timers.get(ttl_timers(state.name))
        self._columns = frozenset([*state.columns(), NAMESPACE, DELETED])
        self._lists: dict[bytes, tuple[int, int, int]] = {}
        """Prefix of a list -> the time of an element, the index of its first one, that behind its last one."""

    def entries(self, row: Row) -> Iterator[Change]:
        """Gives the changes that a row makes; raises `StateTypeError` for one that is none of this state."""
        if isinstance(row, dict):
            require_known(row, self._columns, self._state.spec.where)
        if not self._noted:
            self._learn(row)
        if isinstance(row, dict) and row.get(DELETED):
            yield from self._deletions(row)
            return
        stored, value = self._rows.entry(row)
        yield stored, value
        if self._state.kind == "list":
            self._lengthen(stored, row)
        elif self._timers is not None:
            namespace = namespace_of(stored)
            packed = stored[HEAD_BYTES : len(stored) - len(namespace)]
            yield timer_key(self._group(stored), self._timers, row["written"], packed, namespace), _TRUE

    def lengths(self, *, replaces: bool) -> Iterator[Change]:
        """Gives what says how long the lists are that rows came for; call it behind all rows."""
        for prefix, (written, first, end) in self._lists.items():
            known = None if replaces else self._known_length(prefix)
            if self._timers is None:
                yield prefix, msgspec.msgpack.encode(max(end, known or 0))
                continue
            if known is not None:
                armed, known_first, known_end = known
                written, first, end = min(written, armed), min(first, known_first), max(end, known_end)
            yield prefix, msgspec.msgpack.encode((written, first, end))
            yield timer_key(self._group(prefix), self._timers, written, prefix[HEAD_BYTES:]), _TRUE

    def notes(self, store: StoreSnapshot) -> Iterator[tuple[bytes, bytes]]:
        """Gives what a store notes of its keys, where it had none."""
        known = [one for one in self._state.stores if one.snapshot == store]
        if self._noted and not any(one.key_type() for one in known):
            yield stored_key(store.first_group, META_STATE, KEY_TYPE_NOTE), msgspec.msgpack.encode(self._noted)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _learn(self, row: Row) -> None:
        """The first key of a state that has none yet says what keys are."""
        key = _tuples(row.get("key")) if isinstance(row, dict) else None
        try:
            shape = key_type_of(key)
        except KeyTypeError as error:
            raise StateTypeError(
                f"{self._state.spec.where} has no keys yet, and {key!r:.60} does not say what they are",
                remedy="give keys that are text, whole numbers, true or false, or lists of these; for keys of a class "
                "let the job process one record first",
            ) from error
        self._noted = key_type_text(shape)
        keys = PlainValues(parse_key(self._noted))
        self._rows = StateRows(self._state.spec, self._others, keys, self._key_groups)

    def _deletions(self, row: Row) -> Iterator[Change]:
        if self._state.kind == "timers":
            yield self._rows.entry(row)[0], None
            return
        prefix = self._rows.prefix(row["key"]) if "key" in row else self._rows.entry(row)[0]
        packed = self._rows.keys.write(row["key"], "the key")
        wanted = prefix
        if self._state.kind == "map" and "map_key" in row:
            wanted += self._rows.namespace(row)
        if self._state.kind == "value":
            yield prefix, None
            return
        group = key_group(packed, self._key_groups)
        for store in self._state.stores:
            if store.has_group(group):
                for stored, _ in store.with_prefix(prefix):
                    if wanted in (prefix, stored):
                        yield stored, None

    def _lengthen(self, stored: bytes, row: Row) -> None:
        prefix, index = stored[:-8], row["index"]
        written = row.get("written", 0)
        known = self._lists.get(prefix, (written, index, index + 1))
        self._lists[prefix] = (min(known[0], written), min(known[1], index), max(known[2], index + 1))

    def _known_length(self, prefix: bytes) -> Any:
        group = self._group(prefix)
        for store in self._state.stores:
            if store.has_group(group):
                for stored, value in store.with_prefix(prefix):
                    if stored == prefix:
                        return _LISTS_LENGTH(value) if self._timers is None else _LISTS_EXTENT(value)
        return None

    @staticmethod
    def _group(stored: bytes) -> int:
        return int.from_bytes(stored[:2], "big")


def _tuples(key: Any) -> Any:
    """A key as JSON has it, with tuples for lists."""
    return tuple(map(_tuples, key)) if isinstance(key, list) else key
