"""From the bytes of an old value to those of the declared type, once, when a checkpoint is restored."""

from __future__ import annotations

import inspect
import keyword
import typing
from collections import abc
from collections.abc import Callable
from typing import Any

import msgspec

from streamlet.errors import StateTypeError
from streamlet.state.encoding.codec import Codec
from streamlet.state.encoding.extensions import of_extension, pack_wide, unpack_plain
from streamlet.state.evolution.describing import plain_type, schema_of, twin_type
from streamlet.state.evolution.differing import Matcher
from streamlet.state.evolution.needs import Convert, Step, Wishes
from streamlet.state.evolution.schema import NO_DEFAULT, Choice, Class, Items, Mapping, Plain, Row, Schema

_pack = msgspec.msgpack.Encoder().encode


def by_step(codec: Codec, step: Step) -> Convert:
    """Converts by a step over plain data. What the new type adds begins as the default of its class, which is written
    too: a later change of that default does not reach values that had it."""

    def convert(data: bytes) -> bytes:
        made = step(unpack_plain(data))
        try:
            moved = _pack(made)
        except (TypeError, ValueError, OverflowError):
            moved = pack_wide(made)
        return codec.pack(codec.read(moved))

    return convert


def by_decoding(codec: Codec, new: Schema) -> Convert:
    """The same where the new type itself reads the old bytes: fields by name, and more of them, wider numbers.

    In place of the classes stand structs of the same fields: of a dataclass msgspec would not write a field that is
    still the default of the class.
    """
    read = msgspec.msgpack.Decoder(twin_type(new), ext_hook=of_extension).decode

    def convert(data: bytes) -> bytes:
        try:
            return _pack(read(data))
        except (msgspec.ValidationError, TypeError, ValueError, OverflowError):
            return codec.pack(codec.read(data))  # an integer beyond 64 bits, or an error that names the state

    return convert


def can_be_twin(schema: Schema) -> bool:
    """True for types of which structs of the same fields read and write the same bytes."""
    match schema:
        case Class():
            is_plain = not (schema.is_array or schema.tag is not None or schema.omits_defaults)
            names = all(field.name.isidentifier() and not keyword.iskeyword(field.name) for field in schema.fields)
            known = all(field.has_default == (field.default != NO_DEFAULT) for field in schema.fields)
            known = known and not any(
                field.default and isinstance(field.default, list | dict) for field in schema.fields
            )
            of_form = schema.form in ("struct", "dataclass") and is_plain and names and known
            return of_form and all(can_be_twin(field.type) for field in schema.fields)
        case Items():
            return can_be_twin(schema.item)
        case Row():
            return all(map(can_be_twin, schema.items))
        case Mapping():
            return can_be_twin(schema.key) and can_be_twin(schema.value)
        case Choice():
            return all(can_be_twin(one) and not isinstance(one, Class) for one in schema.of)
    return isinstance(schema, Plain)


def by_function(codec: Codec, function: Callable[[Any], Any], old: Schema, place: int | None) -> Convert:
    """Converts by a function of the user's. `place` is where its value lies among the times of a state with a ttl."""
    declared = taken_type(function, old if place is None else _at(old, place))
    if place is None:
        whole: Any = declared
    else:
        assert isinstance(old, Row)
        whole = tuple[tuple(declared if at == place else int for at in range(len(old.items)))]  # type: ignore[misc]
    read = msgspec.msgpack.Decoder(whole, ext_hook=of_extension).decode

    def convert(data: bytes) -> bytes:
        value = read(data)
        made = function(value) if place is None else (*value[:place], function(value[place]), *value[place + 1 :])
        packed = codec.pack(made)
        codec.read(packed)  # raises for what is not of the declared type
        return packed

    return convert


def taken_type(function: Callable[[Any], Any], old: Schema) -> Any:
    """The type in which a function gets old values: that of its annotation, where that is what the checkpoint holds;
    else plain data."""
    annotated = annotation_of(function)
    return annotated if annotated is not None and fits(annotated, old) else plain_type(old)


_PLAIN = (None, Any, object, dict, abc.Mapping, abc.MutableMapping)
"""What people write for the plain data that stands for a class which is gone."""


def annotation_of(function: Callable[[Any], Any]) -> Any:
    """The annotated type of the first argument; None where there is none, or it is that of plain data."""
    try:
        hints = typing.get_type_hints(function)
        name = next(iter(inspect.signature(function).parameters))
    except (TypeError, NameError, ValueError, StopIteration):
        return None
    found = hints.get(name)
    kind = typing.get_origin(found) or found
    return None if kind in _PLAIN else found


def fits(declared: Any, old: Schema) -> bool:
    """True when values of a checkpoint are just of this type, by whatever names its classes have now."""
    try:
        now = schema_of(declared)
    except StateTypeError:
        return False
    there, back = Matcher(Wishes()), Matcher(Wishes())
    return there.match(old, now) is None and not there.found and back.match(now, old) is None and not back.found


def _at(schema: Schema, place: int) -> Schema:
    assert isinstance(schema, Row)
    return schema.items[place]
