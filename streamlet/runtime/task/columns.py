"""Columns of values as msgpack, such that what arrives is what was sent, or nothing does.

msgpack alone would turn a tuple into a list and a dataclass into a dict without a word.  So each column says what its
values are: found by looking at the classes in it, which costs a few ns per value, never by trusting a first one.

```text
only None, bool, int, float, str, bytes      as they are
lists and dicts of those                     as they are
tuples, lists, dicts of anything else        by the one type at each place in them
a class                                      by its name; the other process has loaded the same job file
a generic class                              by its name and the one type at each of its type parameters
several classes                              one part per class, with the rows that are of it
```
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Optional, get_type_hints

import msgspec

from streamlet.errors import ExchangeError, StateTypeError
from streamlet.state.encoding.types import SCALARS, holds_any, type_facts

_REMEDY = (
    "make the value of None, bool, int, float, str, bytes, lists and dicts of them, or of dataclasses, "
    "msgspec.Structs and NamedTuples at the top level of a module whose fields all have types; "
    "or run the job in one process"
)

Shape = Any
"""What a decoder must know of values, as JSON: None for plain data, `module:Class`, or [container, inner...]."""


class Part(msgspec.Struct, array_like=True, frozen=True):
    """Those values of a column that are of one shape."""

    shape: str
    """JSON of the `Shape`; empty for plain data."""
    rows: list[int] | None
    """Where they stand in the column; None when they are all of it."""
    values: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[str, Callable[[Any], list[Any]]] = {"": msgspec.msgpack.Decoder(list[Any]).decode}
_shapes: dict[type, tuple[str, bool]] = {}
"""Class -> its shape, and whether what came out must be compared with what went in."""
_generic_fields: dict[type, list[list[str]]] = {}
"""Generic class -> for each of its type parameters the fields that are declared to be of it."""


def packed(values: Sequence[Any]) -> list[Part]:
    """Packs a column; raises `ExchangeError` for values that could not arrive as they are."""
    classes = set(map(type, values))
    if classes <= SCALARS:
        return [Part("", None, _encoded("", values))]
    if len(classes) == 1:
        return [_part(classes.pop(), None, values)]
    parts = []
    for kind in sorted(classes - SCALARS, key=lambda one: (one.__module__, one.__qualname__)):
        rows = [row for row, value in enumerate(values) if type(value) is kind]
        parts.append(_part(kind, rows, [values[row] for row in rows]))
    rows = [row for row, value in enumerate(values) if type(value) in SCALARS]
    if rows:
        parts.append(Part("", rows, _encoded("", [values[row] for row in rows])))
    return parts


def unpacked(parts: Sequence[Part]) -> list[Any]:
    """Gives the column back."""
    first = parts[0]
    if first.rows is None:
        return _decoder(first.shape)(first.values)
    column: list[Any] = [None] * sum(len(part.rows or ()) for part in parts)
    for part in parts:
        for row, value in zip(part.rows or (), _decoder(part.shape)(part.values), strict=True):
            column[row] = value
    return column


def _part(kind: type, rows: list[int] | None, values: Sequence[Any]) -> Part:
    if kind in (dict, list) and is_plain(values):
        return Part("", rows, _encoded("", values))
    shape, is_compared = _shape(kind, values)
    text = msgspec.json.encode(shape).decode()
    data = _encoded(text, values)
    if is_compared and _decoder(text)(data) != list(values):
        raise ExchangeError(
            f"a value of {kind.__module__}.{kind.__qualname__} would arrive in another process as something else: "
            "a part of it has no declared type and is no plain data",
            remedy=_REMEDY,
        )
    return Part(text, rows, data)


def _encoded(shape: str, values: Sequence[Any]) -> msgspec.Raw:
    try:
        return msgspec.Raw(_encoder.encode(values))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        kind = f"a value of {shape}" if shape else "a value"
        raise ExchangeError(f"{kind} cannot be sent to another process: {error}", remedy=_REMEDY) from error


def is_plain(values: Sequence[Any]) -> bool:
    """True for lists and dicts that hold nothing but scalars, lists and dicts, however deep."""
    while values:
        kinds = set(map(type, values))
        dicts = values if kinds == {dict} else [value for value in values if type(value) is dict]
        lists = values if kinds == {list} else [value for value in values if type(value) is list]
        if not set(map(type, chain.from_iterable(dicts))) <= SCALARS:
            return False
        nested = set(map(type, chain.from_iterable(map(dict.values, dicts))))
        nested = (nested | set(map(type, chain.from_iterable(lists)))) - SCALARS
        if nested - {list, dict}:
            return False
        inner = chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts)))
        values = [value for value in inner if type(value) in nested] if nested else ()
    return True


def _shape(kind: type, values: Sequence[Any]) -> tuple[Shape, bool]:
    """The shape of values that are all of one class, and whether it may lose something."""
    if kind is list:
        inner, is_compared = _common(list(chain.from_iterable(values)))
        return ["list", inner], is_compared
    if kind is dict:
        keys, first = _common(list(chain.from_iterable(values)))
        inner, second = _common(list(chain.from_iterable(map(dict.values, values))))
        return ["dict", keys, inner], first or second
    if kind is tuple:
        if len(set(map(len, values))) == 1 and values[0]:
            columns = [_common(column) for column in zip(*values, strict=True)]
            return ["tuple", *(inner for inner, _ in columns)], any(one for _, one in columns)
        inner, is_compared = _common(list(chain.from_iterable(values)))
        return ["tuples", inner], is_compared
    name, is_compared = _class_shape(kind)
    if not getattr(kind, "__parameters__", ()):
        return name, is_compared
    return ["generic", name, *_parameters(kind, values)], True


def _parameters(kind: Any, values: Sequence[Any]) -> list[Shape]:
    """What the type parameters of a generic class stand for: the shape of the fields that are of them."""
    fields = _generic_fields.get(kind)
    if fields is None:
        hints = get_type_hints(kind)
        fields = _generic_fields[kind] = [
            [name for name, hint in hints.items() if hint is parameter] for parameter in kind.__parameters__
        ]
    return [_common([getattr(value, name) for name in names for value in values])[0] for names in fields]


def _common(values: Sequence[Any]) -> tuple[Shape, bool]:
    """The one shape of values at one place inside others."""
    classes = set(map(type, values))
    if classes <= SCALARS or (classes <= SCALARS | {list, dict} and is_plain(values)):
        return None, False
    is_optional = type(None) in classes
    named = classes - {type(None)}
    if len(named) > 1:
        names = ", ".join(sorted(one.__qualname__ for one in named))
        raise ExchangeError(
            f"values that hold {names} at the same place cannot be sent to another process", remedy=_REMEDY
        )
    (kind,) = named
    shape, is_compared = _shape(kind, [value for value in values if value is not None] if is_optional else values)
    return ["optional", shape] if is_optional else shape, is_compared


def _class_shape(kind: type) -> tuple[str, bool]:
    known = _shapes.get(kind)
    if known is None:
        name = f"{kind.__module__}:{kind.__qualname__}"
        if _found(name) is not kind:
            raise ExchangeError(
                f"a value of {kind.__module__}.{kind.__qualname__} cannot be sent to another process, "
                "which could not find its class by that name",
                remedy=_REMEDY,
            )
        try:
            facts = type_facts(kind, where="a channel to another process")
        except StateTypeError as error:
            raise ExchangeError(
                f"a value of {kind.__module__}.{kind.__qualname__} cannot be sent to another process: {error.message}",
                remedy=_REMEDY,
            ) from error
        known = _shapes[kind] = name, holds_any(facts)
    return known


def _decoder(shape: str) -> Callable[[Any], list[Any]]:
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.msgpack.Decoder(list[_type(msgspec.json.decode(shape))]).decode  # type: ignore[misc]
    return decoder


def _type(shape: Shape) -> Any:
    if shape is None:
        return Any
    if isinstance(shape, str):
        kind = _found(shape)
        if kind is None:
            raise ExchangeError(
                f"a record of class {shape} has come from another process, and no module that is loaded here has it",
                remedy="define it at the top level of the job file, or of a module that the job file imports",
            )
        return kind
    container, inner = shape[0], [_type(one) for one in shape[1:]]
    if container == "generic":
        return inner[0][tuple(inner[1:])]
    if container == "list":
        return list[inner[0]]  # type: ignore[valid-type]
    if container == "dict":
        return dict[inner[0], inner[1]]  # type: ignore[valid-type]
    if container == "tuples":
        return tuple[inner[0], ...]  # type: ignore[valid-type]
    if container == "tuple":
        return tuple[tuple(inner)]  # type: ignore[misc]
    return Optional[inner[0]]  # noqa: UP045 - made at run time


def _found(name: str) -> Any:
    """A class by its name, in a module that is loaded; nothing is imported for it."""
    module, _, qualname = name.partition(":")
    try:
        return attrgetter(qualname)(sys.modules[module])
    except (KeyError, AttributeError):
        return None
