"""Broadcast state: a table that is not keyed and that every subtask has whole, since all of them change it alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

import msgspec

from streamlet.errors import CheckpointError, JobDefinitionError
from streamlet.state.descriptor import declared
from streamlet.state.encoding.codec import Codec
from streamlet.state.encoding.key_type import declared_key_type
from streamlet.state.encoding.types import type_text
from streamlet.state.handles import MapKeys

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class BroadcastTable(Generic[K, V]):
    """A table in the memory of every subtask, in the order in which its keys were first put. Only
    `process_broadcast_element` may change it."""

    def __init__(self, name: str, uid: str, key_type: Any, type: Any, *, option: str = "") -> None:
        self.name = name
        self.is_writable = False
        """True while an element is handled that every subtask gets."""
        self.changes: list[tuple[bytes | None, Any]] | None = None
        """What the element in hand has changed, as it was, where that may have to be undone."""
        self._where = f"broadcast state {name!r} of {uid!r}"
        declared_key_type(key_type, where=self._where)
        self._keys = MapKeys(self._where, key_type)
        self._codec = Codec(type, where=self._where, option=option)
        self._types = f"{type_text(key_type)}, {self._codec.text}"
        self._entries: dict[bytes, tuple[K, Any]] = {}
        self._packed: bytes | None = None
        """All entries as the last snapshot has them; None when they have changed since."""

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Gives the value of a key, or `default`. A mutable one is a fresh copy: `put` keeps its changes."""
        entry = self._entries.get(self._keys.pack(key))
        return default if entry is None else self._codec.decode(entry[1])

    def contains(self, key: K) -> bool:
        """True when the key is there."""
        return self._keys.pack(key) in self._entries

    __contains__ = contains

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterator[tuple[K, V]]:
        """Gives all entries as they are now."""
        decode = self._codec.decode
        return iter([(key, decode(stored)) for key, stored in self._entries.values()])

    def keys(self) -> Iterator[K]:
        """Gives all keys."""
        return iter([key for key, _ in self._entries.values()])

    def values(self) -> Iterator[V]:
        """Gives all values."""
        decode = self._codec.decode
        return iter([decode(stored) for _, stored in self._entries.values()])

    def put(self, key: K, value: V) -> None:
        """Keeps a value under a key; raises `StateTypeError` when it is not of the declared type."""
        self._begin_change()
        codec = self._codec
        stored = value if type(value) in codec.plain else codec.encode(value)
        packed = self._keys.pack(key)
        if self.changes is not None:
            self.changes.append((packed, self._entries.get(packed)))
        self._entries[packed] = (key, stored)

    def remove(self, key: K) -> None:
        """Forgets a key; nothing happens when it is not there."""
        self._begin_change()
        packed = self._keys.pack(key)
        self._note_all()
        self._entries.pop(packed, None)

    def clear(self) -> None:
        """Forgets all entries."""
        self._begin_change()
        self._note_all()
        self._entries.clear()

    def undo(self) -> None:
        """Takes back what is noted in `changes`."""
        for packed, before in reversed(self.changes or ()):
            if packed is None:
                self._entries = before
            elif before is None:
                del self._entries[packed]
            else:
                self._entries[packed] = before
        self.changes = []

    def snapshot(self) -> Any:
        """The whole table as plain data. One that has not changed since the last time is not packed again."""
        if self._packed is None:
            codec = self._codec
            self._packed = msgspec.msgpack.encode(
                [
                    [key, bytes(stored) if codec.holds_bytes else codec.pack(stored)]
                    for key, (_, stored) in self._entries.items()
                ]
            )
        return {"types": self._types, "entries": self._packed}

    def restore(self, snapshot: Any) -> None:
        """Takes the table of a snapshot; raises `CheckpointError` when it has other types."""
        if snapshot["types"] != self._types:
            raise CheckpointError(
                f"{self._where} is declared as [{self._types}], but the checkpoint has [{snapshot['types']}]",
                remedy="declare the former types again, or give the state a new name to start it empty",
            )
        codec, keys = self._codec, self._keys
        entries = msgspec.msgpack.decode(snapshot["entries"], type=list[tuple[bytes, bytes]])
        self._entries = {packed: (keys.unpack(packed), codec.unpack(data)) for packed, data in entries}
        self._packed = None

    def _note_all(self) -> None:
        # The order of the keys is part of the table.
        if self.changes is not None:
            self.changes.append((None, dict(self._entries)))

    def _begin_change(self) -> None:
        self._packed = None
        if not self.is_writable:
            raise JobDefinitionError(
                f"{self._where} was changed outside of process_broadcast_element",
                remedy="change it there only: every subtask must make the same changes, and records of a key come to "
                "one of them",
            )


class BroadcastState(Generic[K, V]):
    """Declares a broadcast table of a `KeyedBroadcastProcessFunction`: `rules = BroadcastState(str, Rule)`.

    >>> class Limited(KeyedBroadcastProcessFunction[str, Payment, int, str]):
    ...     limits = BroadcastState(str, int)
    ...     def process_element(self, value, ctx):
    ...         if value.amount > self.limits.get("limit", 0):
    ...             yield ctx.key
    ...     def process_broadcast_element(self, value, ctx):
    ...         self.limits.put("limit", value)
    >>> sorted(emitted(by_user.connect_broadcast(numbers).process(Limited())))
    ['ann', 'ann', 'bob']
    """

    @overload
    def __init__(self: BroadcastState[K, Any], key_type: type[K]) -> None: ...
    @overload
    def __init__(self, key_type: type[K], type: type[V]) -> None: ...
    def __init__(self, key_type: Any, type: Any = Any) -> None:
        self.key_type = key_type
        self.type = type
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> BroadcastState[K, V]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BroadcastTable[K, V]: ...
    def __get__(self, instance: object | None, owner: type) -> BroadcastState[K, V] | BroadcastTable[K, V]:
        if instance is None:
            return self
        declared(instance, BroadcastState)  # says so where it is a method that was meant
        raise JobDefinitionError(
            f"broadcast state {self.name!r} of {type(instance).__qualname__} was used outside a running job",
            remedy="use it only inside the methods that the engine calls",
        )

    def table(self, uid: str) -> BroadcastTable[K, V]:
        """Makes the empty table; raises `StateTypeError` for types that cannot be stored."""
        return BroadcastTable(self.name, uid, self.key_type, self.type)


def declared_tables(function: object) -> dict[str, BroadcastState[Any, Any]]:
    """The broadcast states that the class of a function declares, by name."""
    return declared(function, BroadcastState)
