"""Puts handles in the place of the states that a user's function declares."""

from __future__ import annotations

from collections.abc import Sequence

from streamlet.state.descriptor import declared_states, ttl_timers
from streamlet.state.lifetimes import Lifetimes
from streamlet.state.snapshot import StateSpec
from streamlet.state.store import KeyedStore


def bind_states(
    function: object, store: KeyedStore, specs: Sequence[StateSpec], lifetimes: Lifetimes | None = None
) -> None:
    """Puts a handle in the place of each state that the function declares. `specs` are those of its operator;
    `lifetimes` is needed where states have a ttl."""
    by_name = {spec.name: spec for spec in specs}
    for name, descriptor in declared_states(function).items():
        handle = descriptor.bind(store, by_name[name], by_name.get(ttl_timers(name)), lifetimes)
        # Not setattr: a function may be a frozen dataclass, and only the instance is changed.
        object.__setattr__(function, name, handle)
