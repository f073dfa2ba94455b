"""How a user declares state: class attributes of a function, which become typed handles when the engine binds them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

import msgspec

from streamlet.errors import JobDefinitionError
from streamlet.state.handles import ListHandle, MapHandle, ValueHandle
from streamlet.state.keys import declared_shape
from streamlet.state.snapshot import StateSpec
from streamlet.state.types import type_text

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class StateDeclaration(msgspec.Struct, frozen=True):
    """One state as the store needs it: what the manifest says of it, and the Python types behind the text."""

    spec: StateSpec
    type: Any
    key_type: Any = None


class Descriptor:
    """What all declarations share: a kind, a type, and the name of the attribute."""

    kind = ""

    def __init__(self, type: Any, key_type: Any = None) -> None:
        self.type = type
        self.key_type = key_type
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def declare(self, id: int, uid: str, name: str | None = None) -> StateDeclaration:
        """Gives the declaration of this state in operator `uid`; raises `StateTypeError` for an unusable type."""
        name = name or self.name
        key_text = ""
        if self.kind == "map":
            declared_shape(self.key_type, where=f"map state {name!r} of {uid!r}")
            key_text = type_text(self.key_type)
        spec = StateSpec(id, uid, name, self.kind, type_text(self.type), key_text)
        return StateDeclaration(spec, self.type, self.key_type)

    def _unbound(self, instance: object) -> JobDefinitionError:
        return JobDefinitionError(
            f"state {self.name!r} of {type(instance).__qualname__} was used outside a running job",
            remedy="use state only inside the methods that the engine calls for a record or a timer",
        )


class ValueState(Descriptor, Generic[T]):
    """Declares one value per key.

    >>> class Count:
    ...     seen = ValueState(int)
    """

    kind = "value"

    @overload
    def __init__(self: ValueState[Any]) -> None: ...
    @overload
    def __init__(self, type: type[T]) -> None: ...
    def __init__(self, type: Any = Any) -> None:
        super().__init__(type)

    @overload
    def __get__(self, instance: None, owner: type) -> ValueState[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> ValueHandle[T]: ...
    def __get__(self, instance: object | None, owner: type) -> ValueState[T] | ValueHandle[T]:
        # Bound handles lie in the instance's dict and are found before this is called.
        if instance is None:
            return self
        raise self._unbound(instance)


class ListState(Descriptor, Generic[T]):
    """Declares a list per key: adding to it writes one entry, not the list."""

    kind = "list"

    @overload
    def __init__(self: ListState[Any]) -> None: ...
    @overload
    def __init__(self, type: type[T]) -> None: ...
    def __init__(self, type: Any = Any) -> None:
        super().__init__(type)

    @overload
    def __get__(self, instance: None, owner: type) -> ListState[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> ListHandle[T]: ...
    def __get__(self, instance: object | None, owner: type) -> ListState[T] | ListHandle[T]:
        if instance is None:
            return self
        raise self._unbound(instance)


class MapState(Descriptor, Generic[K, V]):
    """Declares a map per key: changing an entry writes that entry, not the map."""

    kind = "map"

    @overload
    def __init__(self: MapState[K, Any], key_type: type[K]) -> None: ...
    @overload
    def __init__(self, key_type: type[K], type: type[V]) -> None: ...
    def __init__(self, key_type: Any, type: Any = Any) -> None:
        super().__init__(type, key_type)

    @overload
    def __get__(self, instance: None, owner: type) -> MapState[K, V]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> MapHandle[K, V]: ...
    def __get__(self, instance: object | None, owner: type) -> MapState[K, V] | MapHandle[K, V]:
        if instance is None:
            return self
        raise self._unbound(instance)


class WindowState(Descriptor):
    """Declares one value per key and namespace. No slot is its cell, so keys are looked up without reading it."""

    kind = "windows"


class TimerState(Descriptor):
    """Declares timers: moments that come back to the operator, per key and in the order of time."""

    kind = "timers"

    def __init__(self) -> None:
        super().__init__(bool)


def declared_states(function: object) -> dict[str, Descriptor]:
    """The states that a function's class declares, by name, in the order of declaration, base classes first.

    `function` is an instance or a class.
    """
    owner = function if isinstance(function, type) else type(function)
    found: dict[str, Descriptor] = {}
    for part in reversed(owner.__mro__):
        for name, attribute in vars(part).items():
            if isinstance(attribute, Descriptor):
                found[name] = attribute
            else:
                found.pop(name, None)
    return found
