"""Values of a state as plain data, by the type that the checkpoint notes: out of stored bytes, and back.

For each noted type a Python type is made that is stored alike, so that msgspec does the work and checks what comes
back.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any, Literal, Union

import msgspec

from streamlet.errors import StateTypeError
from streamlet.inspect.plain_forms import for_json, is_ambiguous, is_shown_otherwise, named, stored_form
from streamlet.inspect.plain_types import PlainType
from streamlet.state.encoding.extensions import of_extension, pack_wide

_UNREADABLE = (msgspec.MsgspecError, ValueError)
_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_AS_THEY_ARE = (bytes, bytearray, memoryview, datetime, date, time, timedelta)
_SCALARS: dict[str, Any] = {
    "None": None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "bytearray": bytes,
    "memoryview": bytes,
    "datetime": datetime,
    "time": time,
    "date": date,
    "timedelta": timedelta,
    "UUID": str,
    "Decimal": str,
}

_generic = msgspec.msgpack.Decoder(ext_hook=of_extension).decode
_pack = msgspec.msgpack.Encoder().encode


class PlainValues:
    """Reads and writes the values of one noted type."""

    def __init__(self, type: PlainType) -> None:
        self._take(type)

    def _take(self, type: PlainType) -> None:
        self.type = type
        try:
            self._made = _made(type)
            self._taken = _made(type, is_strict=True)
            self._decode = msgspec.msgpack.Decoder(self._made, ext_hook=of_extension).decode
        except (TypeError, NameError):  # a union of classes without tags, which nothing tells apart
            self._made = self._taken = Any
            self._decode = _generic
        self._has_classes = type.any_of(lambda one: one.kind == "class")
        self._has_others = type.any_of(is_shown_otherwise)
        self.is_ambiguous = type.any_of(is_ambiguous)
        """True when some values are written to JSON in a form of their own."""

    def read(self, data: bytes | msgspec.Raw) -> Any:
        """Gives a value as plain data; whatever is stored can be read."""
        try:
            value = self._decode(data)
        except _UNREADABLE:
            return self._read_otherwise(data)
        return self._plain(value) if self._has_classes else value

    def _read_otherwise(self, data: bytes | msgspec.Raw) -> Any:
        """A value that is wide, or of a class whose form is not noted: seen once, it is known."""
        value = _generic(data)
        learned = self.type.with_forms(value)
        if learned != self.type:
            self._take(learned)
            return self.read(data)
        try:
            return self._plain(msgspec.convert(value, self._made))
        except _UNREADABLE:
            return value

    def _plain(self, value: Any) -> Any:
        value = msgspec.to_builtins(value, builtin_types=_AS_THEY_ARE)
        return named(self.type, value) if self._has_others else value

    def write(self, value: Any, where: str) -> bytes:
        """Gives the bytes that store plain data, or what JSON made of it; raises `StateTypeError`."""
        try:
            if self._has_others or self.is_ambiguous:
                value = stored_form(self.type, value)
            made = self._converted(value)
            try:
                return _pack(made)
            except _UNWRITABLE:
                return pack_wide(made)
        except _UNWRITABLE as error:
            raise StateTypeError(f"{where}: {error}", remedy=f"give it as the state's type: {self.type}") from error

    def _converted(self, value: Any) -> Any:
        try:
            return msgspec.convert(value, self._taken, str_keys=True)
        except _UNREADABLE:
            marked = stored_form(self.type, value)
            if marked == value:
                raise
            return msgspec.convert(marked, self._taken, str_keys=True)

    def for_json(self, value: Any) -> Any:
        """Gives what a JSON encoder takes, and `write` takes back, for a plain value."""
        return for_json(self.type, value) if self.is_ambiguous else value


def _made(type: PlainType, *, is_strict: bool = False) -> Any:
    """A type for msgspec; a strict one has no class that passes over a field which it has not."""
    if type.kind == "scalar":
        return _SCALARS[type.name]
    if type.kind == "any":
        return Any
    if type.kind == "choice":
        return Literal[type.values]
    if type.kind == "class":
        return _made_class(type, is_strict)
    parts = tuple(_made(part, is_strict=is_strict) for part in type.parts)
    if type.kind == "list":
        return list[parts[0]]  # type: ignore[valid-type]
    if type.kind == "tuple":
        return tuple[parts]  # type: ignore[valid-type]
    if type.kind == "dict":
        return dict[parts[0], parts[1]]  # type: ignore[valid-type]
    return Union[parts]  # noqa: UP007 - made of a tuple


def _made_class(type: PlainType, is_strict: bool) -> Any:
    """Fields have names of their own in it: those that are stored need not be names of Python."""
    fields: list[Any] = []
    for number, field in enumerate(type.fields):
        made = _made(field.type, is_strict=is_strict)
        if field.is_required:
            fields.append((f"f{number}", made))
        else:
            fields.append((f"f{number}", Union[made, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
    tag_field, tag = type.tag or (None, None)
    return msgspec.defstruct(
        type.name if type.name.isidentifier() else "Record",
        fields,
        rename={f"f{number}": field.name for number, field in enumerate(type.fields)},
        array_like=type.form == "array",
        tag_field=tag_field,
        tag=tag,
        kw_only=True,
        forbid_unknown_fields=is_strict,
    )
