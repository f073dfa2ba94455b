"""Functions of the job that the engine brings itself: keys by the names of fields, and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from streamlet.errors import JobDefinitionError

_pack = msgspec.msgpack.Encoder().encode


def field_key(*names: str) -> Callable[[Any], Any]:
    """Takes the field of a name from dicts, structs, dataclasses and other objects; a tuple for several names."""
    if len(names) == 1:
        (name,) = names
        return _known_as(f"field {name}", lambda value: _field(value, name))
    return _known_as(f"fields {', '.join(names)}", lambda value: tuple([_field(value, name) for name in names]))


def _known_as(identity: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function, with what it takes in words: its code is the engine's own, and may change with it."""
    function.identity = identity  # type: ignore[attr-defined]
    return function


def sampling(fraction: float, by: Callable[[Any], Any] | None, seed: int) -> Callable[[Any], bool]:
    """True for about this fraction of values: by a hash, so that it is the same for the same value in every run."""
    if type(fraction) not in (int, float) or not 0 <= fraction <= 1:
        raise JobDefinitionError(f"the fraction of a sample is {fraction!r:.80}", remedy="give a number from 0 to 1")
    if type(seed) is not int or not 0 <= seed < 1 << 64:
        raise JobDefinitionError(f"the seed of a sample is {seed!r:.80}", remedy="give a whole number from 0 on")
    limit = int(fraction * (1 << 64))
    if by is None:
        return lambda value: xxh3_64_intdigest(_pack(value), seed) < limit
    chosen = by
    return lambda value: xxh3_64_intdigest(_pack(chosen(value)), seed) < limit


def _field(value: Any, name: str) -> Any:
    try:
        return value[name] if isinstance(value, Mapping) else getattr(value, name)
    except (KeyError, AttributeError):
        fields: Iterable[object] = value if isinstance(value, Mapping) else ()
        for declared in ("__struct_fields__", "__dataclass_fields__"):
            fields = getattr(value, declared, fields)
        there = ", ".join(map(str, fields)) or "none"
        raise LookupError(
            f"there is no field {name!r} in this {type(value).__qualname__}, which has {there:.300}"
        ) from None
