"""What a user's function holds at run time: typed views of the state of the key in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar, cast, overload

import msgspec

from streamlet.errors import JobDefinitionError, StateTypeError
from streamlet.state.encoding.key_groups import pack_key
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, Slot
from streamlet.state.memory.state_cells import StateCells
from streamlet.state.snapshot import StateSpec

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
A = TypeVar("A")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Current(Protocol):
    """The store, as handles see it."""

    current: Slot | None
    """The slot of the record in hand; None between records."""

    def scan(self, cells: StateCells, slot: Slot) -> list[tuple[bytes, Any]]:
        """Gives what the cells of all namespaces of a key hold, in the order of their namespaces."""
        ...


class Space(Current, Protocol):
    """The store, as handles are made of it."""

    def value_cells(self, spec: StateSpec) -> StateCells:
        """Gives the cells of a declared state."""
        ...

    def length_cells(self, spec: StateSpec, type: Any) -> StateCells:
        """Gives the cells that say how long the lists of a state are, in the form of `type`."""
        ...


class Read:
    """A state that must be read to be asked something: as a condition it would always be true."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise JobDefinitionError(
            "a state is not what it holds, and would always be true here",
            remedy="read it: value() is None where there is none; of a map, any(True for _ in its keys())",
        )


class Handle:
    """What all handles share."""

    __slots__ = ("_cells", "_store")

    def __init__(self, store: Current, cells: StateCells) -> None:
        self._store = store
        self._cells = cells

    def _slot(self) -> Slot:
        slot = self._store.current
        if slot is None:
            raise JobDefinitionError(
                f"{self._cells.codec.where} was used while no record is processed",
                remedy="use keyed state only inside the methods that the engine calls for a record or a timer",
            )
        return slot


class ValueHandle(Handle, Read, Generic[T]):
    """One value of the key in hand."""

    __slots__ = ()

    def value(self) -> T | None:
        """Gives the value, or None when there is none. A mutable one is a fresh copy: `update` keeps its changes."""
        value = self.read()
        return None if value is ABSENT else cast(T, value)

    def read(self) -> Any:
        """Gives the value, or ABSENT."""
        return self._cells.value(self._slot())

    def update(self, value: T) -> None:
        """Keeps a value; raises `StateTypeError` when it is not of the declared type."""
        self._cells.update(self._slot(), value)

    def clear(self) -> None:
        """Forgets the value."""
        cells = self._cells
        cells.change(cells.cell(self._slot()), ABSENT)


class ReducingHandle(Read, Generic[T]):
    """What a function made of all values added for the key in hand."""

    __slots__ = ("_function", "_reduced")

    def __init__(self, reduced: ValueHandle[T], function: Callable[[T, T], T]) -> None:
        self._reduced = reduced
        self._function = function

    def add(self, value: T) -> None:
        """Takes a value in: the first one as it is, then `function(so far, value)`."""
        before = self._reduced.read()
        self._reduced.update(value if before is ABSENT else self._function(before, value))

    def value(self) -> T | None:
        """Gives what has come of the values, or None when there are none."""
        return self._reduced.value()

    def clear(self) -> None:
        """Forgets it all."""
        self._reduced.clear()


class Aggregating(Protocol[T_contra, A, R_co]):
    """An aggregate function, as state sees it."""

    @property
    def accumulator_type(self) -> Any: ...

    def create_accumulator(self) -> A: ...

    def add(self, accumulator: A, value: T_contra, /) -> A: ...

    def result(self, accumulator: A, /) -> R_co: ...


class AggregatingHandle(Read, Generic[T, R]):
    """The aggregate of all values added for the key in hand."""

    __slots__ = ("_accumulator", "_aggregate")

    def __init__(self, accumulator: ValueHandle[Any], aggregate: Aggregating[T, Any, R]) -> None:
        self._accumulator = accumulator
        self._aggregate = aggregate

    def add(self, value: T) -> None:
        """Takes a value in."""
        aggregate, before = self._aggregate, self._accumulator.read()
        self._accumulator.update(aggregate.add(aggregate.create_accumulator() if before is ABSENT else before, value))

    def value(self) -> R | None:
        """Gives the result, or None when nothing was added."""
        accumulator = self._accumulator.read()
        return None if accumulator is ABSENT else self._aggregate.result(accumulator)

    def clear(self) -> None:
        """Forgets it all."""
        self._accumulator.clear()


class ListHandle(Handle, Generic[T]):
    """A list of the key in hand, kept entry by entry: `add` costs the same however long the list is."""

    __slots__ = ("_lengths",)

    def __init__(self, store: Current, cells: StateCells, lengths: StateCells) -> None:
        super().__init__(store, cells)
        self._lengths = lengths

    def get(self) -> list[T]:
        """Gives the whole list: a fresh one."""
        slot = self._slot()
        cells = self._cells
        entries = [cells.cell(slot, list_place(index)) for index in range(self._length(slot))]
        cells.load_all(entries)
        return [cells.decode(entry.value) for entry in entries]

    def __len__(self) -> int:
        return self._length(self._slot())

    def add(self, value: T) -> None:
        """Puts a value at the end."""
        self.extend((value,))

    def extend(self, values: Iterable[T]) -> None:
        """Puts values at the end, in their order."""
        slot = self._slot()
        self._write(slot, self._length(slot), values)

    def update(self, values: Iterable[T]) -> None:
        """Replaces the list."""
        slot = self._slot()
        values = list(values)
        length = self._length(slot)
        self._write(slot, 0, values)
        self._forget(slot, len(values), length)

    def clear(self) -> None:
        """Forgets the list."""
        slot = self._slot()
        length = self._length(slot)
        if length:
            self._forget(slot, 0, length)
            self._lengths.change(self._lengths.cell(slot), ABSENT)

    def _length(self, slot: Slot) -> int:
        length = self._lengths.value(slot)
        return 0 if length is ABSENT else length

    def _write(self, slot: Slot, start: int, values: Iterable[T]) -> None:
        cells = self._cells
        index = start
        try:
            for value in values:
                cells.update(slot, value, list_place(index))
                index += 1
        finally:
            # Also when a value in the middle was refused: what is stored and what the length says stay the same.
            lengths = self._lengths
            lengths.change(lengths.cell(slot), index if index else ABSENT)

    def _forget(self, slot: Slot, start: int, end: int) -> None:
        cells = self._cells
        for index in range(start, end):
            cells.change(cells.cell(slot, list_place(index)), ABSENT)


class MapKeys:
    """The keys of one map state: of one declared type, and in the order of their bytes."""

    __slots__ = ("_type", "unpack")

    def __init__(self, where: str, key_type: Any) -> None:
        self._type = KeyType(f"map keys of {where}", key_type)
        self.unpack = msgspec.msgpack.Decoder(key_type).decode

    def pack(self, key: Any) -> bytes:
        """The bytes of a map key; raises `StateTypeError` when it cannot be one."""
        key_type = self._type
        if key_type.probe(key) not in key_type.expected:
            key_type.check((key,))
        try:
            return pack_key(key)
        except (OverflowError, ValueError) as error:
            raise StateTypeError(
                f"{key_type.where}: {key!r} cannot be stored: {error}",
                remedy="integers have 64 bits, text has no lone surrogates",
            ) from error


class MapHandle(Handle, Read, Generic[K, V]):
    """A map of the key in hand, kept entry by entry. `items`, `keys` and `values` go in the order of packed map keys:
    the same before and after a restore."""

    __slots__ = ("_decode_key", "_pack")

    def __init__(self, store: Current, cells: StateCells, key_type: Any) -> None:
        super().__init__(store, cells)
        keys = MapKeys(cells.codec.where, key_type)
        self._pack = keys.pack
        self._decode_key = keys.unpack

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Gives the value of a map key, or `default`."""
        value = self._cells.value(self._slot(), self._pack(key))
        return default if value is ABSENT else value

    def put(self, key: K, value: V) -> None:
        """Keeps a value under a map key."""
        self._cells.update(self._slot(), value, self._pack(key))

    def remove(self, key: K) -> None:
        """Forgets a map key; nothing happens when it is not there."""
        cells = self._cells
        cell = cells.cell(self._slot(), self._pack(key))
        if cell.value is not ABSENT:
            cells.change(cell, ABSENT)

    def contains(self, key: K) -> bool:
        """True when the map key is there."""
        cells = self._cells
        cell = cells.cell(self._slot(), self._pack(key))
        if cell.value is NOT_LOADED:
            cells.load(cell)
        return cell.value is not ABSENT

    __contains__ = contains

    def items(self) -> Iterator[tuple[K, V]]:
        """Gives all entries as they are now: changing the map meanwhile is allowed and not seen."""
        decode_key, decode = self._decode_key, self._cells.decode
        entries = self._store.scan(self._cells, self._slot())
        return ((decode_key(namespace), decode(stored)) for namespace, stored in entries)

    def keys(self) -> Iterator[K]:
        """Gives all map keys."""
        decode_key = self._decode_key
        entries = self._store.scan(self._cells, self._slot())
        return (decode_key(namespace) for namespace, _ in entries)

    def values(self) -> Iterator[V]:
        """Gives all values."""
        decode = self._cells.decode
        entries = self._store.scan(self._cells, self._slot())
        return (decode(stored) for _, stored in entries)

    def is_empty(self) -> bool:
        """True when there is no entry."""
        return not self._store.scan(self._cells, self._slot())

    def clear(self) -> None:
        """Forgets all entries."""
        slot, cells = self._slot(), self._cells
        for namespace, _ in self._store.scan(cells, slot):
            cells.change(cells.cell(slot, namespace), ABSENT)


def list_place(index: int) -> bytes:
    """The namespace of a list's entry; that of its length is empty."""
    return index.to_bytes(8, "big")


def handle_of(store: Space, spec: StateSpec, key_type: Any) -> Handle:
    """Gives the typed view of a declared state; `key_type` is that of a map's keys."""
    cells = store.value_cells(spec)
    if spec.kind == "value":
        return ValueHandle[Any](store, cells)
    if spec.kind == "map":
        return MapHandle[Any, Any](store, cells, key_type)
    if spec.kind == "list":
        return ListHandle[Any](store, cells, store.length_cells(spec, int))
    raise JobDefinitionError(f"{spec.where}: there is no state of kind {spec.kind!r}")
