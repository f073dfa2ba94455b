"""The forms that one value has: stored, shown by the names of its fields, and in JSON.

JSON has no bytes, no NaN and no half a surrogate pair.  Where the type says what is meant, bytes are base64 and times
are ISO 8601; where it does not, such a value is an object of one field: `{"$bytes": "aGk="}`, `{"$float": "nan"}`,
`{"$text": "7aCA"}`, `{"$pairs": [[key, value]]}`.  A dict that is declared with keys that are no scalars is a list of
pairs.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import msgspec

from streamlet.inspect.plain_types import ANY, PlainType

_BYTES, _FLOAT, _TEXT, _PAIRS = "$bytes", "$float", "$text", "$pairs"
_MARKS = (_BYTES, _FLOAT, _TEXT)
_BINARY = frozenset({"bytes", "bytearray", "memoryview"})

_json = msgspec.json.Encoder().encode


def is_shown_otherwise(type: PlainType) -> bool:
    """True for a type whose values msgspec gives as lists: a tuple, a class stored in the order of its fields."""
    return type.kind == "tuple" or (type.kind == "class" and type.form == "array")


def is_ambiguous(type: PlainType) -> bool:
    """True for a type some of whose values JSON would not give back as they were."""
    return type.kind == "any" or (type.kind == "dict" and _has_composite_keys(type))


def _has_composite_keys(type: PlainType) -> bool:
    key = type.parts[0]
    return key.kind not in ("scalar", "choice") or key.name in _BINARY


def named(type: PlainType, value: Any) -> Any:
    """A value as it is stored, with the names of fields in the place of their order."""
    type = _of_value(type, value)
    if isinstance(value, list | tuple):
        if type.kind == "list":
            return [named(type.parts[0], one) for one in value]
        if type.kind == "tuple" and len(value) == len(type.parts):
            return tuple([named(part, one) for part, one in zip(type.parts, value, strict=True)])
        if type.kind == "class":
            return _named_fields(type, value)
    elif isinstance(value, dict):
        if type.kind == "dict":
            return {key: named(type.parts[1], one) for key, one in value.items()}
        if type.kind == "class":
            types = {field.name: field.type for field in type.fields}
            return {name: named(types.get(name, ANY), one) for name, one in value.items()}
    return value


def _named_fields(type: PlainType, value: Any) -> dict[str, Any]:
    tagged = 0 if type.tag is None else 1
    shown = {} if type.tag is None else {type.tag[0]: value[0]}
    for field, one in zip(type.fields, value[tagged:], strict=False):
        shown[field.name] = named(field.type, one)
    return shown


def _of_value(type: PlainType, value: Any) -> PlainType:
    """The type of a stored or shown value: of a union the part that it is of, ANY where nothing tells."""
    if type.kind != "union":
        return type
    parts = [part for part in type.parts if part.name != "None"]
    if len(parts) > 1:
        tags = [value[0] if isinstance(value, list | tuple) and value else None]
        tags += [value.get(part.tag[0]) for part in parts if part.tag is not None and isinstance(value, dict)]
        parts = [part for part in parts if part.tag is not None and part.tag[1] in tags]
    return parts[0] if len(parts) == 1 else ANY


def for_json(type: PlainType, value: Any) -> Any:
    """A plain value as JSON can hold it, and `stored_form` takes it back."""
    type = _of_value(type, value)
    if isinstance(value, dict):
        if type.kind == "dict":
            pairs = [(for_json(type.parts[0], one), for_json(type.parts[1], other)) for one, other in value.items()]
            return pairs if _has_composite_keys(type) else dict(pairs)
        if type.kind == "class":
            types = {field.name: field.type for field in type.fields}
            return {name: for_json(types.get(name, ANY), one) for name, one in value.items()}
    elif isinstance(value, list | tuple):
        if type.kind == "list":
            return [for_json(type.parts[0], one) for one in value]
        if type.kind == "tuple" and len(value) == len(type.parts):
            return [for_json(part, one) for part, one in zip(type.parts, value, strict=True)]
    return value if type.kind == "scalar" else marked(value)


def marked(value: Any) -> Any:
    """A value of no declared type, with what JSON has not as an object of one field."""
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(value)}
    if isinstance(value, str) and not _is_text(value):
        return {_TEXT: base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if isinstance(value, list | tuple):
        return [marked(one) for one in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: marked(one) for key, one in value.items()}
        return {_PAIRS: [[marked(key), marked(one)] for key, one in value.items()]}
    return value


def stored_form(type: PlainType, value: Any) -> Any:
    """Plain data, or what JSON or Parquet made of it, in the form in which values of a type are stored."""
    if isinstance(value, dict) and len(value) == 1 and (taken := _unmarked(value)) is not value:
        return taken
    type = _of_value(type, value)
    if isinstance(value, dict):
        if type.kind == "class":
            return _stored_fields(type, value)
        if type.kind == "tuple" and [*value] == [*map(str, range(len(type.parts)))]:
            value = list(value.values())
        else:
            part = type.parts[1] if type.kind == "dict" else ANY
            return {key: stored_form(part, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        if type.kind == "dict":
            key, part = type.parts
            return {_hashable(stored_form(key, one)): stored_form(part, other) for one, other in value}
        if type.kind == "tuple" and len(value) == len(type.parts):
            return [stored_form(part, one) for part, one in zip(type.parts, value, strict=True)]
        return [stored_form(type.parts[0] if type.kind == "list" else ANY, one) for one in value]
    return value


def _stored_fields(type: PlainType, value: dict[str, Any]) -> Any:
    types = {field.name: field.type for field in type.fields}
    if type.form == "map":
        return {name: stored_form(types.get(name, ANY), one) for name, one in value.items()}
    unknown = value.keys() - types.keys() - ({type.tag[0]} if type.tag else set())
    missing = [field.name for field in type.fields if field.name not in value]
    behind = [field.name for field in type.fields][len(type.fields) - len(missing) :]
    if unknown or missing != behind:
        raise ValueError(f"{type.name} has the fields {', '.join(types)}, and the value {', '.join(value)}")
    tag = [] if type.tag is None else [type.tag[1]]
    return tag + [stored_form(field.type, value[field.name]) for field in type.fields if field.name in value]


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _unmarked(value: dict[Any, Any]) -> Any:
    ((name, text),) = value.items()
    if name == _PAIRS and isinstance(text, list):
        return {_hashable(stored_form(ANY, one)): stored_form(ANY, other) for one, other in text}
    if name not in _MARKS or not isinstance(text, str):
        return value
    try:
        if name == _FLOAT:
            return float(text)
        data = base64.b64decode(text, validate=True)
        return data if name == _BYTES else data.decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return value


def json_line(row: Any) -> bytes:
    """Gives a row as JSON with a line's end."""
    try:
        line = _json(row)
        if b"null" in line and not _is_finite(row):
            line = _json(_finite(row))
    except UnicodeEncodeError:
        line = _json(_finite(row))
    return line + b"\n"


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_finite, value))


def _finite(value: Any) -> Any:
    """The same with numbers that are none, and text with half a character, as objects; bytes stay."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value if isinstance(value, bytes) else marked(value)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
