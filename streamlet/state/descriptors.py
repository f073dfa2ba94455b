"""How a user declares state: class attributes of a function, which become typed handles when the engine binds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from streamlet.errors import JobDefinitionError
from streamlet.state.declaration import Renamed, Upgrade
from streamlet.state.descriptor import Descriptor, Ttl
from streamlet.state.expiring import ExpiringListHandle, ExpiringMapHandle, Extent
from streamlet.state.handles import (
    Aggregating,
    AggregatingHandle,
    ListHandle,
    MapHandle,
    ReducingHandle,
    ValueHandle,
)
from streamlet.state.lifetimes import Lifetime, Lifetimes
from streamlet.state.snapshot import StateSpec

if TYPE_CHECKING:
    from streamlet.state.store import KeyedStore

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
D = TypeVar("D")


class ValueState(Descriptor, Generic[T]):
    """Declares one value per key.

    >>> class Count:
    ...     seen = ValueState(int)

    With `ttl` the value is gone that long after it was written: a timedelta, by the wall clock, or a `StateTtl`.
    """

    kind = "value"

    @overload
    def __init__(self: ValueState[Any]) -> None: ...
    @overload
    def __init__(
        self, type: type[T], *, ttl: Ttl = None, renamed: Renamed = None, upgrade: Upgrade[T] = None
    ) -> None: ...
    def __init__(
        self, type: Any = Any, *, ttl: Ttl = None, renamed: Renamed = None, upgrade: Upgrade[Any] = None
    ) -> None:
        super().__init__(type, ttl=ttl)
        self.evolving(renamed, upgrade)

    @overload
    def __get__(self, instance: None, owner: type) -> ValueState[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> ValueHandle[T]: ...
    def __get__(self, instance: object | None, owner: type) -> ValueState[T] | ValueHandle[T]:
        # Bound handles lie in the instance's dict and are found before this is called.
        if instance is None:
            return self
        raise self._unbound(instance)


class ReducingState(Descriptor, Generic[T]):
    """Declares one value per key that a function makes of all values added: `largest = ReducingState(max, int)`.

    >>> class Largest(KeyedProcessFunction[int, int, object]):
    ...     kept = ReducingState(max, int)
    ...     def process_element(self, value, ctx):
    ...         self.kept.add(value)
    ...         yield self.kept.value()
    >>> emitted(numbers.key_by(lambda n: n % 2).process(Largest()))
    [1, 2, 3, 4]
    """

    kind = "value"

    def __init__(
        self,
        function: Callable[[T, T], T],
        type: type[T],
        *,
        ttl: Ttl = None,
        renamed: Renamed = None,
        upgrade: Upgrade[T] = None,
    ) -> None:
        super().__init__(type, ttl=ttl)
        self.evolving(renamed, upgrade)
        if not callable(function):
            raise JobDefinitionError(
                f"ReducingState takes a function of two values, not {function!r:.80}",
                remedy="write ReducingState(max, int)",
            )
        self.function = function

    def bind(self, store: KeyedStore, spec: StateSpec, timers: StateSpec | None, lifetimes: Lifetimes | None) -> Any:
        return ReducingHandle[Any](super().bind(store, spec, timers, lifetimes), self.function)

    @overload
    def __get__(self, instance: None, owner: type) -> ReducingState[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> ReducingHandle[T]: ...
    def __get__(self, instance: object | None, owner: type) -> ReducingState[T] | ReducingHandle[T]:
        if instance is None:
            return self
        raise self._unbound(instance)


class AggregatingState(Descriptor, Generic[T, R]):
    """Declares one aggregate per key over all values: `mean = AggregatingState(Mean[Payment](lambda p: p.amount))`.

    What is stored is the accumulator, by the aggregate's `accumulator_type`.

    >>> class Means(KeyedProcessFunction[int, int, object]):
    ...     kept = AggregatingState(Mean(lambda n: n))
    ...     def process_element(self, value, ctx):
    ...         self.kept.add(value)
    ...         yield self.kept.value()
    >>> emitted(numbers.key_by(lambda n: n % 2).process(Means()))
    [1.0, 2.0, 2.0, 3.0]
    """

    kind = "value"

    def __init__(self, aggregate: Aggregating[T, Any, R], *, ttl: Ttl = None) -> None:
        if isinstance(aggregate, type) or not hasattr(aggregate, "accumulator_type"):
            raise JobDefinitionError(
                f"AggregatingState takes an aggregate function, not {aggregate!r:.80}",
                remedy="give an instance: Sum(...), Count(), Min(...), Max(...), Mean(...) or your AggregateFunction",
            )
        super().__init__(aggregate.accumulator_type, ttl=ttl)
        self.aggregate = aggregate
        self.functions = getattr(aggregate, "described", type(aggregate).__name__)
        self.keeping(getattr(aggregate, "schema", None))
        self.evolving(getattr(aggregate, "renamed", None), getattr(aggregate, "upgrade", None))

    def bind(self, store: KeyedStore, spec: StateSpec, timers: StateSpec | None, lifetimes: Lifetimes | None) -> Any:
        return AggregatingHandle[Any, Any](super().bind(store, spec, timers, lifetimes), self.aggregate)

    @overload
    def __get__(self, instance: None, owner: type) -> AggregatingState[T, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> AggregatingHandle[T, R]: ...
    def __get__(self, instance: object | None, owner: type) -> AggregatingState[T, R] | AggregatingHandle[T, R]:
        if instance is None:
            return self
        raise self._unbound(instance)


class ListState(Descriptor, Generic[T]):
    """Declares a list per key: adding to it writes one entry, not the list. A `ttl` is that of each element.

    >>> class Seen(KeyedProcessFunction[int, int, object]):
    ...     kept = ListState(int)
    ...     def process_element(self, value, ctx):
    ...         self.kept.add(value)
    ...         yield self.kept.get()
    >>> emitted(numbers.key_by(lambda n: n % 2).process(Seen()))
    [[1], [2], [1, 3], [2, 4]]
    """

    kind = "list"

    @overload
    def __init__(self: ListState[Any]) -> None: ...
    @overload
    def __init__(
        self, type: type[T], *, ttl: Ttl = None, renamed: Renamed = None, upgrade: Upgrade[T] = None
    ) -> None: ...
    def __init__(
        self, type: Any = Any, *, ttl: Ttl = None, renamed: Renamed = None, upgrade: Upgrade[Any] = None
    ) -> None:
        super().__init__(type, ttl=ttl)
        self.evolving(renamed, upgrade)
        if self.ttl is not None and self.ttl.refresh == "read":
            raise JobDefinitionError(
                "elements of a ListState live from when they were added",
                remedy='write StateTtl(..., refresh="write"), or keep the values in a MapState',
            )

    @property
    def stored_type(self) -> Any:
        return self.type if self.ttl is None else tuple[int, self.type]  # type: ignore[name-defined]

    @property
    def times_beside(self) -> int:
        return 0 if self.ttl is None else 1

    def _expiring(self, store: KeyedStore, spec: StateSpec, lifetime: Lifetime) -> Any:
        return ExpiringListHandle[Any](store, store.value_cells(spec), store.length_cells(spec, Extent), lifetime)

    @overload
    def __get__(self, instance: None, owner: type) -> ListState[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> ListHandle[T]: ...
    def __get__(self, instance: object | None, owner: type) -> ListState[T] | ListHandle[T]:
        if instance is None:
            return self
        raise self._unbound(instance)


class MapState(Descriptor, Generic[K, V]):
    """Declares a map per key: changing an entry writes that entry, not the map. A `ttl` is that of each entry.

    >>> class Named(KeyedProcessFunction[int, int, object]):
    ...     kept = MapState(str, int)
    ...     def process_element(self, value, ctx):
    ...         self.kept.put(f"{value}", value)
    ...         yield dict(self.kept.items())
    >>> emitted(numbers.key_by(lambda n: n % 2).process(Named()))
    [{'1': 1}, {'2': 2}, {'1': 1, '3': 3}, {'2': 2, '4': 4}]
    """

    kind = "map"

    @overload
    def __init__(self: MapState[K, Any], key_type: type[K]) -> None: ...
    @overload
    def __init__(
        self,
        key_type: type[K],
        type: type[V],
        *,
        ttl: Ttl = None,
        renamed: Renamed = None,
        upgrade: Upgrade[V] = None,
    ) -> None: ...
    def __init__(
        self,
        key_type: Any,
        type: Any = Any,
        *,
        ttl: Ttl = None,
        renamed: Renamed = None,
        upgrade: Upgrade[Any] = None,
    ) -> None:
        super().__init__(type, key_type, ttl)
        self.evolving(renamed, upgrade)

    def _expiring(self, store: KeyedStore, spec: StateSpec, lifetime: Lifetime) -> Any:
        return ExpiringMapHandle[Any, Any](store, store.value_cells(spec), self.key_type, lifetime)

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


class EntryState(Descriptor):
    """Declares one value per key and namespace, as `WindowState`, which `store.scan` gives in the order of these."""

    kind = "entries"


class TimerState(Descriptor):
    """Declares timers: moments that come back to the operator, per key and in the order of time."""

    kind = "timers"

    def __init__(self) -> None:
        super().__init__(bool)
