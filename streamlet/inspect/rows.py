"""The rows that the entries of a state are shown as, and back: a name for each part of a stored key and of a value.

```text
kind                 columns
value                key, value
list                 key, index, value                     and, of all with a time to live:
map                  key, map_key, value                   written, the time of its last write, epoch ms
windows              key, window_start, window_end, index, value       as far as the state has them
entries (of joins)   key, time, number, value
timers               key, time, namespace                  in hex, where there is one
```
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, NamedTuple

from streamlet.errors import StateTypeError
from streamlet.inspect.plain_keys import parse_map_key
from streamlet.inspect.plain_types import PlainType, parse, record, scalar
from streamlet.inspect.plain_values import PlainValues
from streamlet.inspect.schemas import plain_type
from streamlet.state.descriptor import ttl_timers
from streamlet.state.encoding.key_groups import (
    HEAD_BYTES,
    key_group,
    namespace_of,
    split_timer_key,
    stored_key,
    timer_key,
)
from streamlet.state.snapshot import StateSpec

Row = dict[str, Any]

_INT = scalar("int")
_BOUNDS = struct.Struct(">QQ")
_START = struct.Struct(">Q")
_PLACE = struct.Struct(">QI")
_ZERO = 1 << 63
"""Added to times, so that negative ones come first."""
_PLACES = {
    "list": ("index",),
    "entries": ("time", "number"),
    "windows": ("window_start", "window_end", "index"),
}
_SET = b"\xc3"
"""What is stored of a timer: true."""


class KeyedEntry(NamedTuple):
    """A row as it is stored."""

    stored: bytes
    value: bytes


class StateRows:
    """Turns the entries of one state into rows, and rows into entries."""

    def __init__(self, spec: StateSpec, others: Collection[str], keys: PlainValues, key_groups: int) -> None:
        """`others` are the names of all states of the same operator."""
        self.spec = spec
        self.has_ttl = ttl_timers(spec.name) in others
        self.keys = keys
        self._key_groups = key_groups
        self.values = PlainValues(_shown_type(spec, self.has_ttl, "trigger" in others))
        self._map_keys = PlainValues(_map_key_type(spec)) if spec.kind == "map" else None

    @property
    def value_type(self) -> PlainType:
        """The type of the column `value`."""
        type = self.values.type
        return type.fields[-1].type if self.has_ttl else type

    def columns(self) -> dict[str, PlainType]:
        """Gives the names and types of what a row may have, as far as it is known."""
        found = {"key": self.keys.type}
        if self.spec.kind == "timers":
            return {**found, "time": _INT, "namespace": scalar("str")}
        if self._map_keys is not None:
            found["map_key"] = self._map_keys.type
        found |= dict.fromkeys(_PLACES.get(self.spec.kind, ()), _INT)
        found["value"] = self.value_type
        return {**found, "written": _INT} if self.has_ttl else found

    def row(self, stored: bytes, value: bytes) -> Row | None:
        """Gives the row of an entry; None for one that only says how long a list is."""
        if self.spec.kind == "timers":
            time, packed, namespace = split_timer_key(stored)
            row = {"key": self.keys.read(packed), "time": time}
            return {**row, "namespace": namespace.hex()} if namespace else row
        namespace = namespace_of(stored)
        if self.spec.kind == "list" and not namespace:
            return None
        end = len(stored) - len(namespace)
        row = {"key": self.keys.read(stored[HEAD_BYTES:end])}
        if namespace:
            row.update(self._place(namespace))
        found = self.values.read(value)
        if self.has_ttl and isinstance(found, dict):
            return {**row, "value": found["value"], "written": found["written"]}
        row["value"] = found
        return row

    def for_json(self, row: Row) -> Row:
        """Gives a row as JSON can hold it."""
        ready = dict(row)
        if self.keys.is_ambiguous:
            ready["key"] = self.keys.for_json(row["key"])
        if self._map_keys is not None and self._map_keys.is_ambiguous:
            ready["map_key"] = self._map_keys.for_json(row["map_key"])
        if self.values.is_ambiguous and "value" in row:
            ready["value"] = self.values.for_json(row["value"])
        return ready

    def prefix(self, key: Any) -> bytes:
        """Gives what the stored keys of one key begin with, but for timers."""
        packed = self.keys.write(key, "the key")
        return stored_key(key_group(packed, self._key_groups), self.spec.id, packed)

    def entry(self, row: Row) -> KeyedEntry:
        """Gives the entry of a row; raises `StateTypeError` for one that is none of this state."""
        where = self.spec.where
        if not isinstance(row, dict) or "key" not in row:
            raise StateTypeError(
                f"{where}: a row has no key", remedy=f'write rows such as {{"key": ..., {self._example}}}'
            )
        packed = self.keys.write(row["key"], f"{where}, the key {row['key']!r:.60}")
        group = key_group(packed, self._key_groups)
        if self.spec.kind == "timers":
            time, namespace = self._number(row, "time"), bytes.fromhex(row.get("namespace") or "")
            return KeyedEntry(timer_key(group, self.spec.id, time, packed, namespace), _SET)
        stored = stored_key(group, self.spec.id, packed, self.namespace(row))
        value = row.get("value")
        if self.has_ttl:
            written = self._number(row, "written")
            # Its timer is one of that time: when it fires, the job itself sees how long the entry has to live.
            armed = {} if self.spec.kind == "list" else {"armed": written}
            value = {"written": written, **armed, "value": value}
        return KeyedEntry(stored, self.values.write(value, f"{where}, key {row['key']!r:.60}"))

    def namespace(self, row: Row) -> bytes:
        """Gives what stands behind the key in the stored key of a row."""
        kind = self.spec.kind
        if row.get("namespace"):
            return bytes.fromhex(row["namespace"])
        if self._map_keys is not None:
            return self._map_keys.write(row.get("map_key"), f"the map's key of {self.spec.where}")
        if kind == "list":
            return self._number(row, "index").to_bytes(8, "big")
        if kind == "entries":
            return _PLACE.pack(self._number(row, "time") + _ZERO, self._number(row, "number"))
        if kind == "windows" and row.get("window_start") is not None:
            index = b"" if row.get("index") is None else self._number(row, "index").to_bytes(4, "big")
            start = self._number(row, "window_start") + _ZERO
            if row.get("window_end") is None:
                return _START.pack(start) + index
            return _BOUNDS.pack(start, self._number(row, "window_end") + _ZERO) + index
        return b""

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _example(self) -> str:
        return {
            "timers": '"time": ...',
            "list": '"index": ..., "value": ...',
            "map": '"map_key": ..., "value": ...',
        }.get(self.spec.kind, '"value": ...')

    def _place(self, namespace: bytes) -> Row:
        kind, size = self.spec.kind, len(namespace)
        if self._map_keys is not None:
            return {"map_key": self._map_keys.read(namespace)}
        if kind == "list" and size == 8:
            return {"index": int.from_bytes(namespace, "big")}
        if kind == "entries" and size == _PLACE.size:
            time, number = _PLACE.unpack(namespace)
            return {"time": time - _ZERO, "number": number}
        if kind == "windows" and size in (16, 20):
            start, end = _BOUNDS.unpack_from(namespace)
            row = {"window_start": start - _ZERO, "window_end": end - _ZERO}
            return {**row, "index": int.from_bytes(namespace[16:], "big")} if size == 20 else row
        if kind == "windows" and size == 12:
            (start,) = _START.unpack_from(namespace)
            return {"window_start": start - _ZERO, "index": int.from_bytes(namespace[8:], "big")}
        return {"namespace": namespace.hex()}

    def _number(self, row: Row, name: str) -> int:
        number = row.get(name)
        if type(number) is not int or not -_ZERO <= number < _ZERO:
            raise StateTypeError(
                f"{self.spec.where}: a row of key {row['key']!r:.60} has {name}={number!r:.40}",
                remedy=f"give {name} as a whole number, as an export does",
            )
        return number


def _map_key_type(spec: StateSpec) -> PlainType:
    return parse_map_key(spec.key_type) if spec.key_schema is None else plain_type(spec.key_schema)


def _shown_type(spec: StateSpec, has_ttl: bool, has_trigger: bool) -> PlainType:
    """The type of what is stored, with names for what the engine puts around a user's value."""
    type = parse(spec.type) if spec.schema is None else plain_type(spec.schema)
    if has_ttl and type.kind == "tuple":
        if spec.kind == "list" and len(type.parts) == 2:
            return record("Entry", written=_INT, value=type.parts[1])
        if len(type.parts) == 3:
            return record("Entry", written=_INT, armed=_INT, value=type.parts[2])
    if spec.kind == "windows" and spec.name == "sessions" and type.kind == "list" and len(type.parts[0].parts) == 4:
        session = type.parts[0].parts[3]
        named = record("Session", start=_INT, end=_INT, records=_INT, value=session)
        return PlainType("list", parts=(named,))
    if spec.kind == "windows" and spec.name == "window" and has_trigger and len(type.parts) == 4:
        return record("Window", records=_INT, first=_INT, last=_INT, value=type.parts[3])
    return type
