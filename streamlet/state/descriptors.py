"""How a user declares state: class attributes of a function, which become typed handles when the engine binds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from streamlet.errors import JobDefinitionError
from streamlet.state.declaration import Renamed, StateDeclaration, Upgrade
from streamlet.state.encoding.key_type import declared_shape, forms_text
from streamlet.state.encoding.types import type_text
from streamlet.state.evolution.describing import schema_of
from streamlet.state.evolution.needs import Evolves, Judge
from streamlet.state.evolution.schema import INT, Row, Schema
from streamlet.state.expiring import ExpiringListHandle, ExpiringMapHandle, ExpiringValueHandle, Extent
from streamlet.state.handles import (
    Aggregating,
    AggregatingHandle,
    ListHandle,
    MapHandle,
    ReducingHandle,
    ValueHandle,
)
from streamlet.state.lifetimes import Lifetime, Lifetimes, StateTtl, checked_ttl
from streamlet.state.snapshot import StateSpec

if TYPE_CHECKING:
    from streamlet.state.store import KeyedStore

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
D = TypeVar("D")

Ttl = timedelta | StateTtl | None


class Descriptor:
    """What all declarations share: a kind, a type, perhaps a time to live, and the name of the attribute."""

    kind = ""

    def __init__(self, type: Any, key_type: Any = None, ttl: Ttl = None) -> None:
        self.type = type
        self.key_type = key_type
        self.ttl = checked_ttl(ttl, type)
        self.name = ""
        self.option = ""
        self.functions = ""
        self.kept: Schema | None = None
        self.settings: dict[str, Any] = {}
        self.evolves = Evolves()

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{type(self).__name__} has no {name} here: a state is declared in the body of a process function's class, "
            f"and used there by its name: self.{self.__dict__.get('name') or 'state'}.{name}(...)"
        )

    def told_by(self, option: str) -> Self:
        """The same declaration; errors name the option by which the user says its type."""
        self.option = option
        return self

    def made_by(self, functions: str) -> Self:
        """The same declaration, of accumulators of these functions; see `StateSpec.made_by`."""
        self.functions = functions
        return self

    def keeping(self, kept: Schema | None) -> Self:
        """The same declaration; its schema says more than its type, such as what aggregate functions it is of."""
        self.kept = kept
        return self

    def under(self, settings: dict[str, Any], judge: Judge) -> Self:
        """The same declaration, of values that mean something under these settings alone; `judge` says what becomes of
        them under others."""
        self.settings, self.evolves = settings, self.evolves._replace(judge=judge)
        return self

    def evolving(self, renamed: Mapping[str, str] | None, upgrade: Callable[[Any], Any] | None) -> Self:
        """The same declaration; says how values of an earlier type go on."""
        if upgrade is not None and not callable(upgrade):
            raise JobDefinitionError(
                f"upgrade={upgrade!r:.80} is no function", remedy="give one that takes the old value"
            )
        self.evolves = self.evolves._replace(renamed=dict(renamed or {}), upgrade=upgrade)
        return self

    @property
    def schema(self) -> Schema:
        """What cells hold, as data."""
        value = self.kept or schema_of(self.type)
        times = self.times_beside
        return value if not times else Row((*[INT] * times, value))

    @property
    def times_beside(self) -> int:
        """How many times lie before the value in a cell."""
        return 0 if self.ttl is None else 2

    @property
    def stored_type(self) -> Any:
        """The type of what cells hold: with a ttl, also the times of an entry."""
        return self.type if self.ttl is None else tuple[int, int, self.type]  # type: ignore[name-defined]

    def declare(self, id: int, uid: str, name: str | None = None) -> StateDeclaration:
        """Gives the declaration of this state in operator `uid`; raises `StateTypeError` for an unusable type."""
        name = name or self.name
        key_text = ""
        if self.kind == "map":
            shape = declared_shape(self.key_type, where=f"map state {name!r} of {uid!r}")
            key_text = type_text(self.key_type) + forms_text(shape)
        spec = StateSpec(
            id,
            uid,
            name,
            self.kind,
            type_text(self.stored_type),
            key_text,
            self.functions,
            self.schema,
            schema_of(self.key_type) if self.kind == "map" else None,
            self.settings,
        )
        evolves = self.evolves._replace(place_of_value=self.times_beside or None)
        return StateDeclaration(spec, self.stored_type, self.key_type, self.option, evolves)

    def bind(self, store: KeyedStore, spec: StateSpec, timers: StateSpec | None, lifetimes: Lifetimes | None) -> Any:
        """Gives the handle of this state. `timers` are those that free it, where it has a ttl."""
        if self.ttl is None:
            return store.handle(spec)
        assert timers is not None and lifetimes is not None, "who binds states with a ttl declares their timers"
        handle = self._expiring(store, spec, Lifetime(self.ttl, store.timers(timers), lifetimes, spec.where))
        lifetimes.add(handle)
        return handle

    def _expiring(self, store: KeyedStore, spec: StateSpec, lifetime: Lifetime) -> Any:
        return ExpiringValueHandle[Any](store, store.value_cells(spec), lifetime)

    def _unbound(self, instance: object) -> JobDefinitionError:
        declared_states(instance)  # says so where it is a method that was meant
        return JobDefinitionError(
            f"state {self.name!r} of {type(instance).__qualname__} was used outside a running job",
            remedy="use state only inside the methods that the engine calls for a record or a timer",
        )


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


def declared_states(function: object) -> dict[str, Descriptor]:
    """The states that a function's class declares, by name, in the order of declaration, base classes first.

    `function` is an instance or a class.
    """
    return declared(function, Descriptor)


def declared(function: object, kind: type[D]) -> dict[str, D]:
    """The same for any kind of state; raises `JobDefinitionError` for one that hides a method."""
    owner = function if isinstance(function, type) else type(function)
    found: dict[str, D] = {}
    methods: dict[str, str] = {}
    for part in reversed(owner.__mro__):
        for name, attribute in vars(part).items():
            if not isinstance(attribute, kind):
                found.pop(name, None)
                if callable(attribute):
                    methods[name] = part.__name__
            elif name in methods:
                raise JobDefinitionError(
                    f"state {name!r} of {owner.__name__} has the name of a method of {methods[name]}",
                    remedy="give the state another name",
                )
            else:
                found[name] = attribute
    return found


def ttl_timers(name: str) -> str:
    """What the timers are called that free a state with a ttl."""
    return f"@ttl {name}"
