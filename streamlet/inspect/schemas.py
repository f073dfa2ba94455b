"""The schema that a checkpoint notes of a state, as a plain type."""

from __future__ import annotations

from streamlet.inspect.plain_types import ANY, PlainField, PlainType, scalar
from streamlet.state.evolution.schema import (
    Accumulators,
    Again,
    Choice,
    Class,
    Items,
    Literals,
    Mapping,
    Members,
    Plain,
    Row,
    Schema,
)


def plain_type(schema: Schema) -> PlainType:
    """Gives the plain type of a schema.  Accumulators of functions that all have names are shown by these."""
    if isinstance(schema, Plain):
        return ANY if schema.name == "Any" else scalar(schema.name)
    if isinstance(schema, Items):
        return PlainType("list", parts=(plain_type(schema.item),))
    if isinstance(schema, Row):
        return PlainType("tuple", parts=tuple(map(plain_type, schema.items)))
    if isinstance(schema, Mapping):
        return PlainType("dict", parts=(plain_type(schema.key), plain_type(schema.value)))
    if isinstance(schema, Choice):
        return PlainType("union", parts=tuple(map(plain_type, schema.of)))
    if isinstance(schema, Literals):
        return PlainType("choice", "Literal", values=schema.values)
    if isinstance(schema, Members):
        return PlainType("choice", schema.name, values=tuple(schema.members.values()))
    if isinstance(schema, Class):
        return _class(schema)
    if isinstance(schema, Accumulators):
        return _accumulators(schema)
    assert isinstance(schema, Again), "there are no others"
    return ANY


def _class(schema: Class) -> PlainType:
    return PlainType(
        "class",
        schema.name,
        fields=tuple(PlainField(field.name, plain_type(field.type), not field.has_default) for field in schema.fields),
        form="array" if schema.is_array else "map",
        tag=None if schema.tag is None else (schema.tag_field or "type", schema.tag),
    )


def _accumulators(schema: Accumulators) -> PlainType:
    types = tuple(plain_type(part.type) for part in schema.parts)
    if not schema.in_row:
        return types[0]
    if all(part.name for part in schema.parts):
        fields = tuple(PlainField(part.name, type) for part, type in zip(schema.parts, types, strict=True))
        return PlainType("class", "Accumulators", fields=fields, form="array")
    return PlainType("tuple", parts=types)
