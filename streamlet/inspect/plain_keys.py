"""The types of keys as a checkpoint notes them."""

from __future__ import annotations

from dataclasses import replace

from streamlet.inspect.plain_types import ANY, PlainField, PlainType, parse, scalar

_SCALARS = frozenset({"str", "bytes", "int", "bool"})


def parse_key(text: str) -> PlainType:
    """Reads the shape of a stream's keys: `str`, `(str, int)`, `Place(shop: str, row: int) as array`."""
    try:
        found, rest = _shape(text)
    except (ValueError, IndexError, RecursionError):
        return ANY
    return ANY if rest else found


def parse_map_key(text: str) -> PlainType:
    """Reads the type of a map's keys, with the forms of its classes behind it: `Place{shop: str}; Place as map`."""
    type, *forms = text.split("; ")
    found = parse(type)
    for form in forms:
        name = form.split(" ")[0]
        found = _in_form(found, name, form[len(name) :])
    return found


def _in_form(type: PlainType, name: str, form: str) -> PlainType:
    parts = tuple(_in_form(part, name, form) for part in type.parts)
    fields = tuple(replace(field, type=_in_form(field.type, name, form)) for field in type.fields)
    changed = replace(type, parts=parts, fields=fields)
    return _formed(changed, form) if type.kind == "class" and type.name == name else changed


def _formed(type: PlainType, form: str) -> PlainType:
    """A class with what `streamlet.state.encoding.key_type` notes of its form."""
    if " tagged " in form:
        field, _, tag = form.split(" tagged ")[1].split(" as array")[0].split(" without defaults")[0].partition("=")
        type = replace(type, tag=(field, tag))
    if " without defaults" in form:
        type = replace(type, fields=tuple(replace(field, is_required=False) for field in type.fields))
    return replace(type, form="array" if " as array" in form else "map")


def _shape(text: str) -> tuple[PlainType, str]:
    """Reads one shape; gives it and what follows."""
    end = min((at for at in map(text.find, "(,)") if at >= 0), default=len(text))
    name, rest = text[:end], text[end:]
    if not rest.startswith("("):
        if name not in _SCALARS:
            raise ValueError(name)
        return scalar(name), rest
    rest = rest[1:]
    fields: list[PlainField] = []
    while not rest.startswith(")"):
        field = ""
        if name:
            field, colon, rest = rest.partition(": ")
            if not colon:
                raise ValueError(rest)  # of before the names of fields were noted
        part, rest = _shape(rest)
        fields.append(PlainField(field, part))
        rest = rest.removeprefix(", ")
    rest = rest[1:]
    if not name:
        return PlainType("tuple", parts=tuple(one.type for one in fields)), rest
    end = min((at for at in map(rest.find, ",)") if at >= 0), default=len(rest))
    return _formed(PlainType("class", name, fields=tuple(fields)), rest[:end]), rest[end:]
