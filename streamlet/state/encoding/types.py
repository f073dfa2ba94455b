"""What a declared type means for state: its text in the manifest, and whether its values may be shared.

An immutable value is kept as the object that the user gave: nobody can change it behind a snapshot.  Everything else
is kept packed and decoded at each access, so that a snapshot never aliases what the user's code holds.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from streamlet.errors import StateTypeError

SCALARS: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})
"""What may be kept without a declared type: each decodes to exactly what was encoded."""

PLAIN_NAMES: dict[type, str] = {
    inspect.AnyType: "Any",
    inspect.NoneType: "None",
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytearray",
    inspect.MemoryViewType: "memoryview",
    inspect.DateTimeType: "datetime",
    inspect.TimeType: "time",
    inspect.DateType: "date",
    inspect.TimeDeltaType: "timedelta",
    inspect.UUIDType: "UUID",
    inspect.DecimalType: "Decimal",
}
_CLASSES: dict[type, type] = {
    inspect.NoneType: type(None),
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
    inspect.BytesType: bytes,
}
_IMMUTABLE_LEAVES = (
    *_CLASSES,
    inspect.DateTimeType,
    inspect.TimeType,
    inspect.DateType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
)
_WITH_ITEM: dict[type, str] = {
    inspect.ListType: "list",
    inspect.SetType: "set",
    inspect.FrozenSetType: "frozenset",
    inspect.VarTupleType: "tuple",
}
WITH_FROZEN_FIELDS = (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType)
"""Classes that are immutable when they are frozen and all their fields are."""
_WITH_FIELDS = (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType, inspect.TypedDictType)


def type_facts(declared: Any, *, where: str) -> inspect.Type:
    """Gives what msgspec knows of a type; raises `StateTypeError` for one that cannot be stored, naming `where`."""
    remedy = "declare a type made of dataclasses, msgspec.Structs, NamedTuples, lists, dicts, tuples and scalars"
    try:
        facts = inspect.type_info(declared)
        msgspec.msgpack.Decoder(declared)
    except (TypeError, NameError) as error:
        raise StateTypeError(
            f"{where}: {declared!r} is not a type that can be stored: {error}", remedy=remedy
        ) from error
    for part in _parts(facts):
        if isinstance(part, (inspect.CustomType, inspect.RawType, inspect.ExtType)):
            name = part.cls.__qualname__ if isinstance(part, inspect.CustomType) else type(part).__name__
            raise StateTypeError(f"{where}: {declared!r} holds {name}, which cannot be stored", remedy=remedy)
    return facts


def type_text(declared: Any) -> str:
    """Writes a type down so that equal types give equal text in every process: `dict[str, Visit{at: int, by?: str}]`.

    Fields are part of the text, since a tuple-like value whose fields moved would be read wrongly without any error.
    """
    return _text(type_facts(declared, where="a declared type"), ())


def is_immutable(facts: inspect.Type) -> bool:
    """True when no value of this type can change: scalars, and frozen or tuple-like classes of immutable fields."""
    return _is_immutable(facts, ())


def plain_classes(facts: inspect.Type) -> frozenset[type]:
    """The classes whose values are stored without a further look: what comes back from bytes is always what went in.

    An int in a float field, or a time zone, would come back as something else: those go through the codec.
    """
    if isinstance(facts, inspect.AnyType):
        return SCALARS
    if isinstance(facts, inspect.UnionType):
        return frozenset().union(*map(plain_classes, facts.types))
    if type(facts) in _CLASSES:
        return frozenset({_CLASSES[type(facts)]})
    if isinstance(facts, inspect.EnumType):
        return frozenset({facts.cls})
    if isinstance(facts, WITH_FROZEN_FIELDS) and is_exact(facts):
        return frozenset({facts.cls})
    return frozenset()


def is_exact(facts: inspect.Type, seen: tuple[Any, ...] = ()) -> bool:
    """True for immutable types of which every value comes back from bytes exactly as it went in."""
    if isinstance(facts, inspect.UnionType):
        return all(is_exact(part, seen) for part in facts.types)
    if isinstance(facts, WITH_FROZEN_FIELDS):
        if facts.cls in seen:
            return True
        return _is_frozen(facts) and all(is_exact(field.type, (*seen, facts.cls)) for field in facts.fields)
    return isinstance(facts, inspect.EnumType) or (type(facts) in _CLASSES and not isinstance(facts, inspect.FloatType))


def holds_any(facts: inspect.Type) -> bool:
    """True when a part of the type is not declared, so that it comes back from bytes as plain data."""
    return any(isinstance(part, inspect.AnyType) for part in _parts(facts))


def _parts(facts: inspect.Type, seen: tuple[Any, ...] = ()) -> list[inspect.Type]:
    """Every type inside a type, each class once (types may contain themselves)."""
    if isinstance(facts, _WITH_FIELDS):
        if facts.cls in seen:
            return []
        inner = [part for field in facts.fields for part in _parts(field.type, (*seen, facts.cls))]
    else:
        inner = [part for child in _children(facts) for part in _parts(child, seen)]
    return [facts, *inner]


def _children(facts: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(facts, inspect.UnionType):
        return facts.types
    if isinstance(facts, inspect.TupleType):
        return facts.item_types
    if isinstance(facts, inspect.DictType):
        return (facts.key_type, facts.value_type)
    if isinstance(facts, tuple(_WITH_ITEM)):
        return (facts.item_type,)  # type: ignore[attr-defined]
    return ()


def _is_immutable(facts: inspect.Type, seen: tuple[Any, ...]) -> bool:
    if isinstance(facts, _IMMUTABLE_LEAVES):
        return True
    if isinstance(facts, (inspect.UnionType, inspect.TupleType, inspect.VarTupleType, inspect.FrozenSetType)):
        return all(_is_immutable(child, seen) for child in _children(facts))
    if isinstance(facts, WITH_FROZEN_FIELDS):
        if facts.cls in seen:
            return True
        return _is_frozen(facts) and all(_is_immutable(field.type, (*seen, facts.cls)) for field in facts.fields)
    return False


def _is_frozen(facts: inspect.StructType | inspect.DataclassType | inspect.NamedTupleType) -> bool:
    if isinstance(facts, inspect.StructType):
        return bool(facts.cls.__struct_config__.frozen)
    if isinstance(facts, inspect.DataclassType):
        # attrs classes come here too, without these parameters: they are kept packed, which is always right.
        parameters = getattr(facts.cls, "__dataclass_params__", None)
        return parameters is not None and bool(parameters.frozen)
    return True


def _text(facts: inspect.Type, seen: tuple[Any, ...]) -> str:
    kind = type(facts)
    if kind in PLAIN_NAMES:
        return PLAIN_NAMES[kind]
    if isinstance(facts, inspect.UnionType):
        return " | ".join(sorted(_text(part, seen) for part in facts.types))
    if isinstance(facts, inspect.LiteralType):
        return f"Literal[{', '.join(sorted(map(repr, facts.values)))}]"
    if isinstance(facts, inspect.EnumType):
        return f"{facts.cls.__qualname__}({', '.join(repr(member.value) for member in facts.cls)})"
    if isinstance(facts, _WITH_FIELDS):
        return _text_of_fields(facts, seen)
    inner = ", ".join(_text(child, seen) for child in _children(facts))
    if isinstance(facts, inspect.TupleType):
        return f"tuple[{inner}]"
    if isinstance(facts, inspect.DictType):
        return f"dict[{inner}]"
    return f"{_WITH_ITEM[kind]}[{inner}{', ...' if kind is inspect.VarTupleType else ''}]"


def _text_of_fields(facts: Any, seen: tuple[Any, ...]) -> str:
    # The class's name only, never its module: a job file is `__main__` in one process and `job` in another.
    name = str(facts.cls.__name__)
    if facts.cls in seen:
        return name
    fields = [
        f"{field.encode_name}{'' if field.required else '?'}: {_text(field.type, (*seen, facts.cls))}"
        for field in facts.fields
    ]
    return f"{name}{{{', '.join(fields)}}}"
