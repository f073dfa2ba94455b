"""What all declarations of state share, and which of them a function has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from streamlet.errors import JobDefinitionError
from streamlet.state.declaration import StateDeclaration
from streamlet.state.encoding.key_type import declared_key_type, forms_text
from streamlet.state.encoding.types import type_text
from streamlet.state.evolution.describing import schema_of
from streamlet.state.evolution.needs import Evolves, Judge
from streamlet.state.evolution.schema import INT, Row, Schema
from streamlet.state.expiring import ExpiringValueHandle
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
            shape = declared_key_type(self.key_type, where=f"map state {name!r} of {uid!r}")
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
