"""The schema of a declared type, its text for people, and a type that decodes it without the classes of the job."""

from __future__ import annotations

import datetime
import decimal
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import msgspec
from msgspec import inspect

from streamlet.state.encoding.extensions import pack_wide, unpack_plain
from streamlet.state.encoding.types import PLAIN_NAMES, type_facts
from streamlet.state.evolution.schema import (
    ANY,
    NO_DEFAULT,
    Accumulators,
    Again,
    Choice,
    Class,
    Field,
    Items,
    Literals,
    Mapping,
    Members,
    Part,
    Plain,
    Row,
    Schema,
)

_ITEMS: dict[type, str] = {
    inspect.ListType: "list",
    inspect.SetType: "set",
    inspect.FrozenSetType: "frozenset",
    inspect.VarTupleType: "tuple",
}
_CONTAINERS: dict[str, Any] = {"list": list, "set": set, "frozenset": frozenset, "tuple": tuple}
_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
_FORMS: dict[type, Any] = {
    inspect.StructType: "struct",
    inspect.DataclassType: "dataclass",
    inspect.NamedTupleType: "namedtuple",
    inspect.TypedDictType: "typeddict",
}
_TYPES: dict[str, Any] = {
    "Any": Any,
    "None": None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "date": datetime.date,
    "timedelta": datetime.timedelta,
    "UUID": str,
    "Decimal": decimal.Decimal,
}


def schema_of(declared: Any) -> Schema:
    """The schema of a declared type; raises `StateTypeError` for one that cannot be stored."""
    return _of(type_facts(declared, where="a declared type"), ())


def text(schema: Schema) -> str:
    """A schema for people: `S{v: int, w?: str}`."""
    match schema:
        case Plain():
            return schema.name + (repr(schema.limits) if schema.limits else "")
        case Items():
            return f"{schema.kind}[{text(schema.item)}{', ...' if schema.kind == 'tuple' else ''}]"
        case Row():
            return f"tuple[{', '.join(map(text, schema.items))}]"
        case Mapping():
            return f"dict[{text(schema.key)}, {text(schema.value)}]"
        case Choice():
            return " | ".join(map(text, schema.of))
        case Literals():
            return f"Literal[{', '.join(map(repr, schema.values))}]"
        case Members():
            return f"{schema.name}({', '.join(map(repr, schema.members.values()))})"
        case Class():
            fields = (f"{one.name}{'?' * one.has_default}: {text(one.type)}" for one in schema.fields)
            return f"{schema.name}{{{', '.join(fields)}}}"
        case Again():
            return schema.name
        case Accumulators():
            return ", ".join(f"{one.name}={one.what}" if one.name else one.what for one in schema.parts)


def brief(schema: Schema) -> str:
    """The same without the fields of classes."""
    return schema.name if isinstance(schema, Class | Members) else text(schema)


def twin_type(schema: Schema) -> Any:
    """A type that reads and writes the same bytes, of structs in place of the classes of the job."""
    return plain_type(schema, _struct)


def _struct(schema: Class) -> Any:
    fields: list[Any] = []
    for field in schema.fields:
        kind = plain_type(field.type, _struct)
        fields.append((field.name, kind, field.default) if field.default != NO_DEFAULT else (field.name, kind))
    return msgspec.defstruct(schema.name, fields, kw_only=True)


def plain_type(schema: Schema, of_class: Callable[[Class], Any] | None = None) -> Any:
    """A type by which msgspec decodes the values without the classes of the job: of a class comes a dict, or a named
    tuple where its fields are stored by place; of an Enum the value."""
    match schema:
        case Plain():
            return _TYPES[schema.name]
        case Items():
            item = plain_type(schema.item, of_class)
            return _CONTAINERS[schema.kind][(item, ...) if schema.kind == "tuple" else item]
        case Row():
            return tuple[tuple(plain_type(item, of_class) for item in schema.items)]  # type: ignore[misc]
        case Mapping():
            return dict[plain_type(schema.key, of_class), plain_type(schema.value, of_class)]  # type: ignore[misc]
        case Choice():
            return _union([plain_type(one, of_class) for one in schema.of])
        case Accumulators():
            types = tuple(plain_type(part.type, of_class) for part in schema.parts)
            return tuple[types] if schema.in_row else types[0]  # type: ignore[valid-type]
        case Class():
            return (of_class or _fields_type)(schema)
    return Any


def _fields_type(schema: Class) -> Any:
    names = [field.name for field in schema.fields]
    types = {field.name: plain_type(field.type) for field in schema.fields}
    if schema.is_array and schema.tag is None and all(map(str.isidentifier, names)):
        return NamedTuple(schema.name, list(types.items()))
    if schema.is_array or schema.tag is not None:
        return Any
    can_lack = schema.omits_defaults or schema.form == "typeddict"
    lacks = {field.name for field in schema.fields if field.has_default and can_lack}
    return TypedDict(  # type: ignore[operator]
        schema.name,
        {name: typing.NotRequired[kind] if name in lacks else kind for name, kind in types.items()},
    )


def _union(members: list[Any]) -> Any:
    """Where msgspec cannot tell the members from each other without their classes, plain data."""
    made: Any = typing.Union.__getitem__(tuple(members))
    try:
        msgspec.msgpack.Decoder(made)
    except TypeError:
        return Any
    return made


def _of(facts: inspect.Type, seen: tuple[Any, ...]) -> Schema:
    kind = type(facts)
    if kind in PLAIN_NAMES:
        limits = {name: limit for name in _LIMITS if (limit := getattr(facts, name, None)) is not None}
        return Plain(PLAIN_NAMES[kind], limits)
    if isinstance(facts, inspect.UnionType):
        return Choice(tuple(sorted((_of(part, seen) for part in facts.types), key=text)))
    if isinstance(facts, inspect.LiteralType):
        return Literals(tuple(sorted(facts.values, key=repr)))
    if isinstance(facts, inspect.EnumType):
        return Members(facts.cls.__qualname__, facts.cls.__module__, {one.name: one.value for one in facts.cls})
    if isinstance(facts, inspect.TupleType):
        return Row(tuple(_of(item, seen) for item in facts.item_types))
    if isinstance(facts, inspect.DictType):
        return Mapping(_of(facts.key_type, seen), _of(facts.value_type, seen))
    if kind in _ITEMS:
        return Items(_ITEMS[kind], _of(facts.item_type, seen))  # type: ignore[attr-defined, arg-type]
    if kind in _FORMS:
        return _class_of(facts, seen)
    return ANY


def _class_of(facts: Any, seen: tuple[Any, ...]) -> Schema:
    cls = facts.cls
    if cls in seen:
        return Again(cls.__name__)
    config = cls.__struct_config__ if isinstance(facts, inspect.StructType) else None
    omits = config is not None and bool(config.omit_defaults)
    is_array = isinstance(facts, inspect.NamedTupleType) or (config is not None and bool(config.array_like))
    fields = tuple(
        Field(
            field.encode_name,
            _of(field.type, (*seen, cls)),
            not field.required,
            _default(field),
        )
        for field in facts.fields
    )
    return Class(
        cls.__name__,
        cls.__module__,
        _FORMS[type(facts)],
        fields,
        is_array,
        None if config is None else config.tag,
        None if config is None else config.tag_field,
        omits,
    )


def _default(field: inspect.Field) -> Any:
    if field.required:
        return NO_DEFAULT
    try:
        if field.default_factory is msgspec.NODEFAULT:
            return as_plain(field.default)
        made, again = as_plain(field.default_factory()), as_plain(field.default_factory())
    except Exception:  # of the user's, or of a default that cannot be stored
        return NO_DEFAULT
    return made if made == again else NO_DEFAULT


def as_plain(value: Any) -> Any:
    """A value as the plain data that it is stored as."""
    return unpack_plain(pack_wide(value))


def part_of(name: str, kind: str, of: str, type: Any, settings: dict[str, Any]) -> Part:
    """A part whose accumulators are of a declared type, or of one that is described already."""
    return Part(name, kind, of, type if isinstance(type, Schema) else schema_of(type), settings)
